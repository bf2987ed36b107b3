"""Which features are active where: the host run on batches of contexts, one layer's activations at a time."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from replacement_model.contexts import as_captured
from replacement_model.errors import CaptureError
from replacement_model.evidence.contexts import Batch
from replacement_model.host import Block
from replacement_model.model import ReplacementModel
from replacement_model.transcoder import ActiveFeatures, EncoderTap, Transcoder

__all__ = ["Activity", "active_in", "check_host"]

DENSE_BYTES = 2**26  # of activations, where all features of a position must be known to choose the active ones


@dataclass(frozen=True, slots=True, eq=False)
class Activity:
    """The active features of one layer in a batch of contexts.

    Attributes:
        context: number of the context within the whole text.
    """

    context: Int[np.ndarray, "n"]
    pos: Int[np.ndarray, "n"]
    feature_idx: Int[np.ndarray, "n"]
    acts: Float[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.context)


def active_in(
    model: ReplacementModel, batch: Batch, chosen: Mapping[int, Int[np.ndarray, "n"] | None]
) -> dict[int, Activity]:
    """Run the host on a batch and encode what each layer reads.

    Args:
        model: host and transcoder.
        batch: contexts.
        chosen: layers that are wanted, each with the sorted indices of its wanted features, None for all.

    Raises:
        CaptureError: a layer's norm before the MLP was not called.
    """
    host, found = model.host, {}
    counted = torch.from_numpy(batch.counted)

    def encode(layer: int, resid_mid: Float[Tensor, "context pos d_model"]) -> None:
        x = read_tap(host.blocks[layer], resid_mid.to(host.device, model.dtype), model.transcoder.encoder_tap)
        found[layer] = _activity(_encoded(model.transcoder, layer, x, batch, counted), batch, chosen[layer])

    with as_captured(host), _reading(model, list(chosen), encode):
        host.model(torch.from_numpy(batch.token_ids).to(host.device), use_cache=False, logits_to_keep=1)
    missing = [layer for layer in chosen if layer not in found]
    if missing:
        raise CaptureError(
            f"layer {missing[0]}: its MLP's norm was not called; the adapter does not describe this model"
        )
    return found


def check_host(model: ReplacementModel, batch: Batch) -> None:
    """Capture the first context of a batch alone, which proves that the host's pieces are understood.

    Raises:
        CaptureError: they are not.
    """
    ids = torch.from_numpy(batch.token_ids[0, : batch.lengths[0]])
    model.capture(model.read_prompt(ids, prepend=False), keep_patterns=False)


def read_tap(
    block: Block, resid_mid: Float[Tensor, "*batch d_model"], tap: EncoderTap
) -> Float[Tensor, "*batch d_model"]:
    """The stream between attention and MLP as the encoder reads it."""
    if tap is EncoderTap.RESID_MID:
        return resid_mid
    norm, scale = block.mlp_norm, block.mlp_norm.scale(resid_mid)
    return norm.centre(resid_mid) * scale if tap is EncoderTap.NORMALIZED else norm.affine(resid_mid, scale)


@contextmanager
def _reading(model: ReplacementModel, layers: list[int], give: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Within the block, what the norm before each MLP reads is given to `give`."""

    def hook(layer: int) -> Callable[..., None]:
        def read(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            give(layer, args[0] if args else kwargs["hidden_states"])

        return read

    with ExitStack() as stack:
        for layer in layers:
            module = model.host.blocks[layer].mlp_norm.module
            stack.callback(module.register_forward_pre_hook(hook(layer), with_kwargs=True).remove)
        yield


def _encoded(
    transcoder: Transcoder,
    layer: int,
    x: Float[Tensor, "context pos d_model"],
    batch: Batch,
    counted: Bool[Tensor, "context pos"],
) -> tuple[Int[np.ndarray, "n 2"], ActiveFeatures]:
    """Active features whose `pos` counts the rows of a list of (context within the batch, position)."""
    where = counted.nonzero().numpy()
    weights = transcoder.layers[layer]
    if weights is not None and weights.activation.kind == "batchtopk":
        # What is kept of a context depends on all its positions, so each is encoded alone and whole.
        return where, _by_context(transcoder, layer, x, batch, where)
    rows = x[counted.to(x.device)]
    if weights is None or weights.activation.elementwise:
        return where, transcoder.active_features(layer, rows)
    at_once = max(1, DENSE_BYTES // (weights.d_transcoder * x.element_size()))
    found = []
    for begin, part in zip(range(0, len(rows), at_once), rows.split(at_once), strict=True):
        active = transcoder.active_features(layer, part)
        found.append(ActiveFeatures(active.pos + begin, active.feature_idx, active.acts))
    return where, ActiveFeatures.join(found)


def _by_context(
    transcoder: Transcoder,
    layer: int,
    x: Float[Tensor, "context pos d_model"],
    batch: Batch,
    where: Int[np.ndarray, "n 2"],
) -> ActiveFeatures:
    found = []
    for row, length in enumerate(batch.lengths.tolist()):
        active = transcoder.active_features(layer, x[row, :length]).since(batch.n_ignored)
        begin = int(np.searchsorted(where[:, 0], row)) - batch.n_ignored
        found.append(ActiveFeatures(active.pos + begin, active.feature_idx, active.acts))
    return ActiveFeatures.join(found)


def _activity(
    encoded: tuple[Int[np.ndarray, "n 2"], ActiveFeatures], batch: Batch, chosen: Int[np.ndarray, "m"] | None
) -> Activity:
    where, active = encoded
    row, feature_idx = active.pos.cpu().numpy(), active.feature_idx.cpu().numpy()
    acts = active.acts.cpu().numpy().astype(np.float32)
    if chosen is not None:
        kept = np.isin(feature_idx, chosen)
        row, feature_idx, acts = row[kept], feature_idx[kept], acts[kept]
    return Activity(where[row, 0] + batch.first, where[row, 1], feature_idx, acts)
