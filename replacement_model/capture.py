"""One forward pass of the host, everything that the attribution needs of it, and the proof that it was understood.

Every block is rebuilt from the captured pieces and compared with what the host itself computed. An unforeseen quirk of
an architecture, or a new transformers release that moves something, is therefore an error that names the layer.
"""

from dataclasses import dataclass, replace
from inspect import signature

import torch
from jaxtyping import Float, Int
from torch import Tensor

from replacement_model.contexts import as_captured, eager_attention, eager_experts, evaluation_mode
from replacement_model.frozen import FrozenBlock, FrozenModel
from replacement_model.host import Block, Host
from replacement_model.recording import AttentionCall, LayerRecord, recording
from replacement_model.transcoder import DecoderSite
from replacement_model.verification import TOLERANCES, check_layer, compare

__all__ = ["Capture", "capture", "working_dtype"]


def working_dtype(host_dtype: torch.dtype) -> torch.dtype:
    """The dtype that attribution runs in: float64 for a float64 host, else float32."""
    return torch.float64 if host_dtype == torch.float64 else torch.float32


@dataclass(frozen=True, slots=True, eq=False)
class Capture:
    """What the host computed on one prompt, in the working dtype.

    Attributes:
        frozen: patterns and denominators.
        embed: the tokens' vectors, with the host's embedding scale.
        pos_embed: learned position embeddings (zeros where there are none).
        resid_pre, resid_mid: residual stream before attention, and between attention and MLP (what the MLP's norm
            reads; in a parallel block that is `resid_pre`).
        mlp_out, mlp_write: the MLP module's output, and what it adds to the residual stream.
        resid_final: the residual stream after the last layer.
        attn_rounding, mlp_rounding: host value minus rebuilt value at each write, for hosts in bfloat16 or float16;
            else None.
        logit_positions: where logits were read.
        logits: the host's logits there, before any softcap.
        probabilities: softmax of the host's logits after the softcap.
    """

    frozen: FrozenModel
    token_ids: Int[Tensor, "pos"]
    embed: Float[Tensor, "pos d_model"]
    pos_embed: Float[Tensor, "pos d_model"]
    resid_pre: Float[Tensor, "n_layers pos d_model"]
    resid_mid: Float[Tensor, "n_layers pos d_model"]
    mlp_out: Float[Tensor, "n_layers pos d_model"]
    mlp_write: Float[Tensor, "n_layers pos d_model"]
    resid_final: Float[Tensor, "pos d_model"]
    logit_positions: tuple[int, ...]
    logits: Float[Tensor, "n d_vocab"]
    probabilities: Float[Tensor, "n d_vocab"]
    attn_rounding: Float[Tensor, "n_layers pos d_model"] | None = None
    mlp_rounding: Float[Tensor, "n_layers pos d_model"] | None = None

    @property
    def keeps_patterns(self) -> bool:
        """Whether the patterns are held; otherwise each reading of one runs the host's attention."""
        return not any(isinstance(block.attention, AttentionCall) for block in self.frozen.blocks)

    @property
    def n_pos(self) -> int:
        return len(self.token_ids)

    def resid_post(self, layer: int) -> Float[Tensor, "pos d_model"]:
        """The residual stream after `layer`."""
        if layer == len(self.resid_mid) - 1:
            return self.resid_final
        return self.resid_pre[layer + 1]

    def at_site(self, site: DecoderSite) -> Float[Tensor, "n_layers pos d_model"]:
        """The host's output at the decoder's site."""
        return self.mlp_write if site is DecoderSite.POST_NORM else self.mlp_out


def capture(
    host: Host, token_ids: Int[Tensor, "pos"], logit_positions: tuple[int, ...], keep_patterns: bool = True
) -> Capture:
    """Run the host once on `token_ids` (batch 1) and capture it.

    Args:
        host: the model's pieces.
        token_ids: the prompt.
        logit_positions: positions at which logits are needed.
        keep_patterns: hold every layer's attention pattern; otherwise each is dropped when its layer was checked, and
            computed again by the host's own attention whenever it is read.

    Raises:
        CaptureError: a block rebuilt from the pieces is not the host's, or the host's output is not finite.
    """
    native = None
    if host.dtype == torch.float64:
        with evaluation_mode(host.model), eager_attention(host.model), eager_experts(host.model):
            native = _logits(host, token_ids, logit_positions)
    layers = _Layers.empty(host, len(token_ids), keep_patterns)
    with as_captured(host):
        with recording(host, host.device, working_dtype(host.dtype), layers.add):
            logits = _logits(host, token_ids, logit_positions)
        if native is not None:
            compare("logits with norms in float64", native, logits, TOLERANCES[torch.float32])
        return _assemble(host, token_ids, logit_positions, layers, logits)


def _logits(host: Host, token_ids: Tensor, positions: tuple[int, ...]) -> Tensor:
    index = torch.tensor(positions, device=token_ids.device)
    if "logits_to_keep" in signature(host.model.forward).parameters:
        return host.model(token_ids[None], use_cache=False, logits_to_keep=index).logits[0].to(host.device)
    return host.model(token_ids[None], use_cache=False).logits[0, index].to(host.device)


@dataclass(frozen=True, slots=True, eq=False)
class _Layers:
    """The layers that are done, filled in one after the other."""

    host: Host
    keep_patterns: bool
    blocks: list[FrozenBlock]
    resid: Float[Tensor, "n_streams pos d_model"]
    resid_mid: Float[Tensor, "n_layers pos d_model"]
    mlp_out: Float[Tensor, "n_layers pos d_model"]
    mlp_write: Float[Tensor, "n_layers pos d_model"]
    attn_rounding: Float[Tensor, "n_layers pos d_model"] | None
    mlp_rounding: Float[Tensor, "n_layers pos d_model"] | None

    @classmethod
    def empty(cls, host: Host, n_pos: int, keep_patterns: bool) -> "_Layers":
        """Room for every layer; what is the same by the architecture is one tensor."""

        def room(extra: int = 0) -> Tensor:
            shape = (host.n_layers + extra, n_pos, host.d_model)
            return torch.empty(shape, dtype=working_dtype(host.dtype), device=host.device)

        resid, mlp_out = room(1), room()
        half = host.dtype in (torch.bfloat16, torch.float16)
        return cls(
            host=host,
            keep_patterns=keep_patterns,
            blocks=[],
            resid=resid,
            resid_mid=resid[:-1] if all(block.parallel for block in host.blocks) else room(),
            mlp_out=mlp_out,
            mlp_write=mlp_out if all(block.mlp_post_norm is None for block in host.blocks) else room(),
            attn_rounding=room() if half else None,
            mlp_rounding=room() if half else None,
        )

    def add(self, layer: int, record: LayerRecord, resid_post: Float[Tensor, "pos d_model"]) -> None:
        """Check a layer and keep what the attribution needs of it."""
        frozen = _freeze(self.host.blocks[layer], record)
        attn_write, mlp_write = check_layer(layer, frozen, record, resid_post, TOLERANCES[self.host.dtype])
        self.blocks.append(frozen if self.keep_patterns else replace(frozen, attention=record.call))
        self.resid[layer], self.resid[layer + 1] = record.resid_pre, resid_post
        self.resid_mid[layer] = record.resid_mid
        self.mlp_out[layer], self.mlp_write[layer] = record.mlp_out, mlp_write
        if self.attn_rounding is None or self.mlp_rounding is None:
            return
        if frozen.block.parallel:  # both writes are added at once, so that their rounding is one
            after_attn = record.resid_pre + attn_write
            self.attn_rounding[layer] = 0
        else:
            after_attn = record.resid_mid
            self.attn_rounding[layer] = after_attn - record.resid_pre - attn_write
        self.mlp_rounding[layer] = resid_post - after_attn - mlp_write


def _assemble(host: Host, token_ids: Tensor, positions: tuple[int, ...], layers: _Layers, logits: Tensor) -> Capture:
    tolerance, resid_final = TOLERANCES[host.dtype], layers.resid[-1]
    embed, pos_embed = _embeddings(host, token_ids, layers.resid[0], tolerance)
    frozen_model = FrozenModel(host, tuple(layers.blocks), host.final_norm.scale(resid_final))
    raw, capped = _check_logits(frozen_model, resid_final, positions, logits.to(resid_final.dtype), tolerance)
    return Capture(
        frozen=frozen_model,
        token_ids=token_ids,
        embed=embed,
        pos_embed=pos_embed,
        resid_pre=layers.resid[:-1],
        resid_mid=layers.resid_mid,
        mlp_out=layers.mlp_out,
        mlp_write=layers.mlp_write,
        resid_final=resid_final,
        logit_positions=positions,
        logits=raw,
        probabilities=capped.softmax(-1),
        attn_rounding=layers.attn_rounding,
        mlp_rounding=layers.mlp_rounding,
    )


def _freeze(block: Block, record: LayerRecord) -> FrozenBlock:
    return FrozenBlock(
        block=block,
        attention=record.pattern,
        attn_scale=block.attn_norm.scale(record.resid_pre),
        mlp_scale=block.mlp_norm.scale(record.resid_mid),
        attn_post_scale=None if block.attn_post_norm is None else block.attn_post_norm.scale(record.attn_out),
        mlp_post_scale=None if block.mlp_post_norm is None else block.mlp_post_norm.scale(record.mlp_out),
    )


def _check_logits(
    frozen: FrozenModel, resid_final: Tensor, positions: tuple[int, ...], logits: Tensor, tolerance: float
) -> tuple[Tensor, Tensor]:
    """Logits before and after the softcap, rebuilt from the last residual stream and checked against the host's."""
    raw = frozen.unembed(resid_final, list(positions))
    compare("logits", logits, frozen.host.capped(raw), tolerance)
    return raw, logits


def _embeddings(host: Host, token_ids: Tensor, resid: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    expected = host.W_E[token_ids].to(resid.dtype) * host.embed_scale
    pos_embed = torch.zeros_like(resid) if host.W_pos is None else host.W_pos[: len(resid)].to(resid.dtype)
    compare("token embeddings", resid, expected + pos_embed, tolerance)
    return resid - pos_embed, pos_embed
