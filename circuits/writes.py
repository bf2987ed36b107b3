"""Everything that is written to the residual stream on one prompt, ready to be contracted with gradients.

For each layer: decoder rows times activations, grouped by position so that a contraction is one matrix product a
position, and beside them errors, constants and the host's rounding. All have gone through the frozen post-norm where
the decoder writes before it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from replacement_model.capture import Capture
from replacement_model.decomposition import Decomposition
from replacement_model.transcoder import Transcoder

__all__ = ["LayerWrites", "Writes"]


@dataclass(frozen=True, slots=True, eq=False)
class LayerWrites:
    """What is written at one layer's MLP.

    Attributes:
        rows: (n, d_model), decoder rows times activations, sorted by (pos, source layer, feature_idx).
        row_bounds: rows of position p are `row_bounds[p] : row_bounds[p + 1]`.
        first_col: first column, in position-major order, that position p's rows belong to; they are consecutive.
        errors, constants: at every position.
        rounding: what the host rounded away; None for float32 and float64.
    """

    rows: Float[Tensor, "n d_model"]
    row_bounds: tuple[int, ...]
    first_col: tuple[int, ...]
    errors: Float[Tensor, "pos d_model"]
    constants: Float[Tensor, "pos d_model"]
    rounding: Float[Tensor, "pos d_model"] | None


class Writes:
    """What features, errors, constants and rounding write at each layer.

    Attributes:
        by_pos: the active features in position-major order (pos, layer, feature_idx), as indices into `features`.
    """

    def __init__(self, capture: Capture, transcoder: Transcoder, parts: Decomposition, cache: bool) -> None:
        self._capture, self._transcoder, self._parts = capture, transcoder, parts
        layer, pos, _ = parts.features.T
        self.by_pos = torch.argsort(pos * capture.frozen.host.n_layers + layer, stable=True)
        self._sorted_layer, self._sorted_pos = layer[self.by_pos], pos[self.by_pos]
        zeros = torch.zeros_like(capture.embed)
        self._attention = [block.attn_write(zeros) for block in capture.frozen.blocks]
        self._cached = [self._gather(index) for index in range(transcoder.n_layers)] if cache else None

    def at(self, layer: int) -> LayerWrites:
        """What is written at the MLP of `layer`; gathered anew at every call unless it is cached."""
        return self._gather(layer) if self._cached is None else self._cached[layer]

    def attention(self, layer: int) -> tuple[Float[Tensor, "pos d_model"], Float[Tensor, "pos d_model"] | None]:
        """The constants that the attention of `layer` writes, and the rounding there of a half-precision host."""
        rounding = self._capture.attn_rounding
        return self._attention[layer], None if rounding is None else rounding[layer]

    @staticmethod
    def n_row_bytes(transcoder: Transcoder, parts: Decomposition) -> int:
        """Bytes that the rows of all layers take together."""
        per_layer = torch.bincount(parts.features[:, 0], minlength=transcoder.n_layers).tolist()
        n_rows = sum(count * transcoder.n_out(layer) for layer, count in enumerate(per_layer))
        return n_rows * transcoder.d_model * parts.feature_acts.element_size()

    def _gather(self, layer: int) -> LayerWrites:
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
        counts = torch.bincount(pos, minlength=self._capture.n_pos)
        bounds = [0, *counts.cumsum(0).tolist()]
        padded = torch.cat([cols, cols.new_zeros(1)])
        block, site = self._capture.frozen.blocks[layer], self._transcoder.decoder_site
        rounding = self._capture.mlp_rounding
        return LayerWrites(
            rows=block.site_write(rows, site, bias=False, positions=pos),
            row_bounds=tuple(bounds),
            first_col=tuple(padded[bounds[:-1]].tolist()),
            errors=block.site_write(self._parts.errors[layer], site, bias=False),
            constants=block.site_write(self._constants(layer), site),
            rounding=None if rounding is None else rounding[layer],
        )

    def _constants(self, layer: int) -> Float[Tensor, "pos d_model"]:
        """Decoder bias, ignored positions and the skip of the tap's bias, at the decoder's site."""
        constants, skip = self._parts.constants[layer], self._transcoder.skip(layer)
        if skip is None:
            return constants
        block = self._capture.frozen.blocks[layer]
        return constants + block.tap(torch.zeros_like(constants), self._transcoder.encoder_tap) @ skip.T
