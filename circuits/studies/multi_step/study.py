"""The study of multi-step reasoning: supernodes found through graphs, swapped on prompts that nothing was chosen on.

Per table (cities, meanings, languages, addition, requests) and transcoder:

1. `features`  every case of the split `find` is traced; supernodes of each value (`multi_step_finding`).
2. `tuned`     sizes and strengths are chosen on `tune` (`multi_step_scoring`).
3. `scored`    swaps, controls and comparisons on `score`, which neither of the two has seen.
4. `graphs`    what the graphs of the scored prompts show without any intervention (`multi_step_graphs`).

Each is a piece of the folder, so that an interrupted study goes on where it was.
"""

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from circuits.attribution import attribute
from circuits.graph import Graph
from circuits.graph_file import load_circuit
from circuits.pruning import Circuit, prune
from circuits.studies.folder import StudyFolder
from circuits.studies.multi_step.contents import Content, addition_contents
from circuits.studies.multi_step.examples import Example, ShownSwap, marked_supernodes, show_swaps
from circuits.studies.multi_step.finding import Evidence, find_features
from circuits.studies.multi_step.graphs import Reading, read_graphs
from circuits.studies.multi_step.pocket import pocket_tables
from circuits.studies.multi_step.results import ExperimentResult, experiment_result
from circuits.studies.multi_step.scoring import Trials, chosen_arms, run_arms, tuned_arms
from circuits.studies.multi_step.swaps import Choice
from circuits.studies.multi_step.table import Case, Experiment, Table
from replacement_model import ReplacementModel
from replacement_model.display import Displayed
from replacement_model.interventions import write_specification
from replacement_model.interventions.specification import Case as SpecifiedCase
from replacement_model.interventions.specification import Specification

__all__ = ["MultiStepResult", "Progress", "run"]

SEED = 7
LONGEST_NAME = 40
N_TUNED = 50
N_SHOWN = 3
N_PICTURES = 2
ADDITION = "addition"
QUICK = (1, 3)
"""Cases to find each value on, and to tune and to score on, in a quick run."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class MultiStepResult(Displayed):
    """What was found.

    Attributes:
        quick: a few cases only; such numbers mean nothing.
        experiments: in the order of the tables, transcoder by transcoder.
        contents: what features carry in addition, by transcoder.
        swaps: examples; the same are in the specifications of interventions.
        examples: graphs with the found supernodes.
    """

    quick: bool
    experiments: tuple[ExperimentResult, ...]
    contents: Mapping[str, tuple[Content, ...]]
    swaps: tuple[ShownSwap, ...]
    examples: tuple[Example, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        contents = {name: [one.to_dict() for one in found] for name, found in self.contents.items()}
        return {
            "schema_version": 1,
            "quick": self.quick,
            "experiments": [one.to_dict() for one in self.experiments],
            "contents": contents,
            "swaps": [one.to_dict() for one in self.swaps],
            "examples": [one.to_dict() for one in self.examples],
        }


def run(
    folder: StudyFolder,
    models: Mapping[str, ReplacementModel],
    tables: Sequence[Table] | None = None,
    *,
    quick: bool = False,
    max_feature_nodes: int | None = None,
    progress: Progress | None = None,
) -> MultiStepResult:
    """Run the study, or go on with one that was interrupted; writes the specifications of examples too.

    Args:
        folder: where pieces and graphs go.
        models: the same language model with each transcoder, by the transcoder's short name.
        tables: prompts, such as `load_table(path)`; None for `pocket_tables()`.
        quick: a few prompts only, for a look.
        max_feature_nodes: as for `attribute`; for models with many active features.
        progress: called with (what, number done, number in all).

    Raises:
        InputError: a table does not fit the model.
    """
    given = pocket_tables() if tables is None else tables
    used = [table.reduced(*QUICK) if quick else table for table in given]
    results: list[ExperimentResult] = []
    contents: dict[str, tuple[Content, ...]] = {}
    swaps: list[ShownSwap] = []
    examples: list[Example] = []
    for name, model in models.items():
        specified: list[SpecifiedCase] = []
        for table in used:
            part = _Part(folder, name, model, table, max_feature_nodes, progress)
            evidence = part.evidence()
            found = part.results(evidence)
            results += found
            for one in found:
                shown = show_swaps(model, table, one, evidence[one.experiment.factor], N_SHOWN)
                swaps += [swap for swap, _ in shown]
                specified += [case for _, case in shown]
            examples += part.examples(found, evidence)
            if table.name == ADDITION:
                contents[name] = part.contents()
        file = "interventions.json" if name == next(iter(models)) else f"interventions-{_plain(name)}.json"
        write_specification(folder.path / file, Specification.of(model, specified))
    return MultiStepResult(quick, tuple(results), contents, tuple(swaps), tuple(examples))


@dataclass(frozen=True, slots=True)
class _Part:
    """One table with one transcoder."""

    folder: StudyFolder
    name: str
    model: ReplacementModel
    table: Table
    max_feature_nodes: int | None
    progress: Progress | None

    def results(self, evidence: Mapping[str, Evidence]) -> list[ExperimentResult]:
        tuned, scored = {}, {}
        for experiment in self.table.experiments:
            tuned[experiment.name] = self._tuned(experiment, evidence[experiment.factor])
            scored[experiment.name] = self._scored(experiment, evidence[experiment.factor], tuned[experiment.name])
        readings = self._readings(evidence, scored)
        return [
            experiment_result(
                self.name,
                self.table,
                experiment,
                evidence[experiment.factor],
                tuned[experiment.name],
                scored[experiment.name],
                [reading for reading in readings if reading.experiment == experiment.name],
                self._generator(f"{experiment.name}.intervals"),
            )
            for experiment in self.table.experiments
        ]

    def examples(self, results: Sequence[ExperimentResult], evidence: Mapping[str, Evidence]) -> list[Example]:
        """Graphs of the first experiment's examples."""
        first, found = self.table.experiments[0], []
        for case in self.table.examples(first.factor, N_PICTURES):
            path = self.folder.graph(self._graph_name(case), partial(self._circuit, case))
            graph = load_circuit(path).graph
            nodes = marked_supernodes(graph, case, results, evidence)
            name = path.relative_to(self.folder.path).as_posix()
            found.append(Example(self.name, self.table.name, case.prompt, case.answer, name, nodes))
        return found

    def contents(self) -> tuple[Content, ...]:
        def compute() -> list[dict[str, Any]]:
            cases = [case for case in self.table.cases if case.split != "find"]
            return [one.to_dict() for one in addition_contents(self.model, cases, self._report("what sums carry"))]

        return tuple(Content(**one) for one in self._piece("contents", compute))

    def evidence(self) -> dict[str, Evidence]:
        def compute() -> dict[str, Any]:
            found = find_features(
                self.model,
                self.table,
                self.table.experiments,
                max_feature_nodes=self.max_feature_nodes,
                progress=self._report("finding features"),
            )
            return {factor: one.to_dict() for factor, one in found.items()}

        return {factor: Evidence.from_dict(one) for factor, one in self._piece("features", compute).items()}

    def _tuned(self, experiment: Experiment, evidence: Evidence) -> Trials:
        def compute() -> dict[str, Any]:
            cases = _spread(self.table.select("tune", experiment.factor), N_TUNED)
            arms, report = tuned_arms(experiment), self._report(f"choosing strengths, {experiment.name}")
            return run_arms(self.model, cases, experiment, evidence, arms, swaps_per_case=1, progress=report).to_dict()

        return Trials.from_dict(self._piece(f"{_plain(experiment.name)}.tuned", compute))

    def _scored(self, experiment: Experiment, evidence: Evidence, tuned: Trials) -> Trials:
        def compute() -> dict[str, Any]:
            cases = self.table.select("score", experiment.factor)
            patched = all(swap.prompt is not None for case in cases for swap in case.swaps_of(experiment.factor))
            arms = chosen_arms(experiment, tuned, patched=patched)
            generator, report = self._generator(experiment.name), self._report(f"swapping, {experiment.name}")
            return run_arms(
                self.model, cases, experiment, evidence, arms, generator=generator, progress=report
            ).to_dict()

        return Trials.from_dict(self._piece(f"{_plain(experiment.name)}.scored", compute))

    def _readings(self, evidence: Mapping[str, Evidence], scored: Mapping[str, Trials]) -> list[Reading]:
        choices: dict[tuple[str, str], Choice] = {}
        for name, trials in scored.items():
            for arm in trials.arms:  # the first arm of each hop is the one that was chosen
                choices.setdefault((name, arm.hop), arm.choice)

        def compute() -> list[list[Any]]:
            cases = [case for case in self.table.cases if case.split == "score"]
            found = read_graphs(
                self.model,
                cases,
                self.table.experiments,
                evidence,
                choices,
                max_feature_nodes=self.max_feature_nodes,
                save=self._save,
                progress=self._report("reading graphs"),
            )
            return [one.to_list() for one in found]

        return [Reading(*row) for row in self._piece("graphs", compute)]

    def _save(self, _experiment: Experiment, case: Case, graph: Graph) -> None:
        self.folder.graph(self._graph_name(case), lambda: prune(graph))

    def _circuit(self, case: Case) -> Circuit:
        return prune(attribute(self.model, case.prompt, [case.answer], max_feature_nodes=self.max_feature_nodes))

    def _graph_name(self, case: Case) -> str:
        number = [one.prompt for one in self.table.cases].index(case.prompt)
        return f"{self.name}.{_plain(self.table.name)}.{_plain(case.cluster)[:60]}.{number}"

    def _piece(self, name: str, compute: Callable[[], Any]) -> Any:
        return self.folder.piece(f"{self.name}.{_plain(self.table.name)}.{name}", compute)

    def _generator(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng([SEED, zlib.crc32(f"{self.name}/{self.table.name}/{purpose}".encode())])

    def _report(self, what: str) -> Callable[[int, int], None] | None:
        progress = self.progress
        return None if progress is None else lambda n, total: progress(f"{self.name}: {what}", n, total)


def _spread(cases: Sequence[Case], count: int) -> list[Case]:
    """At most `count` cases, spread over all of them."""
    count = min(count, len(cases))
    return [cases[index * len(cases) // count] for index in range(count)]


def _plain(name: str) -> str:
    """A name for files; different names give different ones."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:LONGEST_NAME]
    return plain if plain == re.sub(r"[ -]+", "-", name) else f"{plain}-{zlib.crc32(name.encode()):08x}".lstrip("-")
