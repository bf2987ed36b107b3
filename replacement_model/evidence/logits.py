"""What a unit of a feature's activation does to the logits directly, and which tokens it raises and lowers most.

The effect is that of everything the feature writes, at all layers, carried through the gains of the norms that follow
but not their denominators, which depend on the prompt; the mean over the vocabulary is taken off.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from replacement_model.errors import InputError
from replacement_model.host import Norm
from replacement_model.model import ReplacementModel
from replacement_model.transcoder import DecoderSite

__all__ = ["ExtremeLogits", "extreme_logits", "summed_decoders"]

VOCABULARY_AT_ONCE = 8192  # rows of W_U that are converted and multiplied at a time


@dataclass(frozen=True, slots=True, eq=False)
class ExtremeLogits:
    """The tokens whose logits each of some features raises (`top`) and lowers (`bottom`) most, furthest first."""

    top_ids: Int[Tensor, "n k"]
    top_effects: Float[Tensor, "n k"]
    bottom_ids: Int[Tensor, "n k"]
    bottom_effects: Float[Tensor, "n k"]


def summed_decoders(model: ReplacementModel, layer: int, feature_idx: Int[Tensor, "n"]) -> Float[Tensor, "n d_model"]:
    """What each feature adds to the residual stream over all layers that it writes to, up to norms' denominators."""
    transcoder, host = model.transcoder, model.host
    total = torch.zeros(len(feature_idx), host.d_model, dtype=model.dtype, device=host.device)
    for write_layer in range(layer, layer + transcoder.n_out(layer)):
        rows = transcoder.decoder_rows(layer, feature_idx, write_layer)
        norm = host.blocks[write_layer].mlp_post_norm
        total += rows if norm is None or transcoder.decoder_site is DecoderSite.POST_NORM else _gained(norm, rows)
    return total


def extreme_logits(model: ReplacementModel, written: Float[Tensor, "n d_model"], count: int) -> ExtremeLogits:
    """The `count` tokens at each end of the logits' change.

    Args:
        model: gives the final norm and the unembedding.
        written: what the features add to the residual stream.
        count: tokens at each end.

    Raises:
        InputError: the vocabulary is smaller.
    """
    host = model.host
    if count > host.d_vocab:
        raise InputError(f"expected at most {host.d_vocab} logits, the size of the vocabulary; got {count}")
    read = _gained(host.final_norm, written)
    mean = read @ model.mean_unembedding.to(read.device)
    ends = [_Ends.none(read), _Ends.none(read)]
    for first in range(0, host.d_vocab, VOCABULARY_AT_ONCE):
        rows = host.W_U[first : first + VOCABULARY_AT_ONCE].to(read.device, read.dtype)
        effects = read @ rows.T - mean[:, None]  # [n, token]
        ends = [end.joined(sign * effects, first, count) for end, sign in zip(ends, (1, -1), strict=True)]
    top, bottom = ends
    return ExtremeLogits(top.ids, top.values, bottom.ids, -bottom.values)


@dataclass(frozen=True, slots=True, eq=False)
class _Ends:
    """The largest values so far of each row, sorted, and the tokens that they belong to."""

    values: Float[Tensor, "n k"]
    ids: Int[Tensor, "n k"]

    @classmethod
    def none(cls, like: Float[Tensor, "n d_model"]) -> "_Ends":
        return cls(like[:, :0], torch.empty(len(like), 0, dtype=torch.int64, device=like.device))

    def joined(self, effects: Float[Tensor, "n token"], first: int, count: int) -> "_Ends":
        values, ids = effects.topk(min(count, effects.shape[1]), dim=1)
        values, ids = torch.cat([self.values, values], 1), torch.cat([self.ids, ids + first], 1)
        order = values.argsort(dim=1, descending=True, stable=True)[:, :count]
        return _Ends(values.gather(1, order), ids.gather(1, order))


def _gained(norm: Norm, x: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_model"]:
    """Through a norm whose denominator is 1."""
    return norm.linear(x, x.new_ones(len(x), 1))
