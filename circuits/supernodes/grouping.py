"""Which nodes of a graph belong together: by hand, from a file, or found by `circuits.supernodes.automatic`."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from circuits.graph import Graph
from replacement_model.errors import InputError
from replacement_model.interventions.features import Feature, Supernode

__all__ = ["Group", "Grouping"]


@dataclass(frozen=True, slots=True)
class Group:
    """A supernode: some nodes of a graph under one name.

    Attributes:
        label: short text for people; need not be unique.
        nodes: in the numbering of the graph's `Layout`, in any order.
    """

    label: str
    nodes: tuple[int, ...]

    def features(self, graph: Graph) -> tuple[tuple[int, int, int], ...]:
        """(layer, pos, feature_idx) of the features among its nodes: what an intervention acts on."""
        rows = graph.features[[node for node in self.nodes if node < graph.layout.n_features]]
        return tuple((layer, pos, idx) for layer, pos, idx in rows.tolist())

    def supernode(self, graph: Graph) -> Supernode:
        """Its features with their activations on the graph's prompt, to intervene on or to swap in.

        Raises:
            InputError: the graph was read from a file without activations.
        """
        features = tuple(Feature(layer, idx, pos) for layer, pos, idx in self.features(graph))
        nodes = [node for node in self.nodes if node < graph.layout.n_features]
        if np.isnan(graph.feature_acts[nodes]).any():
            raise InputError(
                f"expected activations of the features of {self.label!r}, the file that the graph was read from has "
                "none; intervene on its features() and give values"
            )
        return Supernode(self.label, features, tuple(graph.feature_acts[nodes].astype(float).tolist()))


@dataclass(frozen=True, slots=True)
class Grouping:
    """Supernodes of one graph. A node belongs to at most one; those in none stand for themselves.

    Raises:
        InputError: a supernode is empty, or a node is given twice.
    """

    groups: tuple[Group, ...]

    def __post_init__(self) -> None:
        for group in self.groups:
            if not group.nodes:
                raise InputError(f"expected nodes in supernode {group.label!r}, got none; leave it out")
        times = Counter(node for group in self.groups for node in group.nodes)
        twice = [node for node, count in times.items() if count > 1]
        if twice:
            names = " and ".join(repr(group.label) for group in self.groups if twice[0] in group.nodes)
            raise InputError(f"expected each node in one supernode, got node {twice[0]} twice ({names}); take one out")

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)

    def named(self, label: str) -> Group:
        """The supernode with this label.

        Raises:
            InputError: there is none, or several.
        """
        found = [group for group in self.groups if group.label == label]
        if len(found) != 1:
            labels = ", ".join(repr(group.label) for group in self.groups) or "none"
            raise InputError(f"expected one supernode {label!r}, found {len(found)}; there are: {labels}")
        return found[0]

    def within(self, kept: Bool[np.ndarray, "n_nodes"]) -> "Grouping":
        """The same supernodes with only those nodes that are kept; one that loses all is left out."""
        cut = [Group(group.label, tuple(node for node in group.nodes if kept[node])) for group in self.groups]
        return Grouping(tuple(group for group in cut if group.nodes))

    def membership(self, nodes: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """For each of `nodes` the number of its supernode, -1 where it has none."""
        number = {node: k for k, group in enumerate(self.groups) for node in group.nodes}
        return np.array([number.get(node, -1) for node in nodes.tolist()], dtype=np.int64)
