"""Everything that is written to the residual stream on one prompt, ready to be contracted with gradients.

For each layer: decoder rows times activations, grouped by position so that a contraction is one matrix product a
position, and beside them errors, constants and the host's rounding. All have gone through the frozen post-norm where
the decoder writes before it.

Decoder rows are read from the transcoder, which is often a memory-mapped file, some positions at a time, as few as fit
a buffer that the processor's cache holds; only where all of them are small they are kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits.cone import Cone
from circuits.kernels import gather_rows
from replacement_model.capture import Capture
from replacement_model.decomposition import Decomposition
from replacement_model.frozen import FrozenBlock
from replacement_model.transcoder import Transcoder

__all__ = ["LayerWrites", "RowPart", "Writes"]

PART_BYTES = 2**24  # decoder rows gathered at once
BYTES_A_FEATURE = 64  # order, index and activation of an active feature, and what ranking it takes


@dataclass(frozen=True, slots=True, eq=False)
class RowPart:
    """What features write at one layer, at some neighbouring positions.

    Attributes:
        rows: (n, d_model), decoder rows times activations, sorted by (pos, source layer, feature_idx); valid until the
            next part is read.
        first_pos: the first position.
        bounds: rows of position `first_pos + i` are `bounds[i] : bounds[i + 1]`.
        first_col: first column, in position-major order, that those rows belong to; they are consecutive.
    """

    rows: Float[Tensor, "n d_model"]
    first_pos: int
    bounds: tuple[int, ...]
    first_col: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LayerWrites:
    """What else is written at one layer's MLP.

    Attributes:
        errors, constants: at every position.
        rounding: what the host rounded away; None for float32 and float64.
    """

    errors: Float[Tensor, "pos d_model"]
    constants: Float[Tensor, "pos d_model"]
    rounding: Float[Tensor, "pos d_model"] | None


class Writes:
    """What features, errors, constants and rounding write at each layer.

    Attributes:
        by_pos: the active features in position-major order (pos, layer, feature_idx), as indices into `features`.
        cone: where each layer's are among them.
    """

    def __init__(
        self,
        capture: Capture,
        transcoder: Transcoder,
        parts: Decomposition,
        cone: Cone,
        cache: bool,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._capture, self._transcoder, self._parts, self.cone = capture, transcoder, parts, cone
        n_layers, features = cone.n_layers, parts.features
        self.by_pos = torch.argsort(features[:, 1] * n_layers + features[:, 0], stable=True)
        self._feature_idx, self._acts = features[self.by_pos, 2], parts.feature_acts[self.by_pos]
        self._part_rows = max(1, part_bytes // (transcoder.d_model * self._acts.element_size()))
        self._buffer = self._acts.new_empty(0)
        self._attention = [self._attention_constants(layer) for layer in range(n_layers)]
        self._cached = [list(self._read(layer, keep=True)) for layer in range(n_layers)] if cache else None

    def at(self, layer: int) -> LayerWrites:
        """What errors, constants and rounding write at the MLP of `layer`."""
        block, site = self._block(layer), self._transcoder.decoder_site
        rounding = self._capture.mlp_rounding
        return LayerWrites(
            errors=block.site_write(self._parts.errors[layer], site, bias=False),
            constants=block.site_write(self._constants(layer), site),
            rounding=None if rounding is None else rounding[layer],
        )

    def rows(self, layer: int) -> Iterator[RowPart]:
        """What features write at the MLP of `layer`, read anew at every call unless it is cached."""
        return self._read(layer) if self._cached is None else iter(self._cached[layer])

    def attention(self, layer: int) -> tuple[Float[Tensor, "pos d_model"] | None, Float[Tensor, "pos d_model"] | None]:
        """The constants that the attention of `layer` writes, and the rounding there of a half-precision host.

        None where there are none.
        """
        rounding = self._capture.attn_rounding
        return self._attention[layer], None if rounding is None else rounding[layer]

    @staticmethod
    def n_bytes(capture: Capture, transcoder: Transcoder, parts: Decomposition) -> int:
        """Bytes of everything but cached rows: the order of the features, constants, the rows of a part."""
        at_all_layers = capture.frozen.host.n_layers * capture.embed.numel() * capture.embed.element_size()
        n_constants = at_all_layers if any(map(_has_constants, capture.frozen.blocks)) else 0
        n_part = min(PART_BYTES, Writes.n_row_bytes(transcoder, parts))
        return len(parts.features) * BYTES_A_FEATURE + n_constants + 3 * n_part

    @staticmethod
    def n_row_bytes(transcoder: Transcoder, parts: Decomposition) -> int:
        """Bytes that the rows of all layers take together."""
        per_layer = torch.bincount(parts.features[:, 0], minlength=transcoder.n_layers).tolist()
        n_rows = sum(count * transcoder.n_out(layer) for layer, count in enumerate(per_layer))
        return n_rows * transcoder.d_model * parts.feature_acts.element_size()

    def _read(self, layer: int, keep: bool = False) -> Iterator[RowPart]:
        """Parts of at most `_part_rows` rows, or of one position; each in a tensor of its own to `keep` them."""
        first_source = 0 if self._transcoder.cross_layer else layer
        starts = self.cone.starts
        before = starts[layer + 1] - starts[first_source]  # rows at earlier positions
        first_pos = 0
        while first_pos < self.cone.n_pos:
            last_row = before[first_pos] + self._part_rows
            stop_pos = max(first_pos + 1, int(before.searchsorted(last_row, side="right")) - 1)
            here, bounds = slice(first_pos, stop_pos), before[first_pos : stop_pos + 1] - before[first_pos]
            if bounds[-1]:
                first_col = starts[-1, here] + starts[first_source, 1:][here] - starts[first_source, here]
                rows = self._room(int(bounds[-1]), keep)
                if not self._copy_rows(rows, layer, (first_source, layer, first_pos, stop_pos)):
                    self._convert_rows(rows, layer, bounds, first_col)
                pos = torch.as_tensor(np.repeat(np.arange(first_pos, stop_pos), np.diff(bounds)), device=rows.device)
                written = self._block(layer).site_write(rows, self._transcoder.decoder_site, False, pos)
                yield RowPart(written, first_pos, tuple(bounds.tolist()), tuple(first_col.tolist()))
            first_pos = stop_pos

    def _room(self, n: int, keep: bool) -> Float[Tensor, "n d_model"]:
        size = n * self._transcoder.d_model
        if keep:
            return self._acts.new_empty(size).view(n, -1)
        if len(self._buffer) < size:
            self._buffer = self._acts.new_empty(size)
        return self._buffer[:size].view(n, -1)

    def _copy_rows(self, out: Float[Tensor, "n d_model"], layer: int, sites: tuple[int, int, int, int]) -> bool:
        """Fill `out` straight from decoders in its dtype on this machine; False where they are others."""
        first_source, *_ = sites
        decoders = [
            (source, weights.W_dec[layer - source])
            for source, weights in enumerate(self._transcoder.layers[: layer + 1])
            if source >= first_source and weights is not None
        ]
        if any(
            matrix.dtype != out.dtype
            or matrix.device.type != "cpu"
            or out.device.type != "cpu"
            or matrix.stride(1) != 1
            for _, matrix in decoders
        ):
            return False
        features, acts = self._feature_idx.numpy(), self._acts.numpy()
        for source, matrix in decoders:
            line = matrix.as_strided((matrix.stride(0) * (len(matrix) - 1) + matrix.shape[1],), (1,))
            gather_rows(line.numpy(), matrix.stride(0), self.cone.starts, source, sites, features, acts, out.numpy())
        return True

    def _convert_rows(
        self, out: Float[Tensor, "n d_model"], layer: int, bounds: Int[np.ndarray, "_"], first_col: Int[np.ndarray, "_"]
    ) -> None:
        """Fill `out` from decoders of any dtype and on any device."""
        cols = np.repeat(first_col - bounds[:-1], np.diff(bounds)) + np.arange(bounds[-1])
        chosen = torch.as_tensor(cols, device=out.device)
        sources = self._parts.features[self.by_pos[chosen], 0]
        for source in self._transcoder.source_layers(layer):
            where = (sources == source).nonzero().squeeze(1)
            decoder = self._transcoder.decoder_rows(source, self._feature_idx[chosen[where]], layer)
            out[where] = decoder.mul_(self._acts[chosen[where], None])

    def _block(self, layer: int) -> FrozenBlock:
        return self._capture.frozen.blocks[layer]

    def _attention_constants(self, layer: int) -> Float[Tensor, "pos d_model"] | None:
        """What attention writes where the residual stream is zero: its biases, and those of its norms."""
        block = self._block(layer)
        return block.attn_write(torch.zeros_like(self._capture.embed)) if _has_constants(block) else None

    def _constants(self, layer: int) -> Float[Tensor, "pos d_model"]:
        """Decoder bias, ignored positions and the skip of the tap's bias, at the decoder's site."""
        constants, skip = self._parts.constants[layer], self._transcoder.skip(layer)
        if skip is None:
            return constants
        return constants + self._block(layer).tap(torch.zeros_like(constants), self._transcoder.encoder_tap) @ skip.T


def _has_constants(frozen: FrozenBlock) -> bool:
    """Whether the attention has any bias, its own or its norms'."""
    block = frozen.block
    norms = [norm for norm in (block.attn_norm, block.attn_post_norm) if norm is not None]
    biases = [block.b_V, block.b_O, *(norm.bias(torch.float32) for norm in norms)]
    return any(bias is not None for bias in biases)
