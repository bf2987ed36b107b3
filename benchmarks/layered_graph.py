"""A random graph with the causal structure of an attribution graph, in a form that both tools can read."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from benchmarks.shapes import PruneShape

__all__ = ["LayeredGraph"]

SEED = 0
LOG_STD = 1.5  # edges spread over orders of magnitude, as measured ones do


@dataclass(frozen=True, slots=True)
class LayeredGraph:
    """Compressed rows of the rectangle `[features | targets, features | errors | tokens]`.

    Attributes:
        sites: (layer, pos) of every feature, sorted.
        target_weights: probabilities of the targets, at the last position.
        indptr, indices, values: the nonzeros.
    """

    n_layers: int
    n_pos: int
    sites: Int[np.ndarray, "n_features 2"]
    target_weights: Float[np.ndarray, "n_targets"]
    indptr: Int[np.ndarray, "n_rows_plus_1"]
    indices: Int[np.ndarray, "n_edges"]
    values: Float[np.ndarray, "n_edges"]

    @property
    def n_cols(self) -> int:
        return len(self.sites) + (self.n_layers + 1) * self.n_pos

    @property
    def n_rows(self) -> int:
        return len(self.sites) + len(self.target_weights)

    def save(self, path: Path) -> None:
        np.savez(path, **{name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def load(cls, path: Path) -> "LayeredGraph":
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in cls.__slots__}
        return cls(**arrays | {name: int(arrays[name]) for name in ("n_layers", "n_pos")})

    @classmethod
    def random(cls, shape: PruneShape) -> "LayeredGraph":
        """Keeps every causally possible edge with one probability, which fills `shape.density` of the rectangle."""
        rng = np.random.default_rng(SEED)
        n_features = shape.n_nodes - shape.n_targets - (shape.n_layers + 1) * shape.n_pos
        flat = np.sort(rng.integers(shape.n_layers * shape.n_pos, size=n_features))
        sites = np.stack(np.divmod(flat, shape.n_pos), axis=1)
        sources = _source_sites(shape, sites)
        target_sites = np.tile([shape.n_layers, shape.n_pos - 1], (shape.n_targets, 1))
        rows = [np.flatnonzero(_can_write(sources, site)) for site in np.concatenate([sites, target_sites])]
        share = shape.density * len(rows) * len(sources) / sum(map(len, rows))
        rows = [row[rng.random(len(row)) < share] for row in rows]
        indices = np.concatenate(rows).astype(np.int32)
        values = rng.standard_normal(len(indices)) * np.exp(LOG_STD * rng.standard_normal(len(indices)))
        return cls(
            n_layers=shape.n_layers,
            n_pos=shape.n_pos,
            sites=sites,
            target_weights=rng.dirichlet(np.ones(shape.n_targets)),
            indptr=np.concatenate([[0], np.cumsum([len(row) for row in rows])]),
            indices=indices,
            values=values.astype(np.float32),
        )


def _source_sites(shape: PruneShape, sites: Int[np.ndarray, "n_features 2"]) -> Int[np.ndarray, "n_cols 2"]:
    """(layer, pos) of features, errors and tokens; tokens are at layer -1."""
    layers = np.r_[np.arange(shape.n_layers).repeat(shape.n_pos), np.full(shape.n_pos, -1)]
    positions = np.tile(np.arange(shape.n_pos), shape.n_layers + 1)
    return np.concatenate([sites, np.stack([layers, positions], axis=1)])


def _can_write(sources: Int[np.ndarray, "n_cols 2"], site: Int[np.ndarray, "2"]) -> Bool[np.ndarray, "n_cols"]:
    layer, pos = site
    return (sources[:, 0] < layer) & (sources[:, 1] <= pos)
