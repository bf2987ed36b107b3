"""The attribution graph: a frozen record of everything that one trace found, and the sums that prove it complete."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import lazy_loader
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from circuits.layout import Layout
from replacement_model.display import Displayed
from replacement_model.labels import FeatureLabel

if TYPE_CHECKING:
    import networkx as nx
else:
    nx = lazy_loader.load("networkx")  # a fifth of a second, which only `to_networkx` has to wait for

__all__ = ["Books", "Graph", "GraphMetadata", "Target"]

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class GraphMetadata:
    """Where a graph comes from: enough to make it again, and to know that it was made from the same files.

    `hashes` maps a file's role to its SHA-256; `settings` and `versions` hold only values that JSON can hold.
    """

    model_name: str
    transcoder_name: str
    prompt: str
    model_revision: str | None = None
    transcoder_revision: str | None = None
    hashes: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class Target:
    """What a graph explains: a logit, a difference of two logits, any direction, or a feature.

    Attributes:
        kind: `logit`, `difference`, `direction` or `feature`.
        label: text for people, such as the token's string.
        pos: position that is read.
        weight: share in the influence; a logit's probability, 1 for the others.
        layer: `n_layers` where the final norm's output is read, `l` for a feature of layer l or a direction at
            `resid_post[l]`.
        token_ids: the logit's token, or the two of a difference (first minus second).
        feature_idx: only for a feature.
    """

    kind: str
    label: str
    pos: int
    weight: float
    layer: int
    token_ids: tuple[int, ...] = ()
    feature_idx: int | None = None


@dataclass(frozen=True, slots=True)
class Books:
    """For every row: sum of edges + omitted + constant + rounding = pre_act, up to `residual`.

    Attributes:
        pre_act: the host's own value: a feature's pre-activation, a logit minus the mean logit before any softcap.
        constant: biases, learned position embeddings, and what ignored positions write.
        omitted: edges of active features that were not selected, summed.
        rounding: what a host in bfloat16 or float16 rounded away at its writes to the residual stream; 0 in float32.
        residual: the largest abs(difference) / sum(abs(terms)) over the rows.
    """

    pre_act: Float[np.ndarray, "n_rows"]
    constant: Float[np.ndarray, "n_rows"]
    omitted: Float[np.ndarray, "n_rows"]
    rounding: Float[np.ndarray, "n_rows"]
    residual: float


@dataclass(frozen=True, slots=True)
class Graph(Displayed):
    """An attribution graph, as a sparse rectangle `adjacency[target, source]` (see `circuits.layout`).

    Attributes:
        tokens, token_ids: the prompt as the model saw it.
        n_ignored_pos: leading positions (such as <bos>) whose features and errors are not nodes.
        features: (layer, pos, feature_idx) of every feature node, sorted in this order.
        feature_acts: their activations; NaN where a file of another program did not have them (see `read_from`).
        targets: what the graph explains.
        adjacency: (n_features + n_targets, n_features + n_errors + n_tokens), direct effect of source on target.
        books: the proof that nothing is missing.
        fvu: share of the MLP output's variance that the transcoder leaves unexplained, per layer, on this prompt.
        feature_labels: one per feature, None where there is none.
    """

    metadata: GraphMetadata
    tokens: tuple[str, ...]
    token_ids: Int[np.ndarray, "n_pos"]
    n_layers: int
    n_ignored_pos: int
    features: Int[np.ndarray, "n_features 3"]
    feature_acts: Float[np.ndarray, "n_features"]
    targets: tuple[Target, ...]
    adjacency: sp.csr_array
    books: Books
    fvu: tuple[float, ...]
    feature_labels: tuple[FeatureLabel | None, ...]

    @property
    def layout(self) -> Layout:
        return Layout(len(self.features), self.n_layers, len(self.tokens), len(self.targets))

    @property
    def target_weights(self) -> Float[np.ndarray, "n_targets"]:
        return np.array([target.weight for target in self.targets], dtype=np.float64)

    @property
    def read_from(self) -> dict[str, Any] | None:
        """Of a graph that was read from graph JSON, who wrote the file and what is not in it; else None.

        Such a graph has only the edges that its maker kept, and its books are NaN.
        """
        origin = self.metadata.settings.get("read_from")
        return origin if isinstance(origin, dict) else None

    @property
    def rounding_share(self) -> float:
        """The largest share of a row's terms that a half-precision host rounded away; 0 for float32 and float64."""
        books = self.books
        edges = np.abs(self.adjacency).sum(axis=1, dtype=np.float64)
        terms = edges + np.abs(books.constant) + np.abs(books.omitted) + np.abs(books.rounding)
        return float((np.abs(books.rounding) / np.where(terms > 0, terms, 1.0)).max(initial=0.0))

    def to_scipy(self) -> sp.csr_array:
        """The square adjacency (n_nodes, n_nodes), `[target, source]`, nodes in the order of `Layout`."""
        layout = self.layout
        edges = self.adjacency.tocoo()
        rows = layout.row_nodes()[edges.row]
        return sp.csr_array((edges.data, (rows, edges.col)), shape=(layout.n_nodes, layout.n_nodes))

    def to_networkx(self) -> "nx.DiGraph":
        """A directed graph from sources to targets; nodes are `Layout`'s integers, with kind, layer, pos and label."""
        layout, square = self.layout, self.to_scipy().tocoo()
        graph: "nx.DiGraph" = nx.DiGraph()
        graph.add_nodes_from((node, self.node_attributes(node)) for node in range(layout.n_nodes))
        edges = zip(square.col.tolist(), square.row.tolist(), square.data.tolist(), strict=True)
        graph.add_weighted_edges_from(edges)
        return graph

    def node_attributes(self, node: int) -> dict[str, Any]:
        """Kind, layer, position and label of a node; for features also their index and activation."""
        layout = self.layout
        kind = layout.kind(node)
        if kind == "feature":
            layer, pos, idx = (int(value) for value in self.features[node])
            label = self.feature_labels[node]
            text = f"L{layer} #{idx}" if label is None else label.text
            act = float(self.feature_acts[node])
            return {"kind": kind, "layer": layer, "pos": pos, "feature_idx": idx, "activation": act, "label": text}
        if kind == "error":
            layer, pos = layout.error_layer_pos(node)
            return {"kind": kind, "layer": layer, "pos": pos, "label": f"error L{layer}"}
        if kind == "token":
            pos = layout.token_pos(node)
            return {"kind": kind, "layer": -1, "pos": pos, "label": self.tokens[pos]}
        target = self.targets[layout.target_index(node)]
        return {"kind": kind, "layer": target.layer, "pos": target.pos, "label": target.label, "weight": target.weight}
