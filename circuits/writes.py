"""Everything that is written to the residual stream on one prompt, ready to be contracted with gradients.

For each layer: decoder rows times activations, grouped by position so that a contraction is one matrix product a position, and beside
them errors, constants and the host's rounding. All have gone through the frozen post-norm where the decoder writes before it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from replacement_model.capture import Capture
from replacement_model.decomposition import Decomposition
from replacement_model.transcoder import Transcoder

__all__ = ["LayerRows", "Writes"]


@dataclass(frozen=True, slots=True, eq=False)
class LayerRows:
    """The decoder rows that write at one layer.

    Attributes:
        rows: (n, d_model), sorted by (pos, source layer, feature_idx), times activation.
        row_bounds: rows of position p are `row_bounds[p] : row_bounds[p + 1]`.
        first_col: first column, in position-major order, that position p's rows belong to; they are consecutive.
    """

    rows: Float[Tensor, "n d_model"]
    row_bounds: tuple[int, ...]
    first_col: tuple[int, ...]


class Writes:
    """What features, errors, constants and rounding write at each layer.

    Attributes:
        by_pos: the active features in position-major order (pos, layer, feature_idx), as indices into `features`.
        mlp_extra: (n_layers, pos, d_model, k): k = error, constant and, for a half-precision host, rounding.
        attn_extra: (n_layers, pos, d_model, k - 1): constant and rounding.
    """

    def __init__(self, capture: Capture, transcoder: Transcoder, parts: Decomposition, cache: bool) -> None:
        self._capture, self._transcoder, self._parts = capture, transcoder, parts
        layer, pos, _ = parts.features.T
        self.by_pos = torch.argsort(pos * capture.frozen.host.n_layers + layer, stable=True)
        self._sorted_layer, self._sorted_pos = layer[self.by_pos], pos[self.by_pos]
        self.mlp_extra = torch.stack([self._mlp_extra(index) for index in range(transcoder.n_layers)])
        self.attn_extra = torch.stack([self._attn_extra(index) for index in range(transcoder.n_layers)])
        self._cached = [self._gather(index) for index in range(transcoder.n_layers)] if cache else None

    def at(self, layer: int) -> LayerRows:
        """Decoder rows that write at `layer`; gathered anew at every call unless they are cached."""
        return self._gather(layer) if self._cached is None else self._cached[layer]

    @staticmethod
    def n_row_bytes(transcoder: Transcoder, parts: Decomposition) -> int:
        """Bytes that the rows of all layers take together."""
        per_layer = torch.bincount(parts.features[:, 0], minlength=transcoder.n_layers).tolist()
        n_rows = sum(count * transcoder.n_out(layer) for layer, count in enumerate(per_layer))
        return n_rows * transcoder.d_model * parts.feature_acts.element_size()

    def _gather(self, layer: int) -> LayerRows:
        sources = self._transcoder.source_layers(layer)
        writes_here = torch.isin(self._sorted_layer, torch.tensor(sources, device=self._sorted_layer.device))
        cols = writes_here.nonzero().squeeze(1)
        chosen = self.by_pos[cols]
        rows = self._capture.embed.new_empty(len(cols), self._transcoder.d_model)
        for source in sources:
            where = (self._sorted_layer[cols] == source).nonzero().squeeze(1)
            idx = self._parts.features[chosen[where], 2]
            decoder = self._transcoder.decoder_rows(source, idx, layer)
            rows[where] = decoder * self._parts.feature_acts[chosen[where], None]
        pos = self._sorted_pos[cols]
        rows = self._as_write(layer, rows, pos)
        counts = torch.bincount(pos, minlength=self._capture.n_pos)
        bounds = [0, *counts.cumsum(0).tolist()]
        padded = torch.cat([cols, cols.new_zeros(1)])
        return LayerRows(rows, tuple(bounds), tuple(padded[bounds[:-1]].tolist()))

    def _as_write(self, layer: int, rows: Float[Tensor, "n d_model"], pos: Int[Tensor, "n"]) -> Float[Tensor, "n d_model"]:
        block = self._capture.frozen.blocks[layer]
        return block.site_write(rows, self._transcoder.decoder_site, bias=False, positions=pos)

    def _mlp_extra(self, layer: int) -> Float[Tensor, "pos d_model k"]:
        block, site = self._capture.frozen.blocks[layer], self._transcoder.decoder_site
        error = block.site_write(self._parts.errors[layer], site, bias=False)
        constant = self._parts.constants[layer]
        skip = self._transcoder.skip(layer)
        if skip is not None:
            constant = constant + block.tap(torch.zeros_like(error), self._transcoder.encoder_tap) @ skip.T
        return _stack([error, block.site_write(constant, site)], self._capture.mlp_rounding, layer)

    def _attn_extra(self, layer: int) -> Float[Tensor, "pos d_model k"]:
        constant = self._capture.frozen.blocks[layer].attn_write(torch.zeros_like(self._capture.embed))
        return _stack([constant], self._capture.attn_rounding, layer)


def _stack(parts: list[Tensor], rounding: Tensor | None, layer: int) -> Float[Tensor, "pos d_model k"]:
    return torch.stack(parts if rounding is None else [*parts, rounding[layer]], dim=-1)
