"""What is measured of every prompt before anything is chosen: what the model says, and the graph behind it.

Each prompt is traced to two logits, the model's answer and its strongest rival of the other kind: if it declines, the
strongest answer, else the strongest declining token. Their difference, declining minus answering, is the *contrast*.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuits.attribution import attribute
from circuits.graph import Graph
from circuits.studies.hallucination.entity_table import ENTITY_ROLES, EntityPrompt, EntityTable, position_roles
from circuits.studies.hallucination.structure import structure
from circuits.studies.signed_effects import signed_effects
from replacement_model import ReplacementModel

__all__ = ["OUTCOMES", "READ_ROLES", "FeatureReading", "Reading", "TokenSets", "read_prompts", "token_sets"]

OUTCOMES = ("known, right", "known, wrong", "unknown, declined", "unknown, invented")
READ_ROLES = ("entity", "entity end", "last")
PART = 50


@dataclass(frozen=True, slots=True)
class FeatureReading:
    """An active feature of a prompt, at the entity or the last position.

    Attributes:
        edge: its direct effect on the contrast.
        effect: its total effect on the contrast (`signed_effects`).
    """

    layer: int
    pos: int
    feature_idx: int
    role: str
    activation: float
    edge: float
    effect: float

    @property
    def place(self) -> tuple[str, int, int]:
        """Role, layer and index: the same feature at the same place of another prompt."""
        return self.role, self.layer, self.feature_idx


@dataclass(frozen=True, slots=True)
class Reading:
    """A prompt as the model reads it.

    Attributes:
        row: the prompt.
        answer: the most probable next token, and its probability.
        declined: whether that is a declining token.
        right: whether it is a right one.
        entropy: of the next token, in nats; margin: of the logits of the first over the second.
        shape: tokens, where the entity ends, and its tokens.
        structure: `hallucination_structure.structure`.
        features: active ones at the roles `READ_ROLES`.
        effects: total effects on the contrast of the tokens (by role) and of all errors.
    """

    row: EntityPrompt
    answer: str
    probability: float
    declined: bool
    right: bool
    entropy: float
    margin: float
    contrast: float
    shape: dict[str, float]
    structure: dict[str, float]
    features: tuple[FeatureReading, ...]
    effects: dict[str, float]

    @property
    def outcome(self) -> str:
        """One of `OUTCOMES`."""
        if self.row.kind == "known":
            return OUTCOMES[0] if self.right else OUTCOMES[1]
        return OUTCOMES[2] if self.declined else OUTCOMES[3]


@dataclass(frozen=True, slots=True)
class TokenSets:
    """Token ids of a table: by text, and those that count as answers (None: all that do not decline)."""

    ids: dict[str, int]
    answers: tuple[int, ...] | None

    def of(self, texts: Sequence[str]) -> list[int]:
        return [self.ids[text] for text in texts]

    def strongest_answer(self, logits: Float[Tensor, "d_vocab"], declines: Sequence[int]) -> int:
        """The answer with the largest logit."""
        allowed = torch.full_like(logits, -torch.inf)
        where = slice(None) if self.answers is None else list(self.answers)
        allowed[where] = logits[where]
        allowed[list(declines)] = -torch.inf
        return int(allowed.argmax())

    def is_answer(self, token_id: int, declines: Sequence[int]) -> bool:
        """Whether a token counts as an answer."""
        return token_id not in declines and (self.answers is None or token_id in self.answers)


def token_sets(model: ReplacementModel, table: EntityTable) -> TokenSets:
    """Ids of all tokens that a table names.

    Raises:
        InputError: one is no single token of this model.
    """
    texts = dict.fromkeys(text for row in table.prompts for text in (*row.right, *row.declines))
    ids = {text: model.token_id(text) for text in (*texts, *table.answers)}
    return TokenSets(ids, tuple(ids[text] for text in table.answers) or None)


def read_prompts(
    model: ReplacementModel,
    table: EntityTable,
    piece: Callable[[str, Callable[[], Any]], Any],
    name: str,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Reading, ...]:
    """Read every prompt of a table, in parts that are kept by `piece`.

    Args:
        model: the replacement model.
        table: the prompts.
        piece: `StudyFolder.piece`.
        name: of the pieces.
        progress: called with (what, prompts done, prompts in all).
    """
    sets, rows = token_sets(model, table), table.prompts
    found: list[Reading] = []
    for first in range(0, len(rows), PART):
        part = rows[first : first + PART]
        kept = piece(f"{name}-{first // PART:03d}", partial(_read_all, model, part, sets))
        found.extend(_from_plain(row, one) for row, one in zip(part, kept, strict=True))
        if progress is not None:
            progress(f"graphs, {name}", len(found), len(rows))
    return tuple(found)


def _read_all(model: ReplacementModel, rows: Sequence[EntityPrompt], sets: TokenSets) -> list[dict[str, Any]]:
    return [_read(model, row, sets) for row in rows]


def _read(model: ReplacementModel, row: EntityPrompt, sets: TokenSets) -> dict[str, Any]:
    read = model.read_prompt(row.prompt)
    roles = position_roles(model, read, row)
    logits = model.capture(read).logits[-1].double()
    declines = sets.of(row.declines)
    answer = int(logits.argmax())
    declined = answer in declines
    rival = sets.strongest_answer(logits, declines) if declined else max(declines, key=lambda one: float(logits[one]))
    graph = attribute(model, read, [answer, rival])
    weights = np.array([1.0, -1.0]) if declined else np.array([-1.0, 1.0])
    probability = model.host.capped(logits).softmax(-1)
    first, second = logits.topk(2).values.tolist()
    plain = {
        "answer": model.token_string(answer),
        "probability": float(probability[answer]),
        "declined": declined,
        "right": answer in sets.of(row.right),
        "entropy": float(torch.special.entr(probability).sum()),
        "margin": first - second,
        "contrast": float(logits[answer] - logits[rival]) * float(weights[0]),
        "shape": _shape(roles),
        "structure": structure(graph, roles),
    }
    return {key: _short(value) for key, value in (plain | _effects(graph, roles, weights)).items()}


def _shape(roles: Sequence[str]) -> dict[str, float]:
    entity = [pos for pos, role in enumerate(roles) if role in ENTITY_ROLES] or [len(roles) - 1]
    return {"tokens": float(len(roles)), "entity's end": float(entity[-1]), "entity's tokens": float(len(entity))}


def _effects(graph: Graph, roles: Sequence[str], weights: Float[np.ndarray, "2"]) -> dict[str, Any]:
    layout = graph.layout
    total = signed_effects(graph, weights)
    direct = weights @ graph.adjacency[layout.target_rows].astype(np.float64)
    features = [
        (layer, pos, idx, roles[pos], float(graph.feature_acts[node]), float(direct[node]), float(total[node]))
        for node, (layer, pos, idx) in enumerate(graph.features.tolist())
        if roles[pos] in READ_ROLES
    ]
    tokens = total[layout.token_nodes]
    effects = {f"token, {role}": 0.0 for role in roles}
    for pos, role in enumerate(roles):
        effects[f"token, {role}"] += float(tokens[pos])
    return {"features": features, "effects": effects | {"errors": float(total[layout.error_nodes].sum())}}


def _from_plain(row: EntityPrompt, plain: dict[str, Any]) -> Reading:
    features = tuple(FeatureReading(*values) for values in plain["features"])
    return Reading(row, **{**plain, "features": features})


def _short(value: Any) -> Any:
    """The same with floats of seven digits, so that files stay small."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    return [_short(one) for one in value] if isinstance(value, (list, tuple)) else value
