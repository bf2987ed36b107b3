"""Where a transcoder reads and writes, measured: which of the plausible conventions explains the model's MLPs best.

A file that declares the wrong tap or site, stores its skip transposed, or was trained on prompts with a prefix that
yours lack, still loads and still gives graphs. It shows only here: under the right convention the transcoder explains
most of the variance of what the MLPs write, under a wrong one far less.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean

import torch
from jaxtyping import Float
from torch import Tensor

from replacement_model.capture import Capture
from replacement_model.errors import InputError
from replacement_model.model import ReplacementModel
from replacement_model.prompt import read_prompt
from replacement_model.transcoder import ActiveFeatures, DecoderSite, EncoderTap, Transcoder, TranscoderLayer

__all__ = ["Convention", "Measurement", "best_convention", "measure_conventions", "plausible_conventions"]

# Beyond so many active features at a position the tap is wrong for sure, and summing them up would take very long.
MAX_L0 = 2000
# The declared convention counts as the best unless another explains so much more of the variance.
MARGIN = 0.01


@dataclass(frozen=True, slots=True)
class Convention:
    """One way to apply a transcoder.

    Attributes:
        tap, site: where the encoder reads and the decoder writes.
        skip_transposed: whether the skip is used transposed, not as stored.
        prefix: token ids in front of every text, whose positions are ignored; empty for the usual <bos>.
    """

    tap: EncoderTap
    site: DecoderSite
    skip_transposed: bool = False
    prefix: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Measurement:
    """How well a transcoder stands in for the MLPs under one convention.

    Attributes:
        declared: whether it is what the transcoder's files say.
        fvu: per layer, fraction of the output's variance that is left unexplained; NaN where nothing is written, and in
            all layers where far too many features are active to go on.
        l0: per layer, active features per position; NaN for a layer without features, or not reached.
        explained: mean over the layers of the explained fraction of the variance, no layer counting below 0.
        n_tokens: positions measured.
    """

    convention: Convention
    declared: bool
    fvu: tuple[float, ...]
    l0: tuple[float, ...]
    explained: float
    n_tokens: int


def plausible_conventions(model: ReplacementModel) -> tuple[Convention, ...]:
    """The declared convention, then every other that changes anything for this model and transcoder."""
    transcoder, blocks = model.transcoder, model.host.blocks
    declared = Convention(transcoder.encoder_tap, transcoder.decoder_site, False, transcoder.prefix)
    same_site = all(block.mlp_post_norm is None for block in blocks)
    sites = (declared.site,) if same_site else tuple(DecoderSite)
    skips = (False, True) if any(transcoder.skip(layer) is not None for layer in range(len(blocks))) else (False,)
    prefixes = dict.fromkeys([declared.prefix, (), _template_prefix(model)])
    found = (Convention(*parts) for parts in product(EncoderTap, sites, skips, prefixes))
    return (declared, *(convention for convention in found if convention != declared))


def measure_conventions(
    model: ReplacementModel, texts: Sequence[Sequence[int]], conventions: Sequence[Convention] | None = None
) -> tuple[Measurement, ...]:
    """Run the host on some texts, and the transcoder under every convention.

    Args:
        model: host and transcoder.
        texts: token ids without special tokens in front; each is run alone.
        conventions: what to compare, the declared one first; None for all that are plausible.

    Returns:
        The measurements in the order of the conventions.

    Raises:
        InputError: the texts have fewer than two tokens.
    """
    chosen = plausible_conventions(model) if conventions is None else tuple(conventions)
    if sum(map(len, texts)) < 2:
        raise InputError("measuring needs some text; give at least a few words")
    totals = {convention: _Totals(model.host.n_layers) for convention in chosen}
    for prefix in dict.fromkeys(convention.prefix for convention in chosen):
        own = {convention: totals[convention] for convention in chosen if convention.prefix == prefix}
        for text in texts:
            _measure_text(model, text, prefix, own)
    return tuple(
        totals[convention].measurement(convention, declared=index == 0) for index, convention in enumerate(chosen)
    )


def best_convention(measurements: Sequence[Measurement]) -> Measurement:
    """The one that explains most of the variance; the declared one where no other is clearly better."""
    best = max(measurements, key=lambda measured: measured.explained)
    declared = next((measured for measured in measurements if measured.declared), best)
    return declared if best.explained - declared.explained <= MARGIN else best


class _Totals:
    """Sums over texts for one convention, in float64."""

    def __init__(self, n_layers: int) -> None:
        self.error, self.square = torch.zeros(n_layers, dtype=torch.float64), torch.zeros(n_layers, dtype=torch.float64)
        self.active = torch.zeros(n_layers, dtype=torch.float64)
        self.sums: list[Tensor | None] = [None] * n_layers
        self.n_tokens, self.too_dense = 0, False

    def add(self, layer: int, out: Float[Tensor, "pos d_model"], error: Float[Tensor, "pos d_model"]) -> None:
        out, known = out.double(), self.sums[layer]
        self.error[layer] += error.double().square().sum().cpu()
        self.square[layer] += out.square().sum().cpu()
        self.sums[layer] = out.sum(0) if known is None else known + out.sum(0)

    def stop(self, layer: int) -> None:
        """Give up: far too many features are active at `layer`."""
        self.too_dense = True
        self.active[layer], self.active[layer + 1 :] = float("inf"), float("nan")

    def measurement(self, convention: Convention, declared: bool) -> Measurement:
        fvu = []
        for error, square, total in zip(self.error.tolist(), self.square.tolist(), self.sums, strict=True):
            if total is None or self.too_dense:
                fvu.append(float("nan"))
                continue
            variance = square - float(total.square().sum()) / self.n_tokens
            fvu.append(error / max(variance, torch.finfo(torch.float64).tiny))
        written = [value for value in fvu if value == value]
        return Measurement(
            convention=convention,
            declared=declared,
            fvu=tuple(fvu),
            l0=tuple((self.active / max(1, self.n_tokens)).tolist()),
            explained=fmean(max(0.0, 1.0 - value) for value in written) if written else 0.0,
            n_tokens=self.n_tokens,
        )


@torch.no_grad()
def _measure_text(
    model: ReplacementModel, text: Sequence[int], prefix: tuple[int, ...], totals: dict[Convention, _Totals]
) -> None:
    """Add one text to the totals of the conventions that have this prefix."""
    prompt = read_prompt([*prefix, *text], model.tokenizer, model.host.d_vocab, prefix=prefix)
    capture = model.capture(prompt, keep_patterns=False)
    n_ignored = prompt.n_ignored_pos
    for tap in dict.fromkeys(convention.tap for convention in totals):
        own = {
            convention: total for convention, total in totals.items() if convention.tap is tap and not total.too_dense
        }
        for total in own.values():
            total.n_tokens += capture.n_pos - n_ignored
        _measure_tap(model.transcoder, capture, n_ignored, tap, own)


def _measure_tap(
    transcoder: Transcoder, capture: Capture, n_ignored: int, tap: EncoderTap, totals: dict[Convention, _Totals]
) -> None:
    plain = replace(transcoder, layers=transcoder.map_layers(_without_skip))
    acts: dict[int, ActiveFeatures] = {}
    for layer in range(transcoder.n_layers):
        x = capture.frozen.blocks[layer].tap(capture.resid_mid[layer], tap)
        if transcoder.layers[layer] is not None:
            if _is_too_dense(transcoder, layer, x[n_ignored:]):
                for total in totals.values():
                    total.stop(layer)
                return
            acts[layer] = transcoder.active_features(layer, x).since(n_ignored)
        for total in totals.values():
            total.active[layer] += len(acts[layer].pos) if layer in acts else float("nan")
        if not transcoder.source_layers(layer):
            continue
        written = plain.reconstruct(acts, layer, x)
        skip = transcoder.skip(layer)
        for convention, total in totals.items():
            explained = written
            if skip is not None:
                explained = written + x @ (skip if convention.skip_transposed else skip.T)
            out = capture.at_site(convention.site)[layer, n_ignored:]
            total.add(layer, out, out - explained[n_ignored:])


def _is_too_dense(transcoder: Transcoder, layer: int, x: Float[Tensor, "pos d_model"]) -> bool:
    """Whether the first few positions have more active features than any transcoder is meant to have."""
    few = x[:4]
    return len(transcoder.active_features(layer, few).pos) > MAX_L0 * len(few)


def _without_skip(layer: TranscoderLayer) -> TranscoderLayer:
    return replace(layer, W_skip=None)


def _template_prefix(model: ReplacementModel) -> tuple[int, ...]:
    """What the model's chat template puts before whatever a user says; empty without a template."""
    tokenizer = model.tokenizer
    if tokenizer is None or not tokenizer.chat_template:
        return ()
    # Two things to say that every tokenizer knows, even one of whole words.
    said = tokenizer.convert_ids_to_tokens([model.host.d_vocab - 1, model.host.d_vocab - 2])
    messages = [[{"role": "user", "content": tokenizer.convert_tokens_to_string([token])}] for token in said]
    ids = [read_prompt(message, tokenizer, model.host.d_vocab).token_ids.tolist() for message in messages]
    n_same = next((index for index, (a, b) in enumerate(zip(*ids, strict=False)) if a != b), 0)
    return tuple(ids[0][:n_same]) if n_same > 1 else ()
