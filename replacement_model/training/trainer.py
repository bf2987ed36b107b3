"""Fitting a transcoder: BatchTopK with one threshold a layer, and an auxiliary loss that revives dead ones.

Only the selected activations enter the autograd tape, as a list of (context, feature): with a dozen active features out
of a thousand this costs a fraction of the dense products.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from replacement_model.errors import InputError
from replacement_model.training.activations import ActivationDataset
from replacement_model.training.parameters import Scales, TranscoderParameters, standardize
from replacement_model.transcoder import DecoderSite, EncoderTap, Transcoder

__all__ = ["TranscoderTrainingConfig", "train_transcoder"]


@dataclass(frozen=True, slots=True)
class TranscoderTrainingConfig:
    """Size of a transcoder and settings of its training.

    Attributes:
        d_transcoder: features per layer.
        k: active features per layer and context, on average.
        cross_layer: each feature writes to its own layer and all later ones.
        k_start: multiple of `k` at the first step, annealed to 1 over `anneal_share` of the steps.
        threshold_momentum: of the running mean of the selection threshold, the one that is exported.
        dead_after: steps without firing after which a feature is dead.
        aux_k, aux_every, aux_batch, aux_weight: the `aux_k` dead features that come closest to firing learn the
            remaining error, every `aux_every` steps, on `aux_batch` contexts.
        final_lr_share: the learning rate falls linearly to this share over the last third of the steps.
    """

    d_transcoder: int = 1024
    k: int = 12
    cross_layer: bool = True
    steps: int = 1500
    batch_size: int = 1024
    lr: float = 2e-3
    final_lr_share: float = 0.05
    k_start: float = 5.0
    anneal_share: float = 0.2
    threshold_momentum: float = 0.98
    dead_after: int = 150
    aux_k: int = 32
    aux_every: int = 4
    aux_batch: int = 256
    aux_weight: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.d_transcoder:
            raise InputError(f"expected 1 <= k <= d_transcoder, got k={self.k}, d_transcoder={self.d_transcoder}")
        if self.steps < 1 or self.batch_size < 1:
            raise InputError(f"expected at least one step and context, got {self.steps} and {self.batch_size}")


def train_transcoder(
    data: ActivationDataset,
    config: TranscoderTrainingConfig,
    generator: torch.Generator,
    *,
    encoder_tap: EncoderTap,
    decoder_site: DecoderSite,
    name: str,
    progress: Callable[[str, int, int], None] | None = None,
) -> Transcoder:
    """Fit a transcoder to `data`.

    Args:
        data: activations, e.g. from `collect_activations`.
        config: size and settings.
        generator: draws initial features and batches.
        encoder_tap, decoder_site: where `data` was read; recorded in the result.
        name: the result's name.
        progress: called with (name, step, steps).

    Returns:
        A JumpReLU transcoder in the host's units, float32.
    """
    scales = Scales(data)
    data = standardize(data, scales)
    parameters = TranscoderParameters(data, config.d_transcoder, config.cross_layer, generator)
    run = _Run(parameters, config)
    for step in range(config.steps):
        chosen = torch.multinomial(data.weights, config.batch_size, replacement=True, generator=generator)
        run.step(step, data.inputs[:, chosen], data.targets[:, chosen])
        if progress is not None:
            progress(name, step + 1, config.steps)
    return parameters.export(scales, run.thresholds, encoder_tap, decoder_site, name)


class _Run:
    """The state of one training run: optimizer, running threshold, and when each feature last fired."""

    def __init__(self, parameters: TranscoderParameters, config: TranscoderTrainingConfig) -> None:
        self.parameters, self.config = parameters, config
        self.optimizer = torch.optim.Adam(parameters.parameters(), lr=config.lr, fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._lr_share)
        self.thresholds = torch.zeros(parameters.n_layers)
        self.idle = torch.zeros(parameters.n_layers, parameters.d_transcoder, dtype=torch.long)

    def step(
        self,
        step: int,
        inputs: Float[Tensor, "n_layers context d_model"],
        targets: Float[Tensor, "n_layers context d_model"],
    ) -> None:
        """One update on one batch."""
        active = self._select(step, inputs)
        error = targets - _reconstruct(self.parameters, inputs, active)
        loss = error.square().mean((-2, -1)).sum()
        if step % self.config.aux_every == 0:
            rows = slice(0, self.config.aux_batch)
            loss = loss + self.config.aux_weight * self._aux_loss(inputs[:, rows], error[:, rows].detach())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()

    @torch.no_grad()
    def _select(
        self, step: int, inputs: Float[Tensor, "n_layers context d_model"]
    ) -> list[tuple[Int[Tensor, "_"], Int[Tensor, "_"]]]:
        """(context, feature) of the k * batch largest activations times decoder norms, for each layer."""
        parameters, config = self.parameters, self.config
        anneal = min(1.0, step / max(1.0, config.anneal_share * config.steps))
        n_active = round(config.k * (config.k_start + (1 - config.k_start) * anneal) * inputs.shape[1])
        cuts, active = [], []
        for layer, norms in enumerate(parameters.decoder_norms()):
            W_enc, b_enc = parameters.W_enc[layer] * norms[:, None], parameters.b_enc[layer] * norms
            scores = torch.addmm(b_enc, inputs[layer], W_enc.T)  # [context, d_transcoder]
            cut, context, feature_idx = _largest(scores, n_active, self.thresholds[layer].item())
            cuts.append(cut)
            active.append((context, feature_idx))
            self.idle[layer] += 1
            self.idle[layer, feature_idx] = 0
        self.thresholds.lerp_(torch.tensor(cuts), 1 - config.threshold_momentum if step else 1.0)
        return active

    def _aux_loss(
        self, inputs: Float[Tensor, "n_layers context d_model"], error: Float[Tensor, "n_layers context d_model"]
    ) -> Float[Tensor, ""]:
        """How badly dead features alone reconstruct what the living ones leave over."""
        parameters, loss = self.parameters, error.new_zeros(())
        for layer, x in enumerate(inputs):
            dead = (self.idle[layer] > self.config.dead_after).nonzero().squeeze(-1)
            if len(dead) == 0:
                continue
            acts = functional.linear(x, parameters.W_enc[layer][dead], parameters.b_enc[layer][dead]).relu()
            top, where = acts.topk(min(self.config.aux_k, len(dead)), dim=-1)
            acts = torch.zeros_like(acts).scatter(-1, where, top)
            written = torch.einsum("cf,fod->ocd", acts, parameters.W_dec[layer][dead])
            left = error[list(parameters.write_layers(layer))] - written
            loss = loss + left.square().mean((-2, -1)).sum()
        return loss

    def _lr_share(self, step: int) -> float:
        fall = max(0.0, step - 2 / 3 * self.config.steps) / (self.config.steps / 3)
        return 1 - (1 - self.config.final_lr_share) * fall


def _reconstruct(
    parameters: TranscoderParameters,
    inputs: Float[Tensor, "n_layers context d_model"],
    active: list[tuple[Int[Tensor, "_"], Int[Tensor, "_"]]],
) -> Float[Tensor, "n_layers context d_model"]:
    n_layers, n_contexts, d_model = inputs.shape
    written = [parameters.b_dec[layer].expand(n_contexts, d_model) for layer in range(n_layers)]
    for layer, (context, feature_idx) in enumerate(active):
        rows = parameters.W_enc[layer].index_select(0, feature_idx)  # [active, d_model]
        acts = (rows * inputs[layer].index_select(0, context)).sum(-1) + parameters.b_enc[layer].index_select(
            0, feature_idx
        )
        # `context` is sorted, so each context's features are one bag: a weighted sum of decoder rows.
        offsets = torch.searchsorted(context, torch.arange(n_contexts))
        out = functional.embedding_bag(
            feature_idx, parameters.W_dec[layer].flatten(1), offsets, mode="sum", per_sample_weights=acts
        )
        for j, write_layer in enumerate(parameters.write_layers(layer)):
            written[write_layer] = written[write_layer] + out[:, j * d_model : (j + 1) * d_model]
    return torch.stack(written)


def _largest(
    scores: Float[Tensor, "context d_transcoder"], count: int, running: float
) -> tuple[float, Int[Tensor, "active"], Int[Tensor, "active"]]:
    """The `count` largest positive scores: the cut that they exceed, and where they are, sorted by context.

    The cut moves slowly, so only the scores above half of its running mean are sorted.
    """
    for floor in (0.5 * running, 0.0):
        context, feature_idx = (scores > floor).nonzero(as_tuple=True)
        if len(context) > count:
            candidates = scores[context, feature_idx]
            cut = candidates.topk(count + 1, sorted=False).values.min()
            kept = candidates > cut
            return cut.item(), context[kept], feature_idx[kept]
    return 0.0, context, feature_idx
