"""The host with attention patterns and norm denominators frozen on one prompt: blocks are affine (Ameisen et al. 2025).

The maps here run forwards and are written from the pieces as they are; the attribution sweep has its own adjoint with
gains and denominators folded in, so that each tests the other.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from replacement_model.host import Block, Host, Norm
from replacement_model.recording import AttentionCall
from replacement_model.transcoder import DecoderSite, EncoderTap

__all__ = ["FrozenBlock", "FrozenModel"]

ALL = slice(None)
# Rows of W_U converted at a time where the host's dtype is not the working one.
UNEMBEDDED_AT_ONCE = 8192


@dataclass(frozen=True, slots=True, eq=False)
class FrozenBlock:
    """One layer on one prompt.

    Attributes:
        attention: its pattern, or the call that gives it again.
        *_scale: reciprocal denominators of the layer's norms, None where the norm is absent.

    With `bias=False` each map is its linear part alone.
    """

    block: Block
    attention: Float[Tensor, "n_heads pos pos"] | AttentionCall
    attn_scale: Float[Tensor, "pos 1"]
    mlp_scale: Float[Tensor, "pos 1"]
    attn_post_scale: Float[Tensor, "pos 1"] | None
    mlp_post_scale: Float[Tensor, "pos 1"] | None

    @property
    def pattern(self) -> Float[Tensor, "n_heads pos pos"]:
        """Attention weights after the softmax, [head, destination, source]; read it once, it may run the host."""
        if isinstance(self.attention, AttentionCall):
            return self.attention.pattern(self.attn_scale.device, self.attn_scale.dtype)
        return self.attention

    def attn_out(
        self, resid_pre: Float[Tensor, "*batch pos d_model"], bias: bool = True
    ) -> Float[Tensor, "*batch pos d_model"]:
        """Output of the attention module, before any post-norm."""
        norm = self.block.attn_norm.affine if bias else self.block.attn_norm.linear
        return self.mix(norm(resid_pre, self.attn_scale), bias)

    def mix(
        self, normed: Float[Tensor, "*batch pos d_model"], bias: bool = True
    ) -> Float[Tensor, "*batch pos d_model"]:
        """Output of the attention module from what it reads."""
        block, dtype = self.block, normed.dtype
        values = normed @ block.W_V.to(dtype).T  # [*batch, pos, n_kv_heads * d_head]
        if bias and block.b_V is not None:
            values = values + block.b_V.to(dtype)
        values = values.unflatten(-1, (block.n_kv_heads, block.d_head))
        per_head = values.repeat_interleave(block.n_heads // block.n_kv_heads, dim=-2)  # [*batch, pos, n_heads, d_head]
        mixed = torch.einsum("hij,...jhd->...ihd", self.pattern, per_head).flatten(-2)
        out = mixed @ block.W_O.to(dtype).T
        return out + block.b_O.to(dtype) if bias and block.b_O is not None else out

    def attn_write(
        self, resid_pre: Float[Tensor, "*batch pos d_model"], bias: bool = True
    ) -> Float[Tensor, "*batch pos d_model"]:
        """What attention adds to the residual stream."""
        return self.attn_post(self.attn_out(resid_pre, bias), bias)

    def attn_post(
        self, attn_out: Float[Tensor, "*batch pos d_model"], bias: bool = True
    ) -> Float[Tensor, "*batch pos d_model"]:
        """What an output of the attention module adds to the residual stream."""
        return self._post(self.block.attn_post_norm, self.attn_post_scale, attn_out, bias)

    def site_write(
        self,
        out: Float[Tensor, "*batch n d_model"],
        site: DecoderSite,
        bias: bool = True,
        positions: Int[Tensor, "n"] | slice = ALL,
    ) -> Float[Tensor, "*batch n d_model"]:
        """What outputs at the decoder's site, at `positions`, add to the residual stream."""
        if site is DecoderSite.POST_NORM or self.mlp_post_scale is None:
            return out
        return self._post(self.block.mlp_post_norm, self.mlp_post_scale[positions], out, bias)

    def tap(
        self,
        resid_mid: Float[Tensor, "*batch n d_model"],
        tap: EncoderTap,
        bias: bool = True,
        scale: Float[Tensor, "*batch n 1"] | None = None,
    ) -> Float[Tensor, "*batch n d_model"]:
        """The residual stream as the encoder reads it; `scale` takes the place of the frozen one."""
        norm, scale = self.block.mlp_norm, self.mlp_scale if scale is None else scale
        if tap is EncoderTap.RESID_MID:
            return resid_mid
        if tap is EncoderTap.NORMALIZED:
            return norm.centre(resid_mid) * scale
        return norm.affine(resid_mid, scale) if bias else norm.linear(resid_mid, scale)

    @staticmethod
    def _post(
        norm: Norm | None, scale: Float[Tensor, "n 1"] | None, x: Float[Tensor, "*batch n d_model"], bias: bool
    ) -> Float[Tensor, "*batch n d_model"]:
        if norm is None or scale is None:
            return x
        return norm.affine(x, scale) if bias else norm.linear(x, scale)


@dataclass(frozen=True, slots=True, eq=False)
class FrozenModel:
    """All layers on one prompt, and the frozen final norm."""

    host: Host
    blocks: tuple[FrozenBlock, ...]
    final_scale: Float[Tensor, "pos 1"]

    def unembed(
        self,
        resid_post: Float[Tensor, "*batch pos d_model"],
        positions: list[int],
        bias: bool = True,
        scale: Float[Tensor, "*batch pos 1"] | None = None,
    ) -> Float[Tensor, "*batch n d_vocab"]:
        """Logits before any softcap at `positions`, from the last layer's residual stream.

        `scale` takes the place of the frozen one.
        """
        norm = self.host.final_norm.affine if bias else self.host.final_norm.linear
        scale = self.final_scale if scale is None else scale
        normed = norm(resid_post[..., positions, :], scale[..., positions, :])
        logits = self._product_with_unembedding(normed.flatten(0, -2)).unflatten(0, normed.shape[:-1])
        return logits + self.host.b_U.to(normed.dtype) if bias and self.host.b_U is not None else logits

    def _product_with_unembedding(self, normed: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_vocab"]:
        """Half precision is converted in parts, into one result, so that no copy of the whole is ever made."""
        W_U = self.host.W_U
        if W_U.dtype == normed.dtype:
            return normed @ W_U.T
        logits = normed.new_empty(len(normed), len(W_U))
        for rows, part in zip(W_U.split(UNEMBEDDED_AT_ONCE), logits.split(UNEMBEDDED_AT_ONCE, dim=1), strict=True):
            torch.mm(normed, rows.to(normed.dtype).T, out=part)
        return logits

    def run(
        self,
        resid: Float[Tensor, "*batch pos d_model"],
        writes: Float[Tensor, "n_layers *batch pos d_model"],
        skips: tuple[Float[Tensor, "d_model d_model"] | None, ...],
        tap: EncoderTap,
        site: DecoderSite,
        bias: bool = True,
    ) -> tuple[list[Float[Tensor, "*batch pos d_model"]], Float[Tensor, "*batch pos d_model"]]:
        """The affine model from given outputs at the decoder's site; only attention and skips respond.

        Args:
            resid: token and position embeddings.
            writes: what features, errors and biases write at each layer's decoder site, without the skip.
            skips: skip matrix of each layer; it reads the encoder's tap.
            tap: the encoder's tap.
            site: the decoder's site.
            bias: False for the linear part alone: `resid` and `writes` are changes, and so is what is returned.

        Returns:
            `resid_mid` of every layer, and the last `resid_post`.
        """
        resid_mids = []
        for block, write, skip in zip(self.blocks, writes, skips, strict=True):
            after_attn = resid + block.attn_write(resid, bias)
            resid_mids.append(resid if block.block.parallel else after_attn)
            if skip is not None:
                write = write + block.tap(resid_mids[-1], tap, bias) @ skip.T
            resid = after_attn + block.site_write(write, site, bias)
        return resid_mids, resid
