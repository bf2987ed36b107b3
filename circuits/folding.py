"""Each frozen layer as the few matrices that its adjoint needs, with gains, centring and denominators folded in.

With g the gradient at what attention writes, W_O and W_V folded, and mix the pattern times the two denominators:

    g  +=  W_V^T  mix^T  W_O^T  g          (heads of one group summed before W_V^T)
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from replacement_model.frozen import FrozenBlock
from replacement_model.host import Norm
from replacement_model.transcoder import DecoderSite, EncoderTap, Transcoder

__all__ = ["FoldedLayer", "FoldedSkip", "fold", "tap_adjoint"]


@dataclass(frozen=True, slots=True, eq=False)
class FoldedSkip:
    """A skip's adjoint, g += scale * (g @ matrix), where scale depends on the position."""

    matrix: Float[Tensor, "d_model d_model"]
    scale: Float[Tensor, "pos 1"]


@dataclass(frozen=True, slots=True, eq=False)
class FoldedLayer:
    """One layer's adjoint.

    Attributes:
        W_O: (d_model, n_heads * d_head), times the post-norm's gain.
        W_V: (n_kv_heads * d_head, d_model), times the pre-norm's gain.
        mix: [kv head, head of its group, destination, source], pattern times both reciprocal denominators.
        parallel: attention and skip act on the same gradient; else the skip comes first on the way down.
    """

    W_O: Float[Tensor, "d_model d_heads"]
    W_V: Float[Tensor, "d_kv d_model"]
    mix: Float[Tensor, "n_kv_heads group pos pos"]
    skip: FoldedSkip | None
    parallel: bool = False


def fold(frozen: FrozenBlock, skip: Float[Tensor, "d_model d_model"] | None, transcoder: Transcoder) -> FoldedLayer:
    """One layer's adjoint. It reads the pattern, and is as large as the layer's attention: make it when it is needed.

    Args:
        frozen: the layer.
        skip: its skip matrix, None where there is none.
        transcoder: says where skip and decoders are.
    """
    block, pattern = frozen.block, frozen.pattern
    mix = pattern * frozen.attn_scale.squeeze(1)
    if frozen.attn_post_scale is not None:
        mix *= frozen.attn_post_scale
    return FoldedLayer(
        W_O=_after(block.W_O.to(mix), block.attn_post_norm),
        W_V=_before(block.W_V.to(mix), block.attn_norm),
        mix=mix.unflatten(0, (block.n_kv_heads, -1)),
        skip=None if skip is None else _fold_skip(frozen, skip, transcoder.encoder_tap, transcoder.decoder_site),
        parallel=block.parallel,
    )


def tap_adjoint(
    norm: Norm, scale: Float[Tensor, "n 1"], tap: EncoderTap, vectors: Float[Tensor, "n d_model"]
) -> Float[Tensor, "n d_model"]:
    """Directions at the encoder's tap, carried back through the frozen norm to the residual stream."""
    if tap is EncoderTap.RESID_MID:
        return vectors
    gained = vectors * _gain(norm, vectors) if tap is EncoderTap.MLP_IN else vectors
    return norm.centre(gained) * scale


def _fold_skip(frozen: FrozenBlock, W_skip: Tensor, tap: EncoderTap, site: DecoderSite) -> FoldedSkip:
    matrix, scale = W_skip, torch.ones_like(frozen.mlp_scale)
    if site is DecoderSite.MLP_OUT and frozen.mlp_post_scale is not None:
        matrix, scale = _after(matrix, frozen.block.mlp_post_norm), scale * frozen.mlp_post_scale
    if tap is not EncoderTap.RESID_MID:
        gain = _gain(frozen.block.mlp_norm, matrix) if tap is EncoderTap.MLP_IN else 1.0
        matrix, scale = frozen.block.mlp_norm.centre(matrix * gain), scale * frozen.mlp_scale
    return FoldedSkip(matrix.contiguous(), scale)


def _before(weight: Float[Tensor, "out d_model"], norm: Norm) -> Float[Tensor, "out d_model"]:
    """`weight` that reads what `norm` gives, as a matrix on the norm's input (its denominator left out)."""
    return norm.centre(weight * _gain(norm, weight))


def _after(weight: Float[Tensor, "d_model in"], norm: Norm | None) -> Float[Tensor, "d_model in"]:
    """`weight` followed by `norm` (its denominator left out)."""
    return weight if norm is None else norm.centre(weight.T).T * _gain(norm, weight)[:, None]


def _gain(norm: Norm, like: Tensor) -> Float[Tensor, "d_model"]:
    return norm.gain(like.dtype).to(like.device)
