"""Records of a layer's features, put together from the tally of a text and from the decoders."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int

from replacement_model.evidence.contexts import Contexts
from replacement_model.evidence.examples import Examples
from replacement_model.evidence.logits import ExtremeLogits, extreme_logits, summed_decoders
from replacement_model.evidence.neighbours import nearest_features
from replacement_model.evidence.record import Example, FeatureEvidence, Neighbour, Quantile
from replacement_model.evidence.tally import Tally
from replacement_model.model import ReplacementModel

__all__ = ["RecordOptions", "layer_records"]

AT_ONCE = 4096  # features whose logits and neighbours are computed together
TOP = "Top"


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What is kept of each feature.

    Attributes:
        n_top: strongest examples.
        n_intervals, n_per_interval: a sample of all its contexts is split by activation into so many equal parts.
        n_logits: tokens at each end of its effect on the logits.
        n_nearest: features that write alike, of its own layer and of others; 0 for none, which saves time on large
            transcoders.
    """

    n_top: int = 10
    n_intervals: int = 4
    n_per_interval: int = 3
    n_logits: int = 10
    n_nearest: int = 4

    @property
    def n_sample(self) -> int:
        return self.n_intervals * self.n_per_interval


def layer_records(
    model: ReplacementModel,
    contexts: Contexts,
    layer: int,
    tally: Tally,
    chosen: Int[np.ndarray, "m"] | None,
    options: RecordOptions,
) -> Iterator[FeatureEvidence | None]:
    """The record of every feature of a layer in turn, None for those that are not chosen."""
    weights = model.transcoder.layers[layer]
    n_features = 0 if weights is None else weights.d_transcoder
    wanted = np.arange(n_features) if chosen is None else chosen
    following = 0
    maker = _Maker(model, contexts, layer, tally, options)
    for begin in range(0, len(wanted), AT_ONCE):
        for record in maker.records(wanted[begin : begin + AT_ONCE]):
            yield from (None for _ in range(following, record.feature_idx))
            yield record
            following = record.feature_idx + 1
    yield from (None for _ in range(following, n_features))


@dataclass(frozen=True, slots=True, eq=False)
class _Maker:
    """What the records of a layer are made from."""

    model: ReplacementModel
    contexts: Contexts
    layer: int
    tally: Tally
    options: RecordOptions

    def records(self, feature_idx: Int[np.ndarray, "n"]) -> Iterator[FeatureEvidence]:
        """Of some features, whose decoders are read together."""
        wanted = torch.from_numpy(np.ascontiguousarray(feature_idx))
        logits = extreme_logits(self.model, summed_decoders(self.model, self.layer, wanted), self.options.n_logits)
        nearest = nearest_features(self.model, self.layer, wanted, self.options.n_nearest)
        for row, idx in enumerate(feature_idx.tolist()):
            yield self._record(idx, row, logits, nearest[row])

    def _record(self, idx: int, row: int, logits: ExtremeLogits, nearest: tuple[Neighbour, ...]) -> FeatureEvidence:
        counts = self.tally.counts
        histogram, edges = counts.histogram(idx)
        act_min, act_max = counts.extremes(idx)
        return FeatureEvidence(
            layer=self.layer,
            feature_idx=idx,
            quantiles=self._quantiles(self.tally.examples.of_feature(idx)),
            top_logits=self._texts(logits.top_ids[row].tolist()),
            bottom_logits=self._texts(logits.bottom_ids[row].tolist()),
            top_effects=tuple(_short(value) for value in logits.top_effects[row].tolist()),
            bottom_effects=tuple(_short(value) for value in logits.bottom_effects[row].tolist()),
            act_min=_short(act_min),
            act_max=_short(act_max),
            histogram=histogram,
            histogram_edges=edges,
            frequency=_short(sum(histogram) / self.contexts.n_positions),
            nearest=nearest,
        )

    def _quantiles(self, found: Examples) -> tuple[Quantile, ...]:
        """The strongest examples, and the rest of the sample in equal parts, strongest part first."""
        top = found.strongest(self.options.n_top)
        rest = np.setdiff1d(found.sample(self.options.n_sample), top)
        rest = rest[np.lexsort((found.prefix[rest], -found.peak_act[rest]))]
        parts = {TOP: top}
        n_intervals = self.options.n_intervals
        for number, part in enumerate(np.array_split(rest, n_intervals) if n_intervals else ()):
            parts[f"Subsample interval {n_intervals - 1 - number}"] = part
        return tuple(
            Quantile(name, tuple(self._example(found, index) for index in part.tolist()))
            for name, part in parts.items()
            if len(part)
        )

    def _example(self, found: Examples, index: int) -> Example:
        ids = self.contexts.ids(int(found.context[index]))
        acts = tuple(_short(value) for value in found.acts_of(index, len(ids)).tolist())
        return Example(self._texts(ids), acts, int(found.peak[index]))

    def _texts(self, token_ids: list[int]) -> tuple[str, ...]:
        return tuple(self.model.token_string(token_id) for token_id in token_ids)


def _short(value: float) -> float:
    """Six digits, about what a float32 holds."""
    return float(f"{value:.6g}")
