"""What switches the "unknown" supernode on and off: the parts of its features' pre-activations.

A feature is on *by default* if what no entity changes (constants, the template's tokens) is enough to activate it; it
is *suppressed* where parts that come from the entity lower it. Parts are direct effects, which add up to the
pre-activation exactly.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from circuits.attribution import attribute
from circuits.graph import Graph
from circuits.pocket_scores import evenly_spaced
from circuits.studies.hallucination.entity_table import ENTITY_ROLES, position_roles
from circuits.studies.hallucination.reading import OUTCOMES, Reading
from circuits.studies.hallucination.supernodes import Member
from circuits.targets import FeatureTarget
from replacement_model import ReplacementModel

__all__ = ["PARTS", "input_parts"]

PARTS = (
    "constants",
    "tokens around the entity",
    "tokens of the entity",
    "features around the entity",
    "features at the entity",
    "errors",
)


def input_parts(
    model: ReplacementModel, readings: Sequence[Reading], members: Sequence[Member], n_each: int
) -> list[dict[str, Any]]:
    """Means over at most `n_each` prompts of each outcome, for every feature of the supernode.

    Returns:
        For each feature and outcome: `feature`, `outcome`, `n`, `pre_activation`, `threshold_passed` (share of prompts
        on which it is active), and `parts`, which add up to the pre-activation.
    """
    found = []
    for outcome in OUTCOMES:
        prompts = evenly_spaced([one for one in readings if one.outcome == outcome], n_each)
        if not prompts:
            continue
        rows = [_parts(model, one, members) for one in prompts]
        for number, member in enumerate(members):
            values = np.array([row[number] for row in rows])  # [prompt, part]
            active = [any(one.place == member.place for one in reading.features) for reading in prompts]
            found.append(
                {
                    "feature": member.name,
                    "outcome": outcome,
                    "n": len(prompts),
                    "pre_activation": float(values.sum(1).mean()),
                    "active": float(np.mean(active)),
                    "parts": dict(zip(PARTS, values.mean(0).tolist(), strict=True)),
                }
            )
    return found


def _parts(model: ReplacementModel, reading: Reading, members: Sequence[Member]) -> list[list[float]]:
    read = model.read_prompt(reading.row.prompt)
    roles = position_roles(model, read, reading.row)
    targets = [FeatureTarget(one.layer, one.feature_idx, roles.index(one.role)) for one in members]
    graph = attribute(model, read, targets)
    return [_row(graph, number, roles) for number in range(len(members))]


def _row(graph: Graph, number: int, roles: Sequence[str]) -> list[float]:
    layout, row = graph.layout, graph.layout.n_features + number
    edges = graph.adjacency[[row]].toarray()[0].astype(np.float64)
    at_entity = np.isin(np.array(roles), ENTITY_ROLES)
    features, tokens = edges[layout.feature_nodes], edges[layout.token_nodes]
    of_entity = at_entity[graph.features[:, 1]]
    books = graph.books
    return [
        float(books.constant[row] + books.omitted[row] + books.rounding[row]),
        float(tokens[~at_entity].sum()),
        float(tokens[at_entity].sum()),
        float(features[~of_entity].sum()),
        float(features[of_entity].sum()),
        float(edges[layout.error_nodes].sum()),
    ]
