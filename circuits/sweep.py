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

from circuits.folding import FoldedLayer
from circuits.writes import LayerWrites, Writes
from replacement_model.capture import Capture

__all__ = ["RowBlock", "SourceRows", "Sweep", "mlp_depth", "resid_mid_depth", "resid_post_depth"]

Depth = TypeVar("Depth", int, Tensor)
# Larger groups waste more work on positions that only their latest target needs, smaller ones make smaller products.
GROUP_SIZE = 32


def resid_mid_depth(layer: Depth) -> Depth:
    """Depth of the residual stream between attention and MLP of `layer`."""
    return 2 * layer + 1


def resid_post_depth(layer: Depth) -> Depth:
    """Depth of the residual stream after `layer`."""
    return 2 * layer + 2


def mlp_depth(layer: int, parallel: bool) -> int:
    """Depth of the residual stream that the MLP of `layer` reads."""
    return resid_post_depth(layer - 1) if parallel else resid_mid_depth(layer)


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
    """Rows of the graph for some targets; valid until the next batch is swept.

    Attributes:
        index: which of the targets given to the sweep these are.
        features: effect of every active feature, columns in position-major order (`Writes.by_pos`).
        errors: effect of every error, layer-major.
        tokens: effect of every token.
        constant: biases, position embeddings and ignored positions, added up.
        rounding: effect of the host's rounding, added up.
    """

    index: Int[Tensor, "n"]
    features: Float[Tensor, "n n_active"]
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

    def __init__(self, capture: Capture, layers: tuple[FoldedLayer, ...], writes: Writes, batch_size: int) -> None:
        self._layers, self._writes, self._capture = layers, writes, capture
        self._batch_size, group_size = batch_size, min(batch_size, GROUP_SIZE)
        n_pos, d_model = capture.embed.shape
        new = capture.embed.new_empty
        self._grad = new(batch_size * n_pos * d_model)
        self._features = new(batch_size, len(writes.by_pos))
        self._heads = new(group_size * n_pos * layers[0].W_O.shape[1])
        self._values = new(group_size * n_pos * layers[0].W_V.shape[0])
        has_skip = any(layer.skip is not None for layer in layers)
        self._skipped = new(group_size * n_pos * d_model if has_skip else 0)

    @staticmethod
    def n_target_bytes(capture: Capture, layers: tuple[FoldedLayer, ...], n_active: int) -> int:
        """Bytes of buffers for each target of a batch."""
        n_pos, d_model = capture.embed.shape
        width = 2 * d_model + layers[0].W_O.shape[1] + layers[0].W_V.shape[0] + len(layers)
        return (n_pos * width + n_active) * capture.embed.element_size()

    def rows(self, targets: SourceRows) -> Iterator[RowBlock]:
        """The rows of all targets, in blocks; the union of the blocks' `index` is every target once."""
        for batch in torch.argsort(targets.pos, stable=True).split(self._batch_size):
            groups = self._start(batch, targets)
            for layer in reversed(range(len(self._layers))):
                self._pass_mlp(groups, layer)
                self._pass_attention(groups, layer)
            for group in groups:
                self._reach_embeddings(group)
                yield group.rows

    def _start(self, batch: Int[Tensor, "n"], targets: SourceRows) -> list[_Group]:
        """Groups of neighbours in position, each over no more positions than its latest target needs."""
        groups, first, offset = [], 0, 0
        n_layers, (all_pos, d_model) = len(self._layers), self._capture.embed.shape
        for chosen in batch.split(GROUP_SIZE):
            index = chosen[torch.argsort(targets.depth[chosen], descending=True, stable=True)]
            members = targets.select(index)
            n, n_pos = len(index), int(members.pos.max()) + 1
            grad = self._grad[offset : offset + n * n_pos * d_model].view(n, n_pos, d_model).zero_()
            grad[torch.arange(n, device=grad.device), members.pos] = members.direction
            rows = RowBlock(
                index=index,
                features=self._features[first : first + n].zero_(),
                errors=grad.new_zeros(n, n_layers, all_pos),
                tokens=grad.new_zeros(n, all_pos),
                constant=grad.new_zeros(n),
                rounding=grad.new_zeros(n),
            )
            shallower = np.bincount(members.depth.cpu().numpy(), minlength=resid_post_depth(n_layers)).cumsum()
            groups.append(_Group(members, grad, rows, n - np.concatenate([[0], shallower[:-1]])))
            first, offset = first + n, offset + grad.numel()
        return groups

    def _pass_mlp(self, groups: list[_Group], layer: int) -> None:
        """Contract with what the MLP of `layer` writes, and follow its skip (later, in a parallel block)."""
        if not any(group.passing(layer) for group in groups):
            return
        writes = self._writes.at(layer)
        for group in groups:
            n = group.passing(layer)
            if n:
                grad, rows = group.grad[:n], group.rows
                _add_features(rows.features[:n], grad, writes)
                rows.errors[:n, layer, : grad.shape[1]] = torch.linalg.vecdot(grad, writes.errors[: grad.shape[1]])
                _add_total(rows.constant[:n], grad, writes.constants)
                if writes.rounding is not None:
                    _add_total(rows.rounding[:n], grad, writes.rounding)
                if not self._layers[layer].parallel:
                    self._add_skip(grad, self._layers[layer])

    def _pass_attention(self, groups: list[_Group], layer: int) -> None:
        """Contract with the constants of the attention of `layer`, and follow it to the positions that it reads."""
        folded, (constants, rounding) = self._layers[layer], self._writes.attention(layer)
        fresh = [group.own_grad(group.old(layer), group.live(layer)) for group in groups]
        # Targets that come to this layer first are still zero but at their own position: one small product for all.
        new_heads = (torch.cat(fresh) @ folded.W_O).split([len(rows) for rows in fresh])
        for group, own_heads in zip(groups, new_heads, strict=True):
            n = group.live(layer)
            if n:
                grad = group.grad[:n]
                _add_total(group.rows.constant[:n], grad, constants)
                if rounding is not None:
                    _add_total(group.rows.rounding[:n], grad, rounding)
                heads = self._through_W_O(grad, own_heads, group.targets.pos[:n], folded)
                if folded.parallel:
                    self._add_skip(grad, folded)
                self._add_attention(grad, heads, folded)

    def _reach_embeddings(self, group: _Group) -> None:
        n_pos = group.grad.shape[1]
        group.rows.tokens[:, :n_pos] = torch.linalg.vecdot(group.grad, self._capture.embed[:n_pos])
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
        mix = layer.mix[:, :, :n_pos, :n_pos]
        torch.bmm(per_group[:, 0], mix[:, 0], out=values)
        for head in range(1, group):
            values.baddbmm_(per_group[:, head], mix[:, head])
        grad.view(n * n_pos, d_model).addmm_(values.view(len(layer.W_V), -1).T, layer.W_V)


def _add_total(
    totals: Float[Tensor, "n"], grad: Float[Tensor, "n n_pos d_model"], writes: Float[Tensor, "pos d_model"]
) -> None:
    """Add the sum over positions of <gradient, write> to `totals`."""
    totals.addmv_(grad.view(len(grad), -1), writes[: grad.shape[1]].reshape(-1))


def _add_features(
    features: Float[Tensor, "n n_active"], grad: Float[Tensor, "n n_pos d_model"], writes: LayerWrites
) -> None:
    """features[:, columns of p] += grad[:, p] @ rows of p, for every position p."""
    for pos in range(grad.shape[1]):
        start, stop = writes.row_bounds[pos], writes.row_bounds[pos + 1]
        if stop > start:
            first = writes.first_col[pos]
            features[:, first : first + stop - start].addmm_(grad[:, pos], writes.rows[start:stop].T)
