"""The adjoint sweep: from each target's input direction back through the frozen layers, contracted with all writes.

One pass from the last layer to the embeddings gives a target's whole row of the graph. Targets are swept in groups that
are neighbours in position, each group over no more positions than its latest target needs, and a target joins its group
at its own layer, so that the work is that of the causal cone. Buffers are made once and written in place.

Depths order the places in the residual stream: `resid_mid[l]` is 2 l + 1, `resid_post[l]` is 2 l + 2. A parallel block
has no `resid_mid` of its own: its MLP reads `resid_pre[l]`, which is 2 l.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits.folding import FoldedLayer, fold
from circuits.writes import PART_BYTES, RowPart, Writes
from replacement_model.capture import Capture
from replacement_model.transcoder import Transcoder

__all__ = ["RowBlock", "SourceRows", "Sweep", "mlp_depth", "n_layers_below", "resid_mid_depth", "resid_post_depth"]

Depth = TypeVar("Depth", int, Tensor)
# Larger groups waste more work on positions that only their latest target needs, smaller ones make smaller products.
GROUP_SIZE = 16
# Source positions whose destinations are contracted at once: nothing is read from earlier destinations.
MIX_POSITIONS = 128
# As many tensors of the size of a pattern exist while the host computes one again.
PATTERNS_AT_ONCE = 5


def resid_mid_depth(layer: Depth) -> Depth:
    """Depth of the residual stream between attention and MLP of `layer`."""
    return 2 * layer + 1


def resid_post_depth(layer: Depth) -> Depth:
    """Depth of the residual stream after `layer`."""
    return 2 * layer + 2


def mlp_depth(layer: int, parallel: bool) -> int:
    """Depth of the residual stream that the MLP of `layer` reads."""
    return resid_post_depth(layer - 1) if parallel else resid_mid_depth(layer)


def n_layers_below(depth: Int[Tensor, "n"]) -> Int[Tensor, "n"]:
    """How many layers' MLPs write to the residual stream before it is read at `depth`."""
    return depth // 2


@dataclass(frozen=True, slots=True, eq=False)
class SourceRows:
    """Targets to be swept: where each reads the residual stream, and in which direction.

    Attributes:
        depth, pos: where it is read.
        direction: gradient of the target there.
    """

    depth: Int[Tensor, "n"]
    pos: Int[Tensor, "n"]
    direction: Float[Tensor, "n d_model"]

    def __len__(self) -> int:
        return len(self.depth)

    def select(self, index: Int[Tensor, "m"]) -> "SourceRows":
        """The targets at `index`."""
        return SourceRows(self.depth[index], self.pos[index], self.direction[index])


@dataclass(frozen=True, slots=True, eq=False)
class RowBlock:
    """Rows of the graph for some targets, over the positions up to their last; valid until the next batch is swept.

    Attributes:
        index: which of the targets given to the sweep these are.
        features: effect of every active feature there, columns in position-major order (`Writes.by_pos`).
        errors: effect of every error, layer-major.
        tokens: effect of every token.
        constant: biases, position embeddings and ignored positions, added up.
        rounding: effect of the host's rounding, added up.
    """

    index: Int[Tensor, "n"]
    features: Float[Tensor, "n n_seen"]
    errors: Float[Tensor, "n n_layers pos"]
    tokens: Float[Tensor, "n pos"]
    constant: Float[Tensor, "n"]
    rounding: Float[Tensor, "n"]


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Targets that are neighbours in position, the deepest first, their gradients and the rows that grow from them."""

    targets: SourceRows
    grad: Float[Tensor, "n n_pos d_model"]
    rows: RowBlock
    n_at_depth: Int[np.ndarray, "n_depths"]  # how many targets read at this depth or above

    def old(self, layer: int) -> int:
        """How many targets passed a layer before `layer`; the others have a gradient at their own position alone."""
        return int(self.n_at_depth[resid_post_depth(layer) + 1])

    def passing(self, layer: int) -> int:
        """How many targets see what the MLP of `layer` writes."""
        return int(self.n_at_depth[resid_post_depth(layer)])

    def live(self, layer: int) -> int:
        """How many targets see what the attention of `layer` writes (in a parallel block those that see its MLP)."""
        return int(self.n_at_depth[resid_mid_depth(layer)])

    def own_grad(self, first: int, stop: int) -> Float[Tensor, "n d_model"]:
        """The gradients of targets `first : stop` at their own positions."""
        return self.grad[torch.arange(first, stop, device=self.grad.device), self.targets.pos[first:stop]]


class Sweep:
    """Sweeps batches of at most `batch_size` targets over one captured prompt.

    Its groups go through the layers in step, so that a layer's matrices are read from memory once for all of them.
    """

    def __init__(self, capture: Capture, transcoder: Transcoder, writes: Writes, batch_size: int) -> None:
        self._capture, self._transcoder, self._writes = capture, transcoder, writes
        self._batch_size = batch_size
        group_size = min(batch_size, GROUP_SIZE)
        sizes = _BufferSizes.of(capture, transcoder)
        new = capture.embed.new_empty
        self._grad = new(batch_size * sizes.grad)
        self._features = new(batch_size * len(writes.by_pos))
        self._heads, self._values = new(group_size * sizes.heads), new(group_size * sizes.values)
        self._skipped = new(group_size * sizes.skipped)

    @staticmethod
    def n_bytes(capture: Capture, transcoder: Transcoder, n_active: int, batch_size: int) -> int:
        """Bytes of buffers for batches of this size, and of one folded layer."""
        sizes, n_layers = _BufferSizes.of(capture, transcoder), capture.frozen.host.n_layers
        per_target = sizes.grad + n_active + (n_layers + 1) * capture.n_pos
        in_group = sizes.heads + sizes.values + sizes.skipped
        n = batch_size * per_target + min(batch_size, GROUP_SIZE) * in_group + sizes.folded
        return n * capture.embed.element_size()

    def rows(self, targets: SourceRows) -> Iterator[RowBlock]:
        """The rows of all targets, in blocks; the union of the blocks' `index` is every target once."""
        for batch in torch.argsort(targets.pos, stable=True).split(self._batch_size):
            groups = self._start(batch, targets)
            for layer in reversed(range(self._capture.frozen.host.n_layers)):
                self._pass_layer([group for group in groups if group.live(layer)], layer)
            for group in groups:
                self._reach_embeddings(group)
                yield group.rows

    def _start(self, batch: Int[Tensor, "n"], targets: SourceRows) -> list[_Group]:
        """Groups of neighbours in position, each over no more positions than its latest target needs."""
        groups, first_grad, first_col = [], 0, 0
        n_layers, d_model = self._capture.frozen.host.n_layers, self._capture.embed.shape[1]
        for chosen in batch.split(GROUP_SIZE):
            index = chosen[torch.argsort(targets.depth[chosen], descending=True, stable=True)]
            members = targets.select(index)
            n, n_pos = len(index), int(members.pos.max()) + 1
            n_cols = self._writes.cone.n_features(n_pos)
            grad = self._grad[first_grad : first_grad + n * n_pos * d_model].view(n, n_pos, d_model).zero_()
            grad[torch.arange(n, device=grad.device), members.pos] = members.direction
            rows = RowBlock(
                index=index,
                features=self._features[first_col : first_col + n * n_cols].view(n, n_cols).zero_(),
                errors=grad.new_zeros(n, n_layers, n_pos),
                tokens=grad.new_zeros(n, n_pos),
                constant=grad.new_zeros(n),
                rounding=grad.new_zeros(n),
            )
            shallower = np.bincount(members.depth.cpu().numpy(), minlength=resid_post_depth(n_layers)).cumsum()
            groups.append(_Group(members, grad, rows, n - np.concatenate([[0], shallower[:-1]])))
            first_grad, first_col = first_grad + grad.numel(), first_col + n * n_cols
        return groups

    def _pass_layer(self, groups: list[_Group], layer: int) -> None:
        if groups:
            folded = fold(self._capture.frozen.blocks[layer], self._transcoder.skip(layer), self._transcoder)
            self._pass_mlp([group for group in groups if group.passing(layer)], layer, folded)
            self._pass_attention(groups, layer, folded)

    def _pass_mlp(self, groups: list[_Group], layer: int, folded: FoldedLayer) -> None:
        """Contract with what the MLP of `layer` writes, and follow its skip (later, in a parallel block)."""
        if not groups:
            return
        for part in self._writes.rows(layer):
            for group in groups:
                n = group.passing(layer)
                _add_features(group.rows.features[:n], group.grad[:n], part)
        writes = self._writes.at(layer)
        for group in groups:
            n = group.passing(layer)
            grad, rows = group.grad[:n], group.rows
            _put_by_pos(rows.errors[:n, layer], grad, writes.errors)
            _add_total(rows.constant[:n], grad, writes.constants)
            _add_total(rows.rounding[:n], grad, writes.rounding)
            if not folded.parallel:
                self._add_skip(grad, folded)

    def _pass_attention(self, groups: list[_Group], layer: int, folded: FoldedLayer) -> None:
        """Contract with the constants of the attention of `layer`, and follow it to the positions that it reads."""
        constants, rounding = self._writes.attention(layer)
        fresh = [group.own_grad(group.old(layer), group.live(layer)) for group in groups]
        # Targets that come to this layer first are still zero but at their own position: one small product for all.
        new_heads = (torch.cat(fresh) @ folded.W_O).split([len(rows) for rows in fresh])
        for group, own_heads in zip(groups, new_heads, strict=True):
            n = group.live(layer)
            grad = group.grad[:n]
            _add_total(group.rows.constant[:n], grad, constants)
            _add_total(group.rows.rounding[:n], grad, rounding)
            heads = self._through_W_O(grad, own_heads, group.targets.pos[:n], folded)
            if folded.parallel:
                self._add_skip(grad, folded)
            self._add_attention(grad, heads, folded)

    def _reach_embeddings(self, group: _Group) -> None:
        _put_by_pos(group.rows.tokens, group.grad, self._capture.embed)
        _add_total(group.rows.constant, group.grad, self._capture.pos_embed)

    def _add_skip(self, grad: Float[Tensor, "n n_pos d_model"], layer: FoldedLayer) -> None:
        if layer.skip is None:
            return
        n, n_pos, d_model = grad.shape
        skipped = self._skipped[: grad.numel()].view(n * n_pos, d_model)
        torch.mm(grad.view(n * n_pos, d_model), layer.skip.matrix, out=skipped)
        grad.addcmul_(skipped.view_as(grad), layer.skip.scale[:n_pos])

    def _through_W_O(
        self,
        grad: Float[Tensor, "n n_pos d_model"],
        own_heads: Float[Tensor, "n_new d_heads"],
        pos: Int[Tensor, "n"],
        layer: FoldedLayer,
    ) -> Float[Tensor, "d_heads n n_pos"]:
        """W_O^T grad; it is known for the last targets, and non-zero only at their own positions."""
        n, n_pos, d_model = grad.shape
        n_old = n - len(own_heads)
        heads = self._heads[: layer.W_O.shape[1] * n * n_pos].view(-1, n, n_pos)
        if n_old:
            flat = grad[:n_old].view(n_old * n_pos, d_model)
            torch.mm(layer.W_O.T, flat.T, out=heads.view(len(heads), -1)[:, : n_old * n_pos])
        if n > n_old:
            heads[:, n_old:].zero_()
            heads[:, torch.arange(n_old, n, device=grad.device), pos[n_old:]] = own_heads.T
        return heads

    def _add_attention(
        self, grad: Float[Tensor, "n n_pos d_model"], heads: Float[Tensor, "d_heads n n_pos"], layer: FoldedLayer
    ) -> None:
        """Add W_V^T mix^T heads to grad."""
        (n, n_pos, d_model), (n_groups, group) = grad.shape, layer.mix.shape[:2]
        per_group = heads.view(n_groups, group, -1, n_pos)  # [n_kv_heads, group, d_head * n, n_pos]
        values = self._values[: layer.W_V.shape[0] * n * n_pos].view(n_groups, -1, n_pos)
        for start in range(0, n_pos, MIX_POSITIONS):
            sources, later = slice(start, min(start + MIX_POSITIONS, n_pos)), slice(start, n_pos)
            for head in range(group):
                mix = layer.mix[:, head, later, sources]
                values[:, :, sources].baddbmm_(per_group[:, head, :, later], mix, beta=min(head, 1))
        grad.view(n * n_pos, d_model).addmm_(values.view(len(layer.W_V), -1).T, layer.W_V)


@dataclass(frozen=True, slots=True)
class _BufferSizes:
    """How many numbers the buffers hold for each target, and a folded layer with what making it takes."""

    grad: int
    heads: int
    values: int
    skipped: int
    folded: int

    @classmethod
    def of(cls, capture: Capture, transcoder: Transcoder) -> "_BufferSizes":
        n_pos, d_model = capture.embed.shape
        blocks = capture.frozen.host.blocks
        has_skip = any(layer is not None and layer.W_skip is not None for layer in transcoder.layers)
        d_heads, d_kv = max(block.W_O.shape[1] for block in blocks), max(block.W_V.shape[0] for block in blocks)
        n_patterns = 1 if capture.keeps_patterns else PATTERNS_AT_ONCE
        return cls(
            grad=n_pos * d_model,
            heads=n_pos * d_heads,
            values=n_pos * d_kv,
            skipped=n_pos * d_model if has_skip else 0,
            folded=n_patterns * max(block.n_heads for block in blocks) * n_pos**2
            + 2 * d_model * (d_heads + d_kv + (d_model if has_skip else 0)),
        )


def _put_by_pos(
    out: Float[Tensor, "n n_pos"], grad: Float[Tensor, "n n_pos d_model"], writes: Float[Tensor, "pos d_model"]
) -> None:
    """Put <gradient, write> at every position into `out`; some targets at a time: torch copies them."""
    at_once = max(1, PART_BYTES // (grad[0].numel() * grad.element_size()))
    for first in range(0, len(grad), at_once):
        some = slice(first, first + at_once)
        torch.linalg.vecdot(grad[some], writes[: grad.shape[1]], out=out[some])


def _add_total(
    totals: Float[Tensor, "n"], grad: Float[Tensor, "n n_pos d_model"], writes: Float[Tensor, "pos d_model"] | None
) -> None:
    """Add the sum over positions of <gradient, write> to `totals`."""
    if writes is not None:
        totals.addmv_(grad.view(len(grad), -1), writes[: grad.shape[1]].reshape(-1))


def _add_features(features: Float[Tensor, "n n_seen"], grad: Float[Tensor, "n n_pos d_model"], part: RowPart) -> None:
    """features[:, columns of p] += grad[:, p] @ rows of p, for every position p of the part that the gradient has."""
    for i, first_col in enumerate(part.first_col[: max(0, grad.shape[1] - part.first_pos)]):
        start, stop = part.bounds[i], part.bounds[i + 1]
        if stop > start:
            cols = features[:, first_col : first_col + stop - start]
            cols.addmm_(grad[:, part.first_pos + i], part.rows[start:stop].T)
