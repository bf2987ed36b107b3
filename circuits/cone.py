"""Which sources can reach a target, and where each of them is in a row that holds no others.

A target that reads the residual stream at position `pos`, above the MLPs of `below` layers, is reached only by what
those layers write at `pos` and earlier. Active features are in position-major order (pos, layer, feature_idx), so at
each position the ones below a layer come first. A packed row is therefore

    features:  for every position up to `pos`, its features of layers < below
    errors:    for every layer < below, positions up to `pos`
    tokens:    positions up to `pos`
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

__all__ = ["Cone"]


@dataclass(frozen=True, slots=True, eq=False)
class Cone:
    """Sizes of causal cones.

    Attributes:
        starts: `starts[below, pos]`: how many active features lie at positions < pos in layers < below.
    """

    starts: Int[np.ndarray, "n_layers_plus_1 n_pos_plus_1"]

    @classmethod
    def of(cls, features: Int[np.ndarray, "n_active 3"], n_layers: int, n_pos: int) -> "Cone":
        """From (layer, pos, feature_idx) of the active features."""
        counts = np.zeros((n_layers + 1, n_pos + 1), dtype=np.int64)
        np.add.at(counts, (features[:, 0] + 1, features[:, 1] + 1), 1)
        return cls(counts.cumsum(0).cumsum(1))

    @property
    def n_layers(self) -> int:
        return len(self.starts) - 1

    @property
    def n_pos(self) -> int:
        return self.starts.shape[1] - 1

    def n_features(self, n_pos: int) -> int:
        """How many active features the first `n_pos` positions have."""
        return int(self.starts[-1, n_pos])

    def row_sizes(self, below: Int[np.ndarray, "n"], pos: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """How many numbers the packed rows of targets hold."""
        return self.starts[below, pos + 1] + (below + 1) * (pos + 1)

    def largest(self, features: Int[np.ndarray, "n_active 3"], n_rows: int) -> int:
        """How many numbers the packed rows of any `n_rows` of the active features hold at most."""
        return _sum_of_largest(self.row_sizes(features[:, 0], features[:, 1]), n_rows)

    def largest_rest(self, features: Int[np.ndarray, "n_active 3"], n_rows: int) -> int:
        """The same without features: errors and tokens alone."""
        return _sum_of_largest((features[:, 0] + 1) * (features[:, 1] + 1), n_rows)


def _sum_of_largest(sizes: Int[np.ndarray, "n"], count: int) -> int:
    if 0 < count < len(sizes):
        sizes = np.partition(sizes, len(sizes) - count)[-count:]
    return int(sizes.sum()) if count else 0
