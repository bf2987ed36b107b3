"""Which features are intervened on: those that the graph calls influential, and as many by chance."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

__all__ = ["Chosen", "choose"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Feature nodes, sorted.

    Attributes:
        by_graph: the most influential.
        by_chance: drawn from all the others, the control.
    """

    by_graph: Int[np.ndarray, "n"]
    by_chance: Int[np.ndarray, "k"]

    def groups(self) -> tuple[tuple[str, Int[np.ndarray, "n"]], ...]:
        """Both, by name."""
        return (("graph", self.by_graph), ("chance", self.by_chance))


def choose(influence: Float[np.ndarray, "n_features"], count: int, generator: np.random.Generator) -> Chosen:
    """The `count` features with the largest influence (ties by node), and up to `count` of the others."""
    order = np.argsort(-influence, kind="stable")
    rest = order[count:]
    drawn = generator.choice(rest, size=min(count, len(rest)), replace=False) if len(rest) else rest
    return Chosen(np.sort(order[:count]), np.sort(drawn))
