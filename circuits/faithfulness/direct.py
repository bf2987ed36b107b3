"""Is the record true? Activations, sums and direct effects of a graph against the model: equal, up to rounding."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from circuits.faithfulness.measuring import ablation_changes, mean_free
from circuits.faithfulness.selection import Chosen
from circuits.graph import Graph
from circuits.node_names import node_names
from replacement_model.interventions import Conditions, Observation

__all__ = ["DirectCheck", "RecordCheck", "check_direct", "check_record"]

RELATIVE, OF_TERMS = 1e-3, 1e-6  # of the effect, and of the sum of the absolute terms of its row
BOOKS, VALUES = 1e-5, 1e-4


@dataclass(frozen=True, slots=True)
class RecordCheck:
    """What the graph says of the prompt.

    Attributes:
        books: the largest abs(difference) / sum(abs(terms)) of the books, added up again.
        activations: the largest difference of an activation from the model's, as a share of the largest.
        targets: the largest difference of a target's value from the model's, as a share of the largest.
    """

    books: float
    activations: float
    targets: float

    @property
    def holds(self) -> bool:
        return self.books <= BOOKS and max(self.activations, self.targets) <= VALUES


@dataclass(frozen=True, slots=True)
class DirectCheck:
    """Edges against the effect of ablating their source, with MLPs, attention and norms held.

    Attributes:
        n_by_graph, n_by_chance: features that were ablated.
        n_effects: differences that were compared.
        n_unmeasured: targets that a graph does not say enough about (directions).
        worst: the largest error, in units of what is allowed: 1e-3 of the effect + 1e-6 of the sum of abs(terms).
        source, target: names of the two nodes between which it is.
    """

    n_by_graph: int
    n_by_chance: int
    n_effects: int
    n_unmeasured: int
    worst: float
    source: str
    target: str

    @property
    def holds(self) -> bool:
        return self.worst <= 1.0


def check_record(observed: Observation, graph: Graph) -> RecordCheck:
    """Compare activations and targets with the model, and add up the books."""
    books = graph.books
    sums = np.asarray(graph.adjacency.sum(axis=1, dtype=np.float64)).ravel()
    difference = sums + books.constant + books.omitted + books.rounding - books.pre_act
    terms = _terms(graph) + np.abs(books.pre_act)
    now = _acts_now(observed, graph)
    values = [_target_value(observed, graph, k) for k in range(len(graph.targets))]
    said = books.pre_act[graph.layout.target_rows]
    return RecordCheck(
        books=float((np.abs(difference) / np.where(terms > 0, terms, 1.0)).max(initial=0.0)),
        activations=_largest_error(graph.feature_acts.astype(np.float64), now),
        targets=_largest_error(said.astype(np.float64), np.array(values)),
    )


def check_direct(observed: Observation, graph: Graph, chosen: Chosen) -> DirectCheck:
    """Ablate the chosen features and compare all rows with the edges."""
    nodes = np.concatenate([chosen.by_graph, chosen.by_chance])
    measured = ablation_changes(observed, graph, nodes, Conditions("direct"))
    predicted = -graph.adjacency[:, nodes].toarray().T.astype(np.float64)  # [n, n_rows]
    allowed = RELATIVE * np.abs(predicted) + OF_TERMS * _terms(graph)
    known = np.isfinite(measured)
    error = np.abs(measured - predicted)
    share = np.divide(error, allowed, out=np.where(error > 0, np.inf, 0.0), where=allowed > 0)
    share = np.where(known, share, 0.0)
    names, rows = node_names(graph), graph.layout.row_nodes()
    one, row = np.unravel_index(int(share.argmax()), share.shape) if share.size else (0, 0)
    return DirectCheck(
        n_by_graph=len(chosen.by_graph),
        n_by_chance=len(chosen.by_chance),
        n_effects=int(known.sum()),
        n_unmeasured=int((~known).all(axis=0).sum()) if len(known) else 0,
        worst=float(share.max(initial=0.0)),
        source=names[nodes[one]] if share.size else "",
        target=names[rows[row]] if share.size else "",
    )


def _terms(graph: Graph) -> Float[np.ndarray, "n_rows"]:
    books = graph.books
    edges = np.asarray(abs(graph.adjacency).sum(axis=1, dtype=np.float64)).ravel()
    return edges + np.abs(books.constant) + np.abs(books.omitted) + np.abs(books.rounding)


def _acts_now(observed: Observation, graph: Graph) -> Float[np.ndarray, "n_features"]:
    """Activations on the prompt of the graph's features; 0 for those that are not active."""
    now = {
        (layer, pos, idx): act
        for layer, acts in observed.acts.items()
        for pos, idx, act in zip(acts.pos.tolist(), acts.feature_idx.tolist(), acts.acts.tolist(), strict=True)
    }
    return np.array([now.get(tuple(row), 0.0) for row in graph.features.tolist()])


def _target_value(observed: Observation, graph: Graph, index: int) -> float:
    target = graph.targets[index]
    if not target.token_ids:  # a direction is not in the file; a feature's value is compared where it is a node
        return float(graph.books.pre_act[graph.layout.target_rows][index])
    logits = mean_free(observed.capture.logits[observed.capture.logit_positions.index(target.pos)])
    first, *second = (float(logits[token_id]) for token_id in target.token_ids)
    return first - sum(second)


def _largest_error(said: Float[np.ndarray, "n"], now: Float[np.ndarray, "n"]) -> float:
    largest = float(np.abs(said).max(initial=0.0))
    return float(np.abs(said - now).max(initial=0.0)) / largest if largest > 0 else 0.0
