"""What a trace would take, before it is run: memory and time, from configs and file headers alone.

Memory is not guessed by other formulas than those that plan a trace: a capture of the right shapes is made of tensors
without memory, and given to the same functions.
"""

import time
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits.attribution import memory_needs
from circuits.graph import Target
from circuits.memory import MemoryPlan, keeps_patterns, parse_bytes, plan_memory
from circuits.sweep import SourceRows, resid_post_depth
from circuits.targets import TargetRows
from replacement_model import InputError, Transcoder
from replacement_model.capture import Capture, working_dtype
from replacement_model.decomposition import Decomposition
from replacement_model.frozen import FrozenBlock, FrozenModel
from replacement_model.host import Host
from replacement_model.recording import AttentionCall
from replacement_model.transcoder import PART_BYTES

__all__ = ["Estimate", "TraceShape", "estimate", "gemm_rate", "sweep_flops"]

DEFAULT_L0 = 50
N_LOGITS = 10
PAGE = 4096  # a decoder row that is read brings at least this much of its file into memory
# Measured with an empty model: Python, torch, transformers, compiled kernels.
PROGRAM_BYTES = 320 * 2**20
# The sweep's products are narrow and its other steps wait for memory: the share of the probe's rate that it reaches.
SWEEP_EFFICIENCY = 0.5
DISK_BYTES_PER_SECOND = 1e9


@dataclass(frozen=True, slots=True)
class TraceShape:
    """The trace that is asked about.

    Attributes:
        n_pos: tokens of the prompt, with <bos>.
        max_feature_nodes: as in `attribute`.
        memory_budget: as in `attribute`.
        l0: active features per layer and position.
        n_ignored_pos: positions without features.
    """

    n_pos: int
    max_feature_nodes: int | None = None
    memory_budget: str | int = "4GiB"
    l0: float = DEFAULT_L0
    n_ignored_pos: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.n_ignored_pos < self.n_pos:
            raise InputError(f"expected more than {self.n_ignored_pos} tokens, got {self.n_pos}")
        if self.l0 <= 0:
            raise InputError(f"L0 must be positive, got {self.l0}")


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a trace takes.

    Attributes:
        n_active_features, n_rows: features that are active, and rows of the graph.
        plan: how the memory budget would be used.
        host_bytes: peak of the host's own (anonymous) memory.
        mapped_bytes: of weight files, mapped beside it and given back where memory is short.
        device_bytes: peak on an accelerator, 0 without one.
        flops: floating-point operations of the host, the encoders and the sweep.
        seconds: at the rate that was given; None without one.
    """

    n_active_features: int
    n_rows: int
    plan: MemoryPlan
    host_bytes: int
    mapped_bytes: int
    device_bytes: int
    flops: float
    seconds: float | None


def estimate(
    host: Host,
    transcoder: Transcoder,
    shape: TraceShape,
    on_device: bool = False,
    flops_per_second: float | None = None,
) -> Estimate:
    """Memory and time of one trace.

    Args:
        host: its pieces; the model may be on the meta device.
        transcoder: its tensors may be, too.
        shape: prompt, rows and budget.
        on_device: the host runs on an accelerator, where the transcoder goes too.
        flops_per_second: of float32 matrix products, e.g. from `gemm_rate`.

    Raises:
        InputError: the trace does not fit the budget, or the shape makes no sense.
    """
    budget, dtype = parse_bytes(shape.memory_budget), working_dtype(host.dtype)
    n_patterns = sum(block.n_heads for block in host.blocks)
    capture = _capture(host, shape.n_pos, dtype, keeps_patterns(budget, n_patterns, shape.n_pos, dtype.itemsize))
    features = _features(transcoder, shape)
    n_active = len(features)
    n_features = n_active if shape.max_feature_nodes is None else min(shape.max_feature_nodes, n_active)
    targets, n_rows = _targets(host, shape.n_pos, dtype), N_LOGITS + n_features
    shapeless = replace(transcoder, device=None, dtype=None)
    parts = _parts(features, capture, shape.n_ignored_pos)
    needs = memory_needs(capture, shapeless, parts, targets, n_rows)
    plan = plan_memory(budget, needs)
    on_run = needs.held + (needs.decoder_rows if plan.cache_rows else 0)
    encoding = _encoding_bytes(transcoder, shape.n_pos, dtype)
    buffers, store = needs.buffers(min(plan.batch_size, n_rows)), 0 if plan.rows_in_file else needs.store
    model_bytes = sum(parameter.numel() * parameter.itemsize for parameter in host.model.parameters())
    used = _read_bytes(transcoder, features)
    flops = _forward_flops(host, transcoder, shape.n_pos) + sweep_flops(host, transcoder, features, targets, n_features)
    if on_device:
        host_bytes = PROGRAM_BYTES + store + needs.result
        device_bytes = model_bytes + transcoder.n_bytes + on_run + max(buffers, encoding)
    else:
        host_bytes = PROGRAM_BYTES + on_run + max(buffers + store, store + needs.result, encoding)
        device_bytes = 0
    seconds = None
    if flops_per_second:
        seconds = flops / (SWEEP_EFFICIENCY * flops_per_second) + (model_bytes + used) / DISK_BYTES_PER_SECOND
    return Estimate(
        n_active_features=n_active,
        n_rows=n_rows,
        plan=plan,
        host_bytes=host_bytes,
        mapped_bytes=model_bytes + used,
        device_bytes=device_bytes,
        flops=flops,
        seconds=seconds,
    )


def gemm_rate(device: torch.device | str = "cpu", size: int = 1024, seconds: float = 0.2) -> float:
    """Floating-point operations per second of float32 matrix products here, now."""
    a = torch.ones(size, size, device=device)
    out = torch.mm(a, a)  # the first product sets things up
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        torch.mm(a, a, out=out)
        float(out[0, 0])  # waits for an accelerator
        count += 1
    return 2 * size**3 * count / (time.perf_counter() - start)


def sweep_flops(
    host: Host, transcoder: Transcoder, features: Int[Tensor, "n_active 3"], targets: TargetRows, n_features: int
) -> float:
    """Multiply-adds in the causal cones of the targets and of `n_features` features, two operations each.

    Args:
        host, transcoder: for their sizes.
        features: (layer, pos, feature_idx) of the active features.
        targets: of the graph.
        n_features: how many of the features get a row, spread evenly.
    """
    n_layers, n_pos = host.n_layers, int(targets.rows.pos.max()) + 1
    written = torch.zeros(n_layers, n_pos, dtype=torch.float64)
    written.index_put_(
        (features[:, 0], features[:, 1]), torch.ones(len(features), dtype=torch.float64), accumulate=True
    )
    if transcoder.cross_layer:
        written = written.cumsum(0)
    rows = torch.zeros(n_layers + 1, n_pos, dtype=torch.float64)  # contracted with the gradient of a target here
    rows[1:] = (written + 1).cumsum(0).cumsum(1)
    seen = torch.arange(1, n_pos + 1, dtype=torch.float64)
    per_layer = [_layer_multiply_adds(host, transcoder, layer, seen) for layer in range(n_layers)]
    passed = torch.stack([torch.zeros_like(seen), *per_layer]).cumsum(0)  # by layers below, by last position
    below = torch.cat([features[:, 0] + 1, targets.rows.depth // 2]).clamp(max=n_layers)
    pos = torch.cat([features[:, 1], targets.rows.pos])
    # Of the first attention that it meets, a target needs its own position alone.
    spared = torch.stack([block.W_O.shape[1] * (host.d_model + seen) * (seen - 1) for block in host.blocks])
    each = (
        passed[below, pos] - spared[below - 1, pos] + host.d_model * (rows[(below - 1).clamp(min=0), pos] + seen[pos])
    )
    share = n_features / max(1, len(features))
    return 2 * float(each[: len(features)].sum() * share + each[len(features) :].sum())


def _layer_multiply_adds(host: Host, transcoder: Transcoder, layer: int, seen: Float[Tensor, "n_pos"]) -> Tensor:
    """The adjoint of a layer's attention and skip, for a gradient over so many positions."""
    block, weights = host.blocks[layer], transcoder.layers[layer]
    d_heads, d_kv = block.W_O.shape[1], block.W_V.shape[0]
    products = host.d_model * (d_heads + d_kv) * seen + d_heads * seen * seen
    has_skip = weights is not None and weights.W_skip is not None
    return products + host.d_model**2 * seen if has_skip else products


def _forward_flops(host: Host, transcoder: Transcoder, n_pos: int) -> float:
    in_layers = sum(p.numel() for block in host.blocks for p in block.module.parameters())
    encoders = sum(layer.W_enc.numel() for layer in transcoder.layers if layer is not None)
    return 2.0 * n_pos * (in_layers + encoders) + 2.0 * host.W_U.numel()


def _encoding_bytes(transcoder: Transcoder, n_pos: int, dtype: torch.dtype) -> int:
    """Of the part of a layer that is encoded at once: pre-activations, activations and where they are, weights."""
    layers = [layer for layer in transcoder.layers if layer is not None]
    values = max((n_pos * layer.d_transcoder * dtype.itemsize for layer in layers), default=0)
    converted = max((layer.W_enc.numel() * dtype.itemsize for layer in layers if layer.W_enc.dtype != dtype), default=0)
    return 3 * min(PART_BYTES, values) + min(PART_BYTES, converted)


def _read_bytes(transcoder: Transcoder, features: Int[Tensor, "n_active 3"]) -> int:
    """Bytes of the transcoder's files that are read: encoders, and pages with the decoder rows of active features."""
    total = 0
    counts = torch.bincount(features[:, 0], minlength=transcoder.n_layers).tolist()
    for count, layer in zip(counts, transcoder.layers, strict=True):
        if layer is not None:
            decoders = sum(matrix.numel() * matrix.itemsize for matrix in layer.W_dec)
            row = max(PAGE, transcoder.d_model * layer.W_dec[0].itemsize)
            total += layer.W_enc.numel() * layer.W_enc.itemsize
            total += min(decoders, count * len(layer.W_dec) * row)
    return total


def _features(transcoder: Transcoder, shape: TraceShape) -> Int[Tensor, "n_active 3"]:
    """(layer, pos, feature_idx) of L0 features in every layer at every position that is not ignored."""
    found = [torch.empty(0, 3, dtype=torch.int64)]
    for layer, weights in enumerate(transcoder.layers):
        if weights is not None:
            l0 = min(round(shape.l0), weights.d_transcoder)
            pos = torch.arange(shape.n_ignored_pos, shape.n_pos).repeat_interleave(l0)
            idx = torch.arange(l0).repeat(shape.n_pos - shape.n_ignored_pos)
            found.append(torch.stack([torch.full_like(pos, layer), pos, idx], dim=1))
    return torch.cat(found)


def _targets(host: Host, n_pos: int, dtype: torch.dtype) -> TargetRows:
    """As many logits as are usually explained, at the last position."""
    depth, pos = (torch.full((N_LOGITS,), at) for at in (resid_post_depth(host.n_layers - 1), n_pos - 1))
    rows = SourceRows(depth, pos, torch.empty(N_LOGITS, host.d_model, dtype=dtype, device="meta"))
    target = Target("logit", "", n_pos - 1, 1 / N_LOGITS, host.n_layers, (0,))
    zeros = torch.zeros(N_LOGITS, dtype=dtype)
    return TargetRows((target,) * N_LOGITS, rows, zeros, zeros)


def _parts(features: Int[Tensor, "n_active 3"], capture: Capture, n_ignored_pos: int) -> Decomposition:
    acts = torch.empty(len(features), dtype=capture.embed.dtype, device="meta")
    errors, constants = (torch.empty_like(capture.resid_mid) for _ in range(2))
    return Decomposition(features, acts, acts, errors, constants, (), n_ignored_pos)


def _capture(host: Host, n_pos: int, dtype: torch.dtype, keep_patterns: bool) -> Capture:
    """A capture of the right shapes, without memory; what an architecture shares is shared."""

    def room(*sizes: int) -> Tensor:
        return torch.empty(sizes, dtype=dtype, device="meta")

    d_model, n_layers = host.d_model, host.n_layers
    resid, mlp_out = room(n_layers + 1, n_pos, d_model), room(n_layers, n_pos, d_model)
    half = host.dtype in (torch.bfloat16, torch.float16)
    rounding = room(n_layers, n_pos, d_model) if half else None
    blocks, mask = [], torch.empty(1, 1, n_pos, n_pos, dtype=host.dtype, device="meta")
    for layer, block in enumerate(host.blocks):
        read = torch.empty(1, n_pos, d_model, dtype=host.dtype, device="meta")
        call = AttentionCall(host, layer, (), {"hidden_states": read, "attention_mask": mask})
        attention = room(block.n_heads, n_pos, n_pos) if keep_patterns else call
        posts = [None if norm is None else room(n_pos, 1) for norm in (block.attn_post_norm, block.mlp_post_norm)]
        blocks.append(FrozenBlock(block, attention, room(n_pos, 1), room(n_pos, 1), *posts))
    logits = room(1, host.d_vocab)
    return Capture(
        frozen=FrozenModel(host, tuple(blocks), room(n_pos, 1)),
        token_ids=torch.zeros(n_pos, dtype=torch.int64),
        embed=room(n_pos, d_model),
        pos_embed=room(n_pos, d_model),
        resid_pre=resid[:-1],
        resid_mid=resid[:-1] if all(block.parallel for block in host.blocks) else room(n_layers, n_pos, d_model),
        mlp_out=mlp_out,
        mlp_write=mlp_out if all(block.mlp_post_norm is None for block in host.blocks) else torch.empty_like(mlp_out),
        resid_final=resid[-1],
        logit_positions=(n_pos - 1,),
        logits=logits,
        probabilities=torch.empty_like(logits),
        attn_rounding=rounding,
        mlp_rounding=None if rounding is None else torch.empty_like(rounding),
    )
