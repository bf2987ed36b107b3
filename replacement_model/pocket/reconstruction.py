"""How well a transcoder stands in for the MLPs: variance left over, sparsity, answers of the full replacement."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Gemma3ForCausalLM

from replacement_model.pocket.accuracy import last_positions
from replacement_model.pocket.corpus import encode
from replacement_model.pocket.prompts import Prompt
from replacement_model.pocket.substitution import mlps_replaced, next_logits
from replacement_model.training import ActivationDataset
from replacement_model.transcoder import ActiveFeatures, Transcoder

__all__ = ["Agreement", "Reconstruction", "measure_agreement", "measure_reconstruction"]


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """One number a layer, over a set of contexts.

    Attributes:
        n_contexts: distinct contexts.
        fvu: fraction of the variance of the MLP's output that is left unexplained.
        l0: active features per context.
        n_dead: features that are active in none of the contexts.
    """

    n_contexts: int
    fvu: tuple[float, ...]
    l0: tuple[float, ...]
    n_dead: tuple[int, ...]

    @property
    def mean_fvu(self) -> float:
        return sum(self.fvu) / len(self.fvu)

    @property
    def mean_l0(self) -> float:
        return sum(self.l0) / len(self.l0)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Host against full replacement (every MLP replaced at every position) at the last position.

    Attributes:
        task: which prompts.
        n_prompts: how many.
        top1: share where both give the same most probable token.
        kl: mean Kullback-Leibler divergence of the replacement's distribution from the host's, nats.
    """

    task: str
    n_prompts: int
    top1: float
    kl: float


@torch.no_grad()
def measure_reconstruction(transcoder: Transcoder, data: ActivationDataset) -> Reconstruction:
    """FVU, L0 and dead features over the contexts of `data`, each counted once."""
    acts = {layer: transcoder.encode(layer, x) for layer, x in enumerate(data.inputs)}
    active = {layer: ActiveFeatures.of(dense) for layer, dense in acts.items()}
    fvu = []
    for layer, target in enumerate(data.targets):
        error = target - transcoder.reconstruct(active, layer, data.inputs[layer])
        variance = (target - target.mean(0)).double().square().sum()
        fvu.append((error.double().square().sum() / variance).item())
    return Reconstruction(
        n_contexts=data.n_contexts,
        fvu=tuple(fvu),
        l0=tuple((acts[layer] > 0).sum(-1).double().mean().item() for layer in acts),
        n_dead=tuple(int((~(acts[layer] > 0).any(0)).sum()) for layer in acts),
    )


def measure_agreement(
    model: Gemma3ForCausalLM, transcoder: Transcoder, prompts: Sequence[Prompt], vocabulary: Sequence[str]
) -> tuple[Agreement, ...]:
    """Agreement of the full replacement with the host: all prompts, all but addition, then each task."""
    token_ids, last = encode(prompts, vocabulary), last_positions(prompts)
    host = next_logits(model, token_ids, last).double()
    with mlps_replaced(model, transcoder):
        replaced = next_logits(model, token_ids, last).double()
    same = (host.argmax(-1) == replaced.argmax(-1)).double()
    kl = (host.softmax(-1) * (host.log_softmax(-1) - replaced.log_softmax(-1))).sum(-1)
    tasks = list(dict.fromkeys(prompt.task for prompt in prompts))
    groups = {"all": tasks, "all but addition": [task for task in tasks if task != "addition"]}
    groups |= {task: [task] for task in tasks}
    return tuple(_mean(name, same, kl, [p.task in wanted for p in prompts]) for name, wanted in groups.items())


def _mean(task: str, same: Float[Tensor, "prompt"], kl: Float[Tensor, "prompt"], chosen: list[bool]) -> Agreement:
    rows: Int[Tensor, "chosen"] = torch.tensor(chosen).nonzero().squeeze(-1)
    return Agreement(task, len(rows), same[rows].mean().item(), kl[rows].mean().item())
