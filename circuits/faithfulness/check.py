"""Everything that is checked of one graph, and of several together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from circuits.faithfulness.ablation import AblationCheck, check_ablation
from circuits.faithfulness.comparison import Comparison, compare, trace_again
from circuits.faithfulness.direct import DirectCheck, RecordCheck, check_direct, check_record
from circuits.faithfulness.downstream import DownstreamRow, check_downstream
from circuits.faithfulness.measuring import observe_graph
from circuits.faithfulness.prediction import influence_on, main_target
from circuits.faithfulness.selection import choose
from circuits.faithfulness.stability import Stability, measure_stability
from circuits.faithfulness.summary import AblationSummary, summarise_ablations
from circuits.graph import Graph
from circuits.pruning import Circuit, prune
from replacement_model import ReplacementModel
from replacement_model.display import Displayed
from replacement_model.errors import InputError

__all__ = ["Check", "CheckSettings", "Checks", "check_circuit", "check_circuits"]

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """What is drawn and how much is done.

    Attributes:
        n_chosen: influential features that are intervened on, and as many by chance.
        most_ablations: features ablated each alone, at most; where a graph has more they are drawn by chance.
        seed: of everything that is drawn.
    """

    n_chosen: int = 20
    most_ablations: int = 2000
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """What was found of one graph.

    Attributes:
        prompt, tokens, model, transcoder: of the graph.
        target: label of the target with the largest weight, which effects are measured on.
        n_selected, n_active: features of the graph, and active on the prompt.
        record: activations, targets and sums, against the model.
        direct: edges, against the direct effects that are measured.
        downstream: effects along all paths, against those in the model.
        ablation: influence, against what the model loses; None where the target is no logit.
        stability: what stays over a grid of thresholds.
        comparison: the same prompt with another transcoder; None where none was given.
    """

    prompt: str
    tokens: tuple[str, ...]
    model: str
    transcoder: str
    target: str
    n_selected: int
    n_active: int
    record: RecordCheck
    direct: DirectCheck
    downstream: tuple[DownstreamRow, ...]
    ablation: AblationCheck | None
    stability: Stability
    comparison: Comparison | None

    @property
    def holds(self) -> bool:
        """Whether what must be exact is."""
        return self.record.holds and self.direct.holds


@dataclass(frozen=True, slots=True, eq=False)
class Checks(Displayed):
    """Several graphs.

    Attributes:
        ablation: over all of them; None for fewer than two with an ablation check.
    """

    settings: CheckSettings
    each: tuple[Check, ...]
    ablation: AblationSummary | None

    @property
    def holds(self) -> bool:
        """Whether what must be exact is, in every graph."""
        return all(one.holds for one in self.each)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN is null."""
        found = _plain(self)
        for one, check in zip(found["each"], self.each, strict=True):
            one["holds"] = check.holds
        return {"schema_version": SCHEMA_VERSION, "holds": self.holds, **found}


def check_circuits(
    model: ReplacementModel,
    circuits: Sequence[Circuit | Graph],
    other: ReplacementModel | None = None,
    settings: CheckSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Checks:
    """Test graphs against the model that they were traced with.

    Args:
        model: the one they were traced with.
        circuits: as they were pruned; a graph is pruned at the default thresholds.
        other: the same model with another transcoder, to compare with.
        settings: what is drawn.
        progress: called with (graphs done, graphs in all).

    Raises:
        InputError: a graph was traced with another model or read from graph JSON, or its targets cannot be traced with
            `other`.

    Example:
        >>> from circuits import attribute
        >>> model = ReplacementModel.from_pretrained("pocket")
        >>> found = check_circuits(model, [attribute(model, "the opposite of small is")])
        >>> found.holds
        True
    """
    chosen = CheckSettings() if settings is None else settings
    found = []
    for number, one in enumerate(circuits):
        circuit = one if isinstance(one, Circuit) else prune(one)
        if circuit.graph.read_from is not None:
            raise InputError(
                "expected a graph with all its edges and books, got one that was read from graph JSON, which has "
                "neither; trace the prompt again"
            )
        found.append(check_circuit(model, circuit, other, chosen))
        if progress is not None:
            progress(number + 1, len(circuits))
    ablations = [one.ablation for one in found if one.ablation is not None]
    several = sum(map(_has_correlation, ablations)) > 1
    together = summarise_ablations(ablations, np.random.default_rng(chosen.seed)) if several else None
    return Checks(chosen, tuple(found), together)


def check_circuit(
    model: ReplacementModel, circuit: Circuit, other: ReplacementModel | None, settings: CheckSettings
) -> Check:
    """Test one circuit; see `check_circuits`."""
    graph, rng = circuit.graph, np.random.default_rng(settings.seed)
    observed = observe_graph(model, graph)
    index = main_target(graph)
    chosen = choose(influence_on(graph, index), settings.n_chosen, rng)
    is_logit = graph.targets[index].kind in ("logit", "difference")
    return Check(
        prompt=graph.metadata.prompt,
        tokens=graph.tokens,
        model=graph.metadata.model_name,
        transcoder=graph.metadata.transcoder_name,
        target=graph.targets[index].label,
        n_selected=len(graph.features),
        n_active=sum(len(acts.pos) for acts in observed.acts.values()),
        record=check_record(observed, graph),
        direct=check_direct(observed, graph, chosen),
        downstream=check_downstream(observed, graph, chosen),
        ablation=check_ablation(observed, graph, at_most=settings.most_ablations, generator=rng) if is_logit else None,
        stability=measure_stability(circuit),
        comparison=None if other is None else compare(graph, trace_again(graph, other)),
    )


def _has_correlation(check: AblationCheck) -> bool:
    return all(np.isfinite(value) for value in check.spearman.values())


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, sp.csr_array):  # [target row, source column, value]
        entries = value.tocoo()
        return [[int(r), int(c), float(x)] for r, c, x in zip(*entries.coords, entries.data, strict=True)]
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
