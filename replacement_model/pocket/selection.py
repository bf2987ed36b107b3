"""Choosing among seeds on the validation split, and keeping the record for the card."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from replacement_model.errors import WeightsError
from replacement_model.formats.files import read_json, write_json
from replacement_model.pocket.evaluation import Evaluation

__all__ = ["CANDIDATES_FILE", "Candidate", "best_candidate", "load_candidates", "save_candidates", "summarize"]

CANDIDATES_FILE = "candidates.json"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One seed on the validation split.

    Attributes:
        seed: of the language model and its transcoders.
        accuracy: held-out accuracy by task, each prompt counted once.
        strict_capital: two hops to the capital from strict cities.
        without_city_mlps, without_last_mlps: two-hop accuracy in the circuit tests.
        clt_fvu, clt_l0, clt_agreement: of the cross-layer transcoder on unseen contexts and prompts.
    """

    seed: int
    accuracy: dict[str, float]
    strict_capital: float
    without_city_mlps: float
    without_last_mlps: float
    clt_fvu: float
    clt_l0: float
    clt_agreement: float

    @property
    def score(self) -> float:
        """What seeds are ranked by: the mean over tasks of held-out accuracy, plus the replacement's agreement."""
        return sum(self.accuracy.values()) / len(self.accuracy) + self.clt_agreement


def summarize(seed: int, evaluation: Evaluation) -> Candidate:
    """The figures that decide, from an evaluation on the validation split."""
    held_out = [one for one in evaluation.tasks if one.split == evaluation.split]
    tasks = dict.fromkeys(one.task for one in held_out)
    strict = next(one for one in held_out if one.subset == "strict cities, capital")
    clt = evaluation.transcoders[0]
    return Candidate(
        seed=seed,
        accuracy={task: evaluation.accuracy(task) for task in tasks},
        strict_capital=strict.accuracy,
        without_city_mlps=evaluation.circuit_tests.accuracy_without_city_mlps,
        without_last_mlps=evaluation.circuit_tests.accuracy_without_last_mlps,
        clt_fvu=clt.unseen.mean_fvu,
        clt_l0=clt.unseen.mean_l0,
        clt_agreement=clt.agreement[0].top1,
    )


def best_candidate(candidates: Mapping[int, Candidate]) -> int:
    """The seed with the highest score; the smaller seed if two are equal."""
    return max(sorted(candidates), key=lambda seed: candidates[seed].score)


def save_candidates(candidates: Mapping[int, Candidate], weights_dir: Path) -> None:
    """Write the record beside the weights."""
    rows = [asdict(candidates[seed]) for seed in sorted(candidates)]
    write_json(weights_dir / CANDIDATES_FILE, {"schema_version": 1, "candidates": rows})


def load_candidates(weights_dir: Path) -> dict[int, Candidate]:
    """Read the record; empty where there is none, as beside weights that were just rebuilt.

    Raises:
        WeightsError: the file is damaged.
    """
    path = weights_dir / CANDIDATES_FILE
    if not path.is_file():
        return {}
    try:
        return {row["seed"]: Candidate(**row) for row in read_json(path)["candidates"]}
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{path} is not a record of candidates ({error}); rank the seeds again") from error
