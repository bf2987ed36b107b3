"""Which features write most alike: the cosine between all that each adds to the residual stream.

Every feature is compared with every other, block by block, so memory is bounded; the time grows with the square of
their number.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from replacement_model.evidence.logits import summed_decoders
from replacement_model.evidence.record import Neighbour
from replacement_model.model import ReplacementModel

__all__ = ["nearest_features"]

AT_ONCE = 4096  # features compared with as many others at a time


def nearest_features(
    model: ReplacementModel, layer: int, feature_idx: Int[Tensor, "n"], count: int
) -> list[tuple[Neighbour, ...]]:
    """The nearest `count` features of the same layer and the nearest `count` of all others, for each of some features.

    Args:
        model: host and transcoder.
        layer: of the features that are asked about.
        feature_idx: their indices, some thousands at most.
        count: 0 for none.

    Returns:
        For each, those of its own layer and those of others, each group nearest first.
    """
    if count == 0:
        return [() for _ in feature_idx.tolist()]
    queries = _directions(model, layer, feature_idx)
    own, others = _Nearest(len(queries), count), _Nearest(len(queries), count)
    for other, weights in enumerate(model.transcoder.layers):
        if weights is None:
            continue
        nearest = own if other == layer else others
        for block in torch.arange(weights.d_transcoder).split(AT_ONCE):
            cosines = (queries @ _directions(model, other, block).T).cpu()
            if other == layer:
                cosines[feature_idx.cpu()[:, None] == block] = -torch.inf
            nearest.add(cosines, other, block)
    return [own.of(row) + others.of(row) for row in range(len(queries))]


def _directions(model: ReplacementModel, layer: int, feature_idx: Int[Tensor, "n"]) -> Float[Tensor, "n d_model"]:
    written = summed_decoders(model, layer, feature_idx)
    return written / written.norm(dim=1, keepdim=True).clamp_min(torch.finfo(written.dtype).tiny)


class _Nearest:
    """The largest cosines so far of each query; ties go to the earlier feature."""

    def __init__(self, n_queries: int, count: int) -> None:
        self._count = count
        self._cosines = torch.empty(n_queries, 0)
        self._keys = torch.empty(n_queries, 0, 2, dtype=torch.int64)

    def add(self, cosines: Float[Tensor, "query feature"], layer: int, feature_idx: Int[Tensor, "feature"]) -> None:
        values, at = cosines.topk(min(self._count, cosines.shape[1]), dim=1)
        keys = torch.stack([torch.full_like(at, layer), feature_idx[at]], dim=-1)
        values, keys = torch.cat([self._cosines, values.float()], 1), torch.cat([self._keys, keys], 1)
        order = values.argsort(dim=1, descending=True, stable=True)[:, : self._count]
        self._cosines, self._keys = values.gather(1, order), keys.gather(1, order[..., None].expand(-1, -1, 2))

    def of(self, query: int) -> tuple[Neighbour, ...]:
        pairs = zip(self._keys[query].tolist(), self._cosines[query].tolist(), strict=True)
        return tuple(Neighbour(layer, idx, round(cosine, 4)) for (layer, idx), cosine in pairs if cosine > -1.5)
