"""The adjoint sweep: from each target's input direction back through the frozen layers, contracted on its way with all writes.

One pass from the last layer to the embeddings gives a target's whole row of the graph. Targets are swept in blocks that are neighbours
in position, each block over no more positions than its latest target needs, and a target joins its block at its own layer, so that
the work is that of the causal cone. Buffers are made once and written in place.

Depths order the places in the residual stream: `resid_mid[l]` is 2 l + 1, `resid_post[l]` is 2 l + 2.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits.folding import FoldedLayer
from circuits.writes import LayerRows, Writes
from replacement_model.capture import Capture

__all__ = ["RowBlock", "SourceRows", "Sweep", "resid_mid_depth", "resid_post_depth"]

Depth = TypeVar("Depth", int, Tensor)

def resid_mid_depth(layer: Depth) -> Depth:
    """Depth of the residual stream between attention and MLP of `layer`."""
    return 2 * layer + 1


def resid_post_depth(layer: Depth) -> Depth:
    """Depth of the residual stream after `layer`."""
    return 2 * layer + 2


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
    """Rows of the graph for some targets; valid until the next block is swept.

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
    errors: Float[Tensor, "n n_errors"]
    tokens: Float[Tensor, "n pos"]
    constant: Float[Tensor, "n"]
    rounding: Float[Tensor, "n"]


class Sweep:
    """Sweeps blocks of at most `block_size` targets over one captured prompt."""

    def __init__(self, capture: Capture, layers: tuple[FoldedLayer, ...], writes: Writes, block_size: int) -> None:
        self._layers, self._writes, self._capture = layers, writes, capture
        self._block_size = block_size
        n_pos, d_model = capture.embed.shape
        new = capture.embed.new_empty
        self._grad = new(block_size * n_pos * d_model)
        self._heads = new(block_size * n_pos * layers[0].W_O.shape[1])
        self._values = new(block_size * n_pos * layers[0].W_V.shape[0])
        has_skip = any(layer.skip is not None for layer in layers)
        self._skipped = new(block_size * n_pos * d_model if has_skip else 0)
        self._features = new(block_size * len(writes.by_pos))

    @staticmethod
    def n_target_bytes(capture: Capture, layers: tuple[FoldedLayer, ...], n_active: int) -> int:
        """Bytes of buffers for each target of a block."""
        n_pos, d_model = capture.embed.shape
        width = 2 * d_model + layers[0].W_O.shape[1] + layers[0].W_V.shape[0] + len(layers)
        return (n_pos * width + n_active) * capture.embed.element_size()

    def rows(self, targets: SourceRows) -> Iterator[RowBlock]:
        """The rows of all targets, in blocks; the union of the blocks' `index` is every target once."""
        by_pos = torch.argsort(targets.pos, stable=True)
        for chosen in by_pos.split(self._block_size):
            deepest_first = torch.argsort(targets.depth[chosen], descending=True, stable=True)
            index = chosen[deepest_first]
            yield self._sweep(index, targets.select(index))

    def _sweep(self, index: Int[Tensor, "n"], targets: SourceRows) -> RowBlock:
        n, n_pos = len(targets), int(targets.pos.max()) + 1
        n_layers, all_pos, d_model = len(self._layers), *self._capture.embed.shape
        grad = self._grad[: n * n_pos * d_model].view(n, n_pos, d_model).zero_()
        grad[torch.arange(n, device=grad.device), targets.pos] = targets.direction
        features = self._features[: n * len(self._writes.by_pos)].view(n, -1).zero_()
        errors = grad.new_zeros(n, n_layers, all_pos)
        sums = grad.new_zeros(n, 2)  # constant, rounding
        depths = -targets.depth.cpu().numpy()  # ascending
        for layer in reversed(range(n_layers)):
            n_above = int(depths.searchsorted(-resid_post_depth(layer), side="right"))
            if n_above:
                live = grad[:n_above]
                _add_features(features[:n_above], live, self._writes.at(layer))
                extra = _contract(live, self._writes.mlp_extra[layer])  # [pos, n_above, k]
                errors[:n_above, layer, :n_pos] = extra[:, :, 0].T
                sums[:n_above, : extra.shape[2] - 1] += extra[:, :, 1:].sum(0)
                self._add_skip(live, self._layers[layer])
            n_live = int(depths.searchsorted(-resid_mid_depth(layer), side="right"))
            if n_live:
                extra = _contract(grad[:n_live], self._writes.attn_extra[layer])
                sums[:n_live, : extra.shape[2]] += extra.sum(0)
                self._add_attention(grad[:n_live], n_above, targets.pos[n_above:n_live], self._layers[layer])
        embeddings = torch.stack([self._capture.embed, self._capture.pos_embed], dim=-1)
        tokens = grad.new_zeros(n, all_pos)
        at_embed = _contract(grad, embeddings)
        tokens[:, :n_pos] = at_embed[:, :, 0].T
        sums[:, 0] += at_embed[:, :, 1].sum(0)
        return RowBlock(index, features, errors.flatten(1), tokens, sums[:, 0], sums[:, 1])

    def _add_skip(self, grad: Float[Tensor, "n pos d_model"], layer: FoldedLayer) -> None:
        if layer.skip is None:
            return
        n, n_pos, d_model = grad.shape
        skipped = self._skipped[: grad.numel()].view(n * n_pos, d_model)
        torch.mm(grad.view(n * n_pos, d_model), layer.skip.matrix, out=skipped)
        grad.addcmul_(skipped.view_as(grad), layer.skip.scale[:n_pos])

    def _add_attention(
        self, grad: Float[Tensor, "n pos d_model"], n_old: int, new_pos: Int[Tensor, "n_new"], layer: FoldedLayer
    ) -> None:
        """grad += W_V^T mix^T W_O^T grad, where targets from `n_old` on are non-zero at their own position `new_pos` alone."""
        n, n_pos, d_model = grad.shape
        n_groups, group = layer.mix.shape[:2]
        flat = grad.view(n * n_pos, d_model)
        heads = self._heads[: layer.W_O.shape[1] * n * n_pos].view(-1, n, n_pos)  # [n_heads * d_head, n, pos]
        if n_old:
            torch.mm(layer.W_O.T, flat[: n_old * n_pos].T, out=heads.view(len(heads), -1)[:, : n_old * n_pos])
        if n > n_old:
            which = torch.arange(n_old, n, device=grad.device)
            heads[:, n_old:].zero_()
            heads[:, which, new_pos] = layer.W_O.T @ grad[which, new_pos].T
        per_group = heads.view(n_groups, group, -1, n_pos)  # [n_kv_heads, group, d_head * n, pos]
        values = self._values[: layer.W_V.shape[0] * n * n_pos].view(n_groups, -1, n_pos)
        mix = layer.mix[:, :, :n_pos, :n_pos]
        torch.bmm(per_group[:, 0], mix[:, 0], out=values)
        for head in range(1, group):
            values.baddbmm_(per_group[:, head], mix[:, head])
        flat.addmm_(values.view(len(layer.W_V), -1).T, layer.W_V)


def _contract(
    grad: Float[Tensor, "n pos d_model"], writes: Float[Tensor, "all_pos d_model k"]
) -> Float[Tensor, "pos n k"]:
    """<gradient, write> at every position, k writes at a time."""
    return torch.bmm(grad.transpose(0, 1), writes[: grad.shape[1]])


def _add_features(
    features: Float[Tensor, "n n_active"], grad: Float[Tensor, "n pos d_model"], layer: LayerRows
) -> None:
    """features[:, columns of p] += grad[:, p] @ rows of p, for every position p."""
    for pos in range(grad.shape[1]):
        start, stop = layer.row_bounds[pos], layer.row_bounds[pos + 1]
        if stop > start:
            first = layer.first_col[pos]
            features[:, first : first + stop - start].addmm_(grad[:, pos], layer.rows[start:stop].T)
