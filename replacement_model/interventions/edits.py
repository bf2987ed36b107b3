"""Interventions resolved on one prompt: for each layer, which features change, where, and from what to what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from replacement_model.activation import Activation
from replacement_model.errors import InputError
from replacement_model.interventions.features import Feature, resolve_positions
from replacement_model.interventions.intervention import Intervention
from replacement_model.transcoder import ActiveFeatures, Transcoder

__all__ = ["Edit", "LayerEdits", "activate", "check_feature", "current_acts", "resolve_edits"]


@dataclass(frozen=True, slots=True)
class Edit:
    """One feature, from position `start` up to `stop` (None: no end): act becomes factor * act + addend."""

    feature_idx: int
    start: int
    stop: int | None
    factor: float
    addend: float


@dataclass(frozen=True, slots=True, eq=False)
class LayerEdits:
    """All edits of one layer's features, in the order in which they act.

    Attributes:
        feature_idx: each changed feature once, sorted.
        columns: for each edit the place of its feature in `feature_idx`.
    """

    edits: tuple[Edit, ...]
    feature_idx: Int[Tensor, "n"]
    columns: tuple[int, ...]

    @classmethod
    def of(cls, edits: Sequence[Edit], device: torch.device) -> "LayerEdits":
        order = sorted({edit.feature_idx for edit in edits})
        column = {feature_idx: index for index, feature_idx in enumerate(order)}
        columns = tuple(column[edit.feature_idx] for edit in edits)
        return cls(tuple(edits), torch.tensor(order, device=device), columns)

    def apply(self, acts: Float[Tensor, "row n"], positions: Int[Tensor, "row"]) -> Float[Tensor, "row n"]:
        """The activations that are wanted at `positions` in place of `acts`."""
        acts = acts.clone()
        for edit, column in zip(self.edits, self.columns, strict=True):
            rows = self._rows(edit, positions)
            acts[rows, column] = edit.factor * acts[rows, column] + edit.addend
        return acts

    def covered(self, positions: Int[Tensor, "row"]) -> Bool[Tensor, "row n"]:
        """Where some edit acts."""
        found = torch.zeros(len(positions), len(self.feature_idx), dtype=torch.bool, device=positions.device)
        for edit, column in zip(self.edits, self.columns, strict=True):
            found[:, column] |= self._rows(edit, positions)
        return found

    def select(self, values: Float[Tensor, "row n"], positions: Int[Tensor, "row"]) -> ActiveFeatures:
        """`values` where some edit acts; `pos` counts rows."""
        row, column = self.covered(positions).nonzero().T
        return ActiveFeatures(row, self.feature_idx[column], values[row, column])

    @staticmethod
    def _rows(edit: Edit, positions: Int[Tensor, "row"]) -> Bool[Tensor, "row"]:
        rows = positions >= edit.start
        return rows if edit.stop is None else rows & (positions < edit.stop)


def resolve_edits(
    interventions: Sequence[Intervention],
    widths: Mapping[int, int],
    n_layers: int,
    n_pos: int,
    n_ignored_pos: int,
    device: torch.device,
) -> dict[int, LayerEdits]:
    """Edits by layer, from interventions without swaps.

    Args:
        interventions: in the order in which they act.
        widths: number of features of each layer that has some.
        n_layers: of the model.
        n_pos: length of the prompt.
        n_ignored_pos: leading positions whose features are not traced.
        device: of the tensors.

    Raises:
        InputError: there is nothing to do, a layer or feature does not exist, or a position is outside the prompt.
    """
    if not interventions:
        raise InputError("no interventions given; name a feature to set, scale, add to, ablate or swap")
    found: dict[int, list[Edit]] = {}
    for one in interventions:
        for feature, value in zip(one.features, one.values, strict=True):
            check_feature(feature, widths, n_layers)
            start, stop = resolve_positions(feature, n_pos, n_ignored_pos)
            factor, addend = _affine(one.operation, value)
            found.setdefault(feature.layer, []).append(Edit(feature.feature_idx, start, stop, factor, addend))
    return {layer: LayerEdits.of(edits, device) for layer, edits in sorted(found.items())}


def check_feature(feature: Feature, widths: Mapping[int, int], n_layers: int) -> None:
    """Raise unless the feature exists.

    Raises:
        InputError: the layer does not exist or has no features, or the feature does not exist.
    """
    if not 0 <= feature.layer < n_layers:
        raise InputError(f"{feature.text}: layer {feature.layer} does not exist; choose 0 to {n_layers - 1}")
    if feature.layer not in widths:
        have = ", ".join(map(str, widths))
        raise InputError(
            f"{feature.text}: layer {feature.layer} has no features; those of layers {have} can be changed"
        )
    width = widths[feature.layer]
    if not 0 <= feature.feature_idx < width:
        raise InputError(f"{feature.text}: layer {feature.layer} has features 0 to {width - 1}; choose one of them")


def current_acts(
    transcoder: Transcoder, layer: int, x: Float[Tensor, "row d_model"], feature_idx: Int[Tensor, "n"]
) -> Float[Tensor, "row n"]:
    """Activations of some features of a layer at the encoder's tap; their encoder rows are all that is read."""
    weights = transcoder.layers[layer]
    if weights is None or not weights.activation.elementwise:
        return transcoder.encode(layer, x)[:, feature_idx]
    pre_acts = x @ transcoder.encoder_rows(layer, feature_idx).T + transcoder.encoder_biases(layer, feature_idx)
    return activate(weights.activation, pre_acts, feature_idx)


def activate(
    activation: Activation, pre_acts: Float[Tensor, "row n"], feature_idx: Int[Tensor, "n"]
) -> Float[Tensor, "row n"]:
    """Activations of some features, where the nonlinearity looks at each alone."""
    threshold = activation.threshold
    some = None if threshold is None else threshold[feature_idx.to(threshold.device)]
    return replace(activation, threshold=some).to(pre_acts.device, pre_acts.dtype)(pre_acts)


def _affine(operation: str, value: float) -> tuple[float, float]:
    return {"scale": (value, 0.0), "add": (1.0, value)}.get(operation, (0.0, value))
