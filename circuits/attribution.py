"""Attribution: the exact linear graph of a prompt, from the targets back to the tokens (Ameisen et al. 2025)."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits.cone import Cone
from circuits.graph import Graph, GraphMetadata
from circuits.memory import MemoryNeeds, keeps_patterns, parse_bytes, plan_memory, tensor_bytes
from circuits.rows import RowStore
from circuits.sweep import SourceRows, Sweep
from circuits.targets import SalientLogits, TargetRows, TargetSpec, feature_rows, resolve_targets, target_positions
from circuits.versions import recorded_versions
from circuits.writes import Writes
from replacement_model import BooksError, InputError, ReplacementModel, Transcoder
from replacement_model.capture import Capture
from replacement_model.decomposition import Decomposition
from replacement_model.offload import OffloadTo, offloaded
from replacement_model.prompt import Prompt, PromptLike

__all__ = ["attribute", "memory_needs"]

# Features attributed together where all of them are and nothing has to be ranked.
UNRANKED_AT_ONCE = 4096
# The largest residual of the books that is rounding; beyond it the graph is wrong and is not returned.
MAX_RESIDUAL = {torch.float32: 1e-5, torch.float64: 1e-9}


def attribute(
    model: ReplacementModel,
    prompt: PromptLike | Prompt,
    targets: Sequence[TargetSpec] | SalientLogits | None = None,
    *,
    max_feature_nodes: int | None = None,
    update_interval: int = 128,
    memory_budget: str | int = "4GiB",
    offload: OffloadTo | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Graph:
    """Trace a prompt: the direct effect of every feature, error and token on every feature and target.

    Args:
        model: the replacement model.
        prompt: text, token ids, chat messages, or a `Prompt` that was read before.
        targets: what to explain: tokens (text or id), differences, directions, features (`circuits.targets`); None
            explains the most probable next tokens, `SalientLogits()`.
        max_feature_nodes: attribute at most this many features, the most influential; None attributes all active ones.
        update_interval: features attributed between two rankings by influence. The selection depends on it, and not on
            the memory budget.
        memory_budget: bytes that attribution may use beside the model, such as "4GiB"; sets the batch size.
        offload: where the host's MLPs, which are not needed after its forward pass, wait meanwhile: "cpu" frees an
            accelerator's memory, "disk" either's.
        progress: called with (rows done, rows in all).

    Returns:
        The graph, deterministic for equal input, whose books close.

    Raises:
        InputError: prompt, targets or sizes cannot be used.
        CaptureError: the host is not what its adapter says.
        BooksError: some row's terms do not add up to the host's own value.

    Example:
        >>> model = ReplacementModel.from_pretrained("pocket")
        >>> graph = attribute(model, "the capital of the state containing Dallas is")
        >>> graph.targets[0].label
        'Austin'
    """
    _check_sizes(max_feature_nodes, update_interval)
    budget = parse_bytes(memory_budget)
    read = prompt if isinstance(prompt, Prompt) else model.read_prompt(prompt)
    n_pos, n_patterns = len(read.token_ids), sum(block.n_heads for block in model.host.blocks)
    keep_patterns = keeps_patterns(budget, n_patterns, n_pos, model.dtype.itemsize)
    capture = model.capture(read, target_positions(targets, n_pos), keep_patterns)
    parts = model.decompose(capture, read.n_ignored_pos)
    resolved = resolve_targets(model, capture, targets)
    n_active = len(parts.features)
    n_features = n_active if max_feature_nodes is None else min(max_feature_nodes, n_active)
    trace = _Trace(model, capture, parts, resolved, n_features)
    settings = {
        "max_feature_nodes": max_feature_nodes,
        "update_interval": update_interval,
        "host_pieces": model.host.how,
        "host_dtype": str(model.host.dtype).removeprefix("torch."),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.host.device),
        "n_active_features": n_active,
    } | read.settings()
    mlps = [block.mlp for block in model.host.blocks]
    with nullcontext() if offload is None else offloaded(mlps, offload):
        store = trace.store(budget, update_interval, progress)
    return _assemble(trace, read, store, settings)


def _check_sizes(max_feature_nodes: int | None, update_interval: int) -> None:
    if max_feature_nodes is not None and max_feature_nodes < 1:
        raise InputError(f"max_feature_nodes must be at least 1 (or None for all), got {max_feature_nodes}")
    if update_interval < 1:
        raise InputError(f"update_interval must be at least 1, got {update_interval}")


@dataclass(frozen=True, slots=True, eq=False)
class _Trace:
    """What is known before the first row: the host on the prompt, what is active, and how many features get a row."""

    model: ReplacementModel
    capture: Capture
    parts: Decomposition
    targets: TargetRows
    n_features: int

    @property
    def n_rows(self) -> int:
        return len(self.targets.targets) + self.n_features

    def store(self, budget: int, update_interval: int, progress: Callable[[int, int], None] | None) -> RowStore:
        """All rows of the graph: the targets', then those of the features that are found to be most influential."""
        n_active = len(self.parts.features)
        sweep, store = self._prepare(budget)
        batch = self.targets.rows, np.full(len(self.targets.targets), -1), self.targets.pre_act, self.targets.constant
        _attribute_rows(store, sweep, *batch)
        while store.n_features < self.n_features:
            self._report(progress, store)
            first, left = store.n_features, self.n_features - store.n_features
            if self.n_features < n_active:
                chosen = store.most_influential(min(update_interval, left))
            else:
                chosen = np.arange(first, first + min(UNRANKED_AT_ONCE, left))
            _attribute_rows(store, sweep, *self._feature_batch(chosen))
        self._report(progress, store)
        return store

    def _prepare(self, budget: int) -> tuple[Sweep, RowStore]:
        """The sweep and the store of rows, within the memory budget."""
        capture, transcoder, parts = self.capture, self.model.transcoder, self.parts
        features = parts.features.cpu().numpy()
        cone = Cone.of(features, capture.frozen.host.n_layers, capture.n_pos)
        plan = plan_memory(budget, memory_needs(capture, transcoder, parts, self.targets, self.n_rows))
        writes = Writes(capture, transcoder, parts, cone, plan.cache_rows)
        by_pos = writes.by_pos.cpu().numpy()
        store = RowStore(self.targets, features, by_pos, cone, self.n_rows, plan.rows_in_file)
        return Sweep(capture, transcoder, writes, min(plan.batch_size, self.n_rows)), store

    def _feature_batch(
        self, chosen: Int[np.ndarray, "n"]
    ) -> tuple[SourceRows, Int[np.ndarray, "n"], Float[Tensor, "n"], Float[Tensor, "n"]]:
        rows, _, constants = feature_rows(self.model, self.capture, self.parts.features[chosen])
        return rows, chosen, self.parts.pre_acts[chosen], constants

    def _report(self, progress: Callable[[int, int], None] | None, store: RowStore) -> None:
        if progress is not None:
            progress(store.n_features + len(self.targets.targets), self.n_rows)


def memory_needs(
    capture: Capture, transcoder: Transcoder, parts: Decomposition, targets: TargetRows, n_rows: int
) -> MemoryNeeds:
    """What a trace of `n_rows` rows holds beside the model; only shapes count, so tensors may be without memory."""
    features, itemsize = parts.features.cpu().numpy(), capture.embed.element_size()
    cone = Cone.of(features, capture.frozen.host.n_layers, capture.n_pos)
    n_values, n_edges = RowStore.sizes(targets, features, cone, n_rows)
    blocks = capture.frozen.blocks
    calls = [block.attention for block in blocks if not isinstance(block.attention, Tensor)]
    held = tensor_bytes(capture, parts, *blocks, *calls) + Writes.n_bytes(capture, transcoder, parts)
    return MemoryNeeds(
        held=held,
        store=n_values * itemsize,
        result=n_edges * (itemsize + 4),
        decoder_rows=Writes.n_row_bytes(transcoder, parts),
        buffers=partial(Sweep.n_bytes, capture, transcoder, len(features)),
    )


def _attribute_rows(
    store: RowStore, sweep: Sweep, rows: SourceRows, chosen: Int[np.ndarray, "n"], pre_acts: Tensor, constants: Tensor
) -> None:
    first = store.start_batch(chosen, rows, pre_acts.cpu().numpy(), constants.cpu().numpy())
    for block in sweep.rows(rows):
        store.fill(first, block)


def _assemble(trace: _Trace, read: Prompt, store: RowStore, settings: dict[str, Any]) -> Graph:
    model, parts = trace.model, trace.parts
    selected, adjacency, books = store.finish()
    allowed = MAX_RESIDUAL[model.dtype]
    if not books.residual <= allowed:
        raise BooksError(
            f"the books do not close: edges, constants and omitted terms miss the host's value by {books.residual:.2e} "
            f"of their sum (allowed {allowed:.0e}); the adapter or the transcoder's declared hooks are wrong here"
        )
    features = parts.features.cpu().numpy()[selected]
    return Graph(
        metadata=GraphMetadata(
            model_name=model.name,
            transcoder_name=model.transcoder.name,
            prompt=read.text,
            model_revision=None if model.model_source is None else model.model_source.revision,
            transcoder_revision=None if model.transcoder_source is None else model.transcoder_source.revision,
            hashes=model.hashes,
            settings=settings,
            versions=dict(recorded_versions()),
        ),
        tokens=read.tokens,
        token_ids=read.token_ids.numpy(),
        n_layers=model.host.n_layers,
        n_ignored_pos=read.n_ignored_pos,
        features=features.astype(np.int32),
        feature_acts=parts.feature_acts.cpu().numpy()[selected],
        targets=trace.targets.targets,
        adjacency=adjacency,
        books=books,
        fvu=parts.fvu,
        feature_labels=tuple(model.labels.get(layer, idx) for layer, _, idx in features.tolist()),
    )
