"""Scores of attribution graphs of the pocket model, task by task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from circuits.attribution import attribute
from circuits.pruning import prune
from replacement_model import ReplacementModel
from replacement_model.errors import InputError
from replacement_model.pocket import WEIGHTS_DIR
from replacement_model.pocket.corpus import build_corpus
from replacement_model.pocket.prompts import Prompt

__all__ = ["TaskScores", "evenly_spaced", "score_pocket_graphs"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TaskScores:
    """Means over the graphs of one task's prompts, each traced to its salient logits.

    Attributes:
        transcoder: `clt` or `plt`.
        task: of the corpus.
        n_prompts: graphs.
        replacement_score, completeness_score: of the unpruned graphs.
        n_kept_features: features that pruning at its default thresholds keeps.
        books: the worst residual.
    """

    transcoder: str
    task: str
    n_prompts: int
    replacement_score: float
    completeness_score: float
    n_kept_features: float
    books: float


def score_pocket_graphs(
    weights_dir: Path = WEIGHTS_DIR,
    split: str = "test",
    n_per_task: int = 20,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[TaskScores, ...]:
    """Trace up to `n_per_task` prompts of each task, evenly spaced over those of `split`, with both transcoders.

    Args:
        weights_dir: folder with `model`, `clt` and `plt`.
        split: of the corpus.
        n_per_task: prompts per task.
        progress: called with (what, number of the task, number of tasks).

    Raises:
        InputError: fewer than one prompt per task.
    """
    if n_per_task < 1:
        raise InputError(f"expected at least one prompt per task, got {n_per_task}")
    prompts: dict[str, list[Prompt]] = {}
    for prompt in build_corpus().select(split):
        prompts.setdefault(prompt.task, []).append(prompt)
    jobs = [(kind, task) for kind in ("clt", "plt") for task in prompts]
    models = {
        kind: ReplacementModel.from_pretrained(weights_dir / "model", weights_dir / kind) for kind in ("clt", "plt")
    }
    scores = []
    for number, (kind, task) in enumerate(jobs):
        scores.append(_score(models[kind], kind, task, evenly_spaced(prompts[task], n_per_task)))
        if progress is not None:
            progress(f"graphs of {task}, {kind}", number + 1, len(jobs))
    return tuple(scores)


def evenly_spaced(items: Sequence[T], count: int) -> list[T]:
    """At most `count` items, spread over all of them."""
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def _score(model: ReplacementModel, kind: str, task: str, prompts: Sequence[Prompt]) -> TaskScores:
    circuits = [prune(attribute(model, prompt.text)) for prompt in prompts]
    features = [int(one.node_mask[one.graph.layout.feature_nodes].sum()) for one in circuits]
    return TaskScores(
        transcoder=kind,
        task=task,
        n_prompts=len(circuits),
        replacement_score=fmean(one.replacement_score for one in circuits),
        completeness_score=fmean(one.completeness_score for one in circuits),
        n_kept_features=fmean(features),
        books=max(one.graph.books.residual for one in circuits),
    )
