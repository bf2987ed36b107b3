"""How much of the influence passes through each token and layer: the numbers of a heat map."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from circuits.graph import Graph
from circuits.pruning import Circuit
from viz.kept import as_circuit

__all__ = ["AttributionTable", "attribution_table"]


@dataclass(frozen=True, slots=True)
class AttributionTable:
    """Influence on the graph's targets, as a share of their summed weight.

    What passes through features on several layers counts on each, so layers do not add up to 1; tokens and errors,
    where all paths begin, do.

    Attributes:
        features: of all features at a layer and position.
        errors: of the error there.
        tokens: of the token's embedding.
    """

    features: Float[np.ndarray, "n_layers n_pos"]
    errors: Float[np.ndarray, "n_layers n_pos"]
    tokens: Float[np.ndarray, "n_pos"]

    @property
    def by_position(self) -> Float[np.ndarray, "n_pos"]:
        """Everything at a position, as a share of all there is."""
        total = self.features.sum(axis=0) + self.errors.sum(axis=0) + self.tokens
        whole = float(total.sum())
        return total / whole if whole > 0 else total


def attribution_table(graph: Graph | Circuit) -> AttributionTable:
    """Sum the influence of nodes over layers and positions; of a circuit too it is that in the unpruned graph.

    Example:
        attribution_table(circuit).features.sum(axis=1)  # by layer
    """
    circuit = as_circuit(graph)
    layout, places = circuit.graph.layout, circuit.graph.features
    share = circuit.node_influence / circuit.graph.target_weights.sum()
    features = np.zeros((layout.n_layers, layout.n_pos))
    np.add.at(features, (places[:, 0], places[:, 1]), share[layout.feature_nodes])
    errors = share[layout.error_nodes].reshape(layout.n_layers, layout.n_pos)
    return AttributionTable(features, errors, share[layout.token_nodes])
