"""One forward pass of the host, everything that the attribution needs of it, and the proof that it was understood.

Every block is rebuilt from the captured pieces and compared with what the host itself computed. An unforeseen quirk of
an architecture, or a new transformers release that moves something, is therefore an error that names the layer.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from replacement_model.contexts import eager_attention, evaluation_mode, native_norms
from replacement_model.errors import CaptureError
from replacement_model.frozen import FrozenBlock, FrozenModel
from replacement_model.host import Block, Host
from replacement_model.transcoder import DecoderSite

__all__ = ["Capture", "capture", "working_dtype"]

# Largest max|rebuilt - host| / max|host| that is still rounding: measured with each dtype's eps in mind.
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}


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
        resid_pre, resid_mid: residual stream before attention, and between attention and MLP.
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


def capture(host: Host, token_ids: Int[Tensor, "pos"], logit_positions: tuple[int, ...]) -> Capture:
    """Run the host once on `token_ids` (batch 1) and capture it.

    Args:
        host: the model's pieces.
        token_ids: the prompt.
        logit_positions: positions at which logits are needed.

    Raises:
        CaptureError: a block rebuilt from the pieces is not the host's, or the host's output is not finite.
    """
    with evaluation_mode(host.model), eager_attention(host.model):
        native = None
        if host.dtype == torch.float64:
            native = _logits(host, token_ids, logit_positions)
        with ExitStack() as stack:
            if native is not None:
                stack.enter_context(native_norms(host))
            records = [stack.enter_context(_recording(layer, block)) for layer, block in enumerate(host.blocks)]
            final = stack.enter_context(_recording_input(host.final_norm.module))
            logits = _logits(host, token_ids, logit_positions)
        if not bool(torch.isfinite(logits).all()):
            raise CaptureError(
                "the host's logits are not finite: its weights hold NaN or overflow; check the checkpoint"
            )
        if native is not None:
            _compare("logits with norms in float64", native, logits, TOLERANCES[torch.float32])
        complete = [_complete(layer, record) for layer, record in enumerate(records)]
        if not final:
            raise CaptureError("the final norm was not called; the adapter does not describe this model")
        return _assemble(host, token_ids, logit_positions, complete, final[0], logits)


@dataclass(frozen=True, slots=True, eq=False)
class _Record:
    """What one layer of the host took in and gave out, batch axis dropped, in the host's dtype."""

    resid_pre: Tensor
    attn_out: Tensor
    pattern: Tensor
    resid_mid: Tensor
    mlp_in: Tensor
    mlp_out: Tensor

    def to(self, dtype: torch.dtype) -> "_Record":
        return _Record(*(getattr(self, name).to(dtype) for name in self.__dataclass_fields__))


def _complete(layer: int, record: dict[str, Tensor]) -> _Record:
    missing = [name for name in _Record.__dataclass_fields__ if name not in record]
    if missing:
        raise CaptureError(
            f"layer {layer}: its forward pass never calls the module that gives {', '.join(missing)}; "
            "the adapter does not describe this model"
        )
    return _Record(**record)


def _logits(host: Host, token_ids: Tensor, positions: tuple[int, ...]) -> Tensor:
    index = torch.tensor(positions, device=token_ids.device)
    return host.model(token_ids[None], use_cache=False, logits_to_keep=index).logits[0]


@contextmanager
def _recording(layer: int, block: Block) -> Iterator[dict[str, Tensor]]:
    """Fill a dict with the arguments of `_Record` during a forward pass."""
    record: dict[str, Tensor] = {}

    def save_resid_pre(module: nn.Module, args: tuple, kwargs: dict) -> None:
        record["resid_pre"] = (args[0] if args else kwargs["hidden_states"])[0]

    def save_attn(module: nn.Module, args: tuple, output: tuple) -> None:
        if not isinstance(output, tuple) or len(output) < 2 or output[1] is None:
            raise CaptureError(
                f"layer {layer}: {type(module).__name__} returns no attention pattern; eager attention is needed"
            )
        record["attn_out"], record["pattern"] = output[0][0], output[1][0]

    def save_resid_mid(module: nn.Module, args: tuple) -> None:
        record["resid_mid"] = args[0][0]

    def save_mlp(module: nn.Module, args: tuple, output: Tensor) -> None:
        record["mlp_in"], record["mlp_out"] = args[0][0], output[0]

    handles = [
        block.module.register_forward_pre_hook(save_resid_pre, with_kwargs=True),
        block.attn.register_forward_hook(save_attn),
        block.mlp_norm.module.register_forward_pre_hook(save_resid_mid),
        block.mlp.register_forward_hook(save_mlp),
    ]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _recording_input(module: nn.Module) -> Iterator[list[Tensor]]:
    record: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, args: record.append(args[0][0]))
    try:
        yield record
    finally:
        handle.remove()


def _assemble(
    host: Host,
    token_ids: Tensor,
    positions: tuple[int, ...],
    records: list[_Record],
    resid_final: Tensor,
    logits: Tensor,
) -> Capture:
    dtype, tolerance = working_dtype(host.dtype), TOLERANCES[host.dtype]
    half = host.dtype in (torch.bfloat16, torch.float16)
    records = [record.to(dtype) for record in records]
    resid_final = resid_final.to(dtype)
    resid_posts = [record.resid_pre for record in records[1:]] + [resid_final]
    blocks, writes, attn_rounding, mlp_rounding = [], [], [], []
    for layer, (block, record, resid_post) in enumerate(zip(host.blocks, records, resid_posts, strict=True)):
        _check_heads(layer, block, record.pattern)
        frozen = _freeze(block, record)
        attn_write = frozen.attn_write(record.resid_pre)
        mlp_write = frozen.site_write(record.mlp_out, DecoderSite.MLP_OUT)
        _check_block(layer, frozen, record, tolerance)
        _compare(f"layer {layer}: resid_mid", record.resid_mid, record.resid_pre + attn_write, tolerance)
        _compare(f"layer {layer}: resid_post", resid_post, record.resid_mid + mlp_write, tolerance)
        blocks.append(frozen)
        writes.append(mlp_write)
        attn_rounding.append(record.resid_mid - record.resid_pre - attn_write)
        mlp_rounding.append(resid_post - record.resid_mid - mlp_write)
    frozen_model = FrozenModel(host, tuple(blocks), host.final_norm.scale(resid_final))
    raw, capped = _check_logits(frozen_model, resid_final, positions, logits.to(dtype), tolerance)
    embed, pos_embed = _embeddings(host, token_ids, records[0].resid_pre, tolerance)
    return Capture(
        frozen=frozen_model,
        token_ids=token_ids,
        embed=embed,
        pos_embed=pos_embed,
        resid_pre=torch.stack([record.resid_pre for record in records]),
        resid_mid=torch.stack([record.resid_mid for record in records]),
        mlp_out=torch.stack([record.mlp_out for record in records]),
        mlp_write=torch.stack(writes),
        resid_final=resid_final,
        logit_positions=positions,
        logits=raw,
        probabilities=capped.softmax(-1),
        attn_rounding=torch.stack(attn_rounding) if half else None,
        mlp_rounding=torch.stack(mlp_rounding) if half else None,
    )


def _freeze(block: Block, record: _Record) -> FrozenBlock:
    return FrozenBlock(
        block=block,
        pattern=record.pattern,
        attn_scale=block.attn_norm.scale(record.resid_pre),
        mlp_scale=block.mlp_norm.scale(record.resid_mid),
        attn_post_scale=None if block.attn_post_norm is None else block.attn_post_norm.scale(record.attn_out),
        mlp_post_scale=None if block.mlp_post_norm is None else block.mlp_post_norm.scale(record.mlp_out),
    )


def _check_block(layer: int, frozen: FrozenBlock, record: _Record, tolerance: float) -> None:
    above = record.pattern.triu(1).abs().max() if record.pattern.shape[-1] > 1 else record.pattern.new_zeros(())
    if float(above) > 0:
        raise CaptureError(
            f"layer {layer}: the attention pattern looks ahead ({float(above):.3g}); only causal models are traced"
        )
    _compare(f"layer {layer}: attn_out", record.attn_out, frozen.attn_out(record.resid_pre), tolerance)
    norm = frozen.block.mlp_norm
    _compare(f"layer {layer}: mlp_in", record.mlp_in, norm.affine(record.resid_mid, frozen.mlp_scale), tolerance)


def _check_heads(layer: int, block: Block, pattern: Tensor) -> None:
    n_heads, n_kv_heads = block.n_heads, block.n_kv_heads
    grouped = n_kv_heads > 0 and n_heads % n_kv_heads == 0 and block.W_V.shape[0] == n_kv_heads * block.d_head
    if not grouped or pattern.shape[0] != n_heads or block.W_O.shape[1] != n_heads * block.d_head:
        raise CaptureError(
            f"layer {layer}: {n_heads} heads in {n_kv_heads} groups do not fit {pattern.shape[0]} patterns, W_V "
            f"{tuple(block.W_V.shape)} and W_O {tuple(block.W_O.shape)}; the adapter does not describe this model"
        )


def _check_logits(
    frozen: FrozenModel, resid_final: Tensor, positions: tuple[int, ...], logits: Tensor, tolerance: float
) -> tuple[Tensor, Tensor]:
    """Logits before and after the softcap, rebuilt from the last residual stream and checked against the host's."""
    raw = frozen.unembed(resid_final, list(positions))
    softcap = frozen.host.logit_softcap
    capped = raw if softcap is None else softcap * torch.tanh(raw / softcap)
    _compare("logits", logits, capped, tolerance)
    return raw, logits


def _embeddings(host: Host, token_ids: Tensor, resid: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    expected = host.W_E[token_ids].to(resid.dtype) * host.embed_scale
    pos_embed = torch.zeros_like(resid) if host.W_pos is None else host.W_pos[: len(resid)].to(resid.dtype)
    _compare("token embeddings", resid, expected + pos_embed, tolerance)
    return resid - pos_embed, pos_embed


def _compare(what: str, host_value: Tensor, rebuilt: Tensor, tolerance: float) -> None:
    scale = float(host_value.abs().max())
    worst = float((host_value - rebuilt).abs().max()) / max(scale, torch.finfo(host_value.dtype).tiny)
    if not worst <= tolerance:
        raise CaptureError(
            f"{what}: rebuilt from the captured pieces it differs from the host's by {worst:.2e} of its largest value "
            f"(allowed {tolerance:.0e}); the adapter does not describe this model, so it is not traced"
        )
