"""Folding what a trainer does around its coder into the coder's own weights."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["as_float", "without_shift"]


def as_float(tensor: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """In float32 at least: what is computed with is not rounded to half precision again."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def without_shift(
    b_enc: Float[Tensor, "d_transcoder"], W_enc: Float[Tensor, "d_transcoder d_model"], shift: Float[Tensor, "d_or_1"]
) -> Float[Tensor, "d_transcoder"]:
    """The bias of an encoder that reads x instead of x - shift."""
    shift = shift.to(torch.float64).expand(W_enc.shape[1])
    folded = torch.cat([part.double() @ shift for part in W_enc.split(1024)])
    return (b_enc.double() - folded).to(as_float(b_enc).dtype)
