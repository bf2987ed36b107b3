"""Where each node of an attribution graph lives: the only module that does index arithmetic on nodes.

An attribution graph is a rectangle, because only features and targets have incoming edges:

    rows  (targets of edges)     features | targets
    cols  (sources of edges)     features | errors (layer-major) | tokens
    nodes (everything)           features | errors | tokens | targets

so column `c` is node `c`, row `r < n_features` is node `r`, and the row of target `k` is `n_features + k` while its
node is `n_cols + k`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

__all__ = ["Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes of a graph, and the position of every kind of node in its rows, columns and nodes."""

    n_features: int
    n_layers: int
    n_pos: int
    n_targets: int

    @property
    def n_errors(self) -> int:
        return self.n_layers * self.n_pos

    @property
    def n_tokens(self) -> int:
        return self.n_pos

    @property
    def n_rows(self) -> int:
        return self.n_features + self.n_targets

    @property
    def n_cols(self) -> int:
        return self.n_features + self.n_errors + self.n_tokens

    @property
    def n_nodes(self) -> int:
        return self.n_cols + self.n_targets

    @property
    def feature_nodes(self) -> slice:
        return slice(0, self.n_features)

    @property
    def error_nodes(self) -> slice:
        return slice(self.n_features, self.n_features + self.n_errors)

    @property
    def token_nodes(self) -> slice:
        return slice(self.n_features + self.n_errors, self.n_cols)

    @property
    def target_nodes(self) -> slice:
        return slice(self.n_cols, self.n_nodes)

    @property
    def target_rows(self) -> slice:
        return slice(self.n_features, self.n_rows)

    def error_node(self, layer: int, pos: int) -> int:
        """Node (and column) of the error at `layer`, `pos`."""
        return self.n_features + layer * self.n_pos + pos

    def error_layer_pos(self, node: int) -> tuple[int, int]:
        """Layer and position of an error node."""
        layer, pos = divmod(node - self.n_features, self.n_pos)
        return layer, pos

    def token_node(self, pos: int) -> int:
        """Node (and column) of the token at `pos`."""
        return self.n_features + self.n_errors + pos

    def token_pos(self, node: int) -> int:
        """Position of a token node."""
        return node - self.n_features - self.n_errors

    def target_index(self, node: int) -> int:
        """Which target (0 .. n_targets) a target node is."""
        return node - self.n_cols

    def row_nodes(self) -> Int[np.ndarray, "n_rows"]:
        """Node of every row."""
        features = np.arange(self.n_features)
        return np.concatenate([features, np.arange(self.n_cols, self.n_nodes)])

    def kind(self, node: int) -> str:
        """`feature`, `error`, `token` or `target`."""
        if not 0 <= node < self.n_nodes:
            raise IndexError(f"node {node} is outside 0..{self.n_nodes - 1}")
        if node < self.n_features:
            return "feature"
        if node < self.n_features + self.n_errors:
            return "error"
        return "token" if node < self.n_cols else "target"
