"""The proof that a host was understood: what is rebuilt from its pieces is what it computed."""

import torch
from jaxtyping import Float
from torch import Tensor

from replacement_model.errors import CaptureError
from replacement_model.frozen import FrozenBlock
from replacement_model.host import Block
from replacement_model.recording import LayerRecord
from replacement_model.transcoder import DecoderSite

__all__ = ["TOLERANCES", "check_layer", "compare"]

# Largest max|rebuilt - host| / max|host| that is still rounding: measured with each dtype's eps in mind.
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}


def check_layer(
    layer: int, frozen: FrozenBlock, record: LayerRecord, resid_post: Float[Tensor, "pos d_model"], tolerance: float
) -> tuple[Float[Tensor, "pos d_model"], Float[Tensor, "pos d_model"]]:
    """Rebuild a layer and compare it with the host's, step by step.

    Args:
        layer: its index, for messages.
        frozen: the layer with its pattern and denominators.
        record: what the host's own layer took in and gave out.
        resid_post: the host's stream after it.
        tolerance: largest difference, relative to the largest value.

    Returns:
        What attention and MLP add to the residual stream, rebuilt.

    Raises:
        CaptureError: names the layer and the step that differs.
    """
    block = frozen.block
    _check_pattern(layer, block, record.pattern)
    attn_out = frozen.attn_out(record.resid_pre)
    attn_write = frozen.attn_post(attn_out)
    mlp_write = frozen.site_write(record.mlp_out, DecoderSite.MLP_OUT)
    mlp_in = block.mlp_norm.affine(record.resid_mid, frozen.mlp_scale)
    after_attn = record.resid_pre + attn_write
    compare(f"layer {layer}: attn_out", record.attn_out, attn_out, tolerance)
    compare(f"layer {layer}: mlp_in", record.mlp_in, mlp_in, tolerance)
    if block.parallel:
        compare(f"layer {layer}: resid_mid", record.resid_mid, record.resid_pre, 0.0)
        compare(f"layer {layer}: resid_post", resid_post, after_attn + mlp_write, tolerance)
    else:
        compare(f"layer {layer}: resid_mid", record.resid_mid, after_attn, tolerance)
        compare(f"layer {layer}: resid_post", resid_post, record.resid_mid + mlp_write, tolerance)
    return attn_write, mlp_write


def compare(what: str, host_value: Tensor, rebuilt: Tensor, tolerance: float) -> None:
    """Raise unless the largest difference is at most `tolerance` of the host's largest value.

    Raises:
        CaptureError: it is larger, or the host's value is not finite.
    """
    scale = float(host_value.abs().max())
    if not scale < float("inf"):
        raise CaptureError(
            f"{what}: the host's is not finite: its weights hold NaN or overflow; check the checkpoint and its dtype"
        )
    worst = float((host_value - rebuilt).abs().max()) / max(scale, torch.finfo(host_value.dtype).tiny)
    if not worst <= tolerance:
        raise CaptureError(
            f"{what}: rebuilt from the captured pieces it differs from the host's by {worst:.2e} of its largest value "
            f"(allowed {tolerance:.0e}); the adapter does not describe this model, so it is not traced"
        )


def _check_pattern(layer: int, block: Block, pattern: Tensor) -> None:
    n_heads, n_kv_heads = block.n_heads, block.n_kv_heads
    grouped = n_kv_heads > 0 and n_heads % n_kv_heads == 0 and block.W_V.shape[0] == n_kv_heads * block.d_head
    square = pattern.shape[0] == n_heads and pattern.shape[1] == pattern.shape[2]
    if not grouped or not square or block.W_O.shape[1] != n_heads * block.d_head:
        raise CaptureError(
            f"layer {layer}: {n_heads} heads in {n_kv_heads} groups do not fit patterns {tuple(pattern.shape)}, W_V "
            f"{tuple(block.W_V.shape)} and W_O {tuple(block.W_O.shape)}; the adapter does not describe this model"
        )
    ahead = torch.ones(pattern.shape[1:], dtype=torch.bool, device=pattern.device).triu(1)
    above = max(float(head[ahead].abs().max()) for head in pattern) if bool(ahead.any()) else 0.0
    if above > 0:
        raise CaptureError(
            f"layer {layer}: the attention pattern looks ahead ({above:.3g}); only causal models are traced"
        )
