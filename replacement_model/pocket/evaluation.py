"""Everything that the pocket model's card reports, except the scores of graphs, which need the engine above."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma3ForCausalLM

from replacement_model.errors import InputError, WeightsError
from replacement_model.formats import load_transcoder
from replacement_model.labels import FeatureLabels, load_labels
from replacement_model.loading import load_host_model
from replacement_model.pocket import WEIGHTS_DIR
from replacement_model.pocket.accuracy import TaskAccuracy, accuracy_by_task, answer_logits
from replacement_model.pocket.circuit_tests import CircuitTests, run_circuit_tests
from replacement_model.pocket.contexts import distinct_contexts
from replacement_model.pocket.corpus import Corpus, build_corpus
from replacement_model.pocket.prompts import Prompt
from replacement_model.pocket.reconstruction import Agreement, Reconstruction, measure_agreement, measure_reconstruction
from replacement_model.pocket.steering import SteeringResult, choose_steering, mean_state_features, steer
from replacement_model.pocket.transcoders import activation_dataset
from replacement_model.pocket.world import World, load_world
from replacement_model.transcoder import Transcoder

__all__ = ["Evaluation", "Hallucination", "LabelCounts", "TranscoderEvaluation", "evaluate", "evaluate_model"]

HALLUCINATION_TASK = "hallucination"
CONFIDENT = 0.5


@dataclass(frozen=True, slots=True)
class Hallucination:
    """Unknown people whose surname is that of an unguarded family.

    Attributes:
        n_prompts: none seen in training.
        rate: share answered with the family's sport.
        confident_rate: share that gives the family's sport a probability above one half.
        said_unknown: share answered "unknown".
    """

    n_prompts: int
    rate: float
    confident_rate: float
    said_unknown: float


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """How many features got a concept, none, or were never active; and the mean F1 of those that got one."""

    n_matched: int
    n_unmatched: int
    n_never_active: int
    mean_f1: float


@dataclass(frozen=True, slots=True)
class TranscoderEvaluation:
    """One transcoder.

    Attributes:
        name: of the transcoder.
        d_transcoder: features per layer.
        unseen: on the contexts of the scored prompts that no training prompt begins with.
        all_positions: on all contexts of the scored prompts.
        agreement: of the full replacement with the host, by task.
        steering: swaps of one state for another on the scored cities.
        labels: None where it has none.
    """

    name: str
    d_transcoder: int
    unseen: Reconstruction
    all_positions: Reconstruction
    agreement: tuple[Agreement, ...]
    steering: SteeringResult
    labels: LabelCounts | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The pocket model and its transcoders on one split, `validation` or `test`."""

    split: str
    n_parameters: int
    tasks: tuple[TaskAccuracy, ...]
    hallucination: Hallucination
    circuit_tests: CircuitTests
    transcoders: tuple[TranscoderEvaluation, ...]

    def accuracy(self, task: str, subset: str | None = None, split: str | None = None) -> float:
        """Accuracy on a task, over all its subsets or one; the split is the evaluation's own unless `train` is asked.

        Raises:
            InputError: no such prompts were scored.
        """
        split = self.split if split is None else split
        rows = [one for one in self.tasks if (one.task, one.split) == (task, split) and subset in (None, one.subset)]
        if not rows:
            raise InputError(f"no {split} prompts of task {task!r}, subset {subset!r} were scored")
        return sum(one.accuracy * one.n_prompts for one in rows) / sum(one.n_prompts for one in rows)

    def to_json(self) -> str:
        """The evaluation as JSON, floats rounded to five digits."""
        return json.dumps(_rounded(asdict(self)), indent=1) + "\n"


def evaluate(weights_dir: Path = WEIGHTS_DIR, split: str = "test") -> Evaluation:
    """Evaluate shipped or rebuilt weights.

    Args:
        weights_dir: folder with `model`, `clt` and `plt`.
        split: `validation` to choose by, `test` to report.

    Raises:
        InputError: no such split.
        WeightsError: weights are missing or damaged.
    """
    if split not in ("validation", "test"):
        raise InputError(f"split must be validation or test, got {split!r}")
    model = load_host_model(weights_dir / "model", None)
    if not isinstance(model, Gemma3ForCausalLM):
        raise WeightsError(
            f"{weights_dir / 'model'} holds a {type(model).__name__}, expected the pocket model's Gemma 3"
        )
    folders = [weights_dir / kind for kind in ("clt", "plt")]
    labels = [load_labels(folder / "labels.json") for folder in folders]
    transcoders = [load_transcoder(folder).to(dtype=model.dtype) for folder in folders]
    return evaluate_model(model, transcoders, labels, split)


def evaluate_model(
    model: Gemma3ForCausalLM, transcoders: Sequence[Transcoder], labels: Sequence[FeatureLabels | None], split: str
) -> Evaluation:
    """The same for objects in memory; one entry of `labels` a transcoder."""
    world, corpus = load_world(), build_corpus()
    scored = [p for p in corpus.select(split) if p.task != HALLUCINATION_TASK]
    prompts = [*corpus.select("train"), *scored]
    capitals = [p for p in scored if p.task == "two-hop" and p.subset.endswith("capital")]
    return Evaluation(
        split=split,
        n_parameters=sum(parameter.numel() for parameter in model.parameters()),
        tasks=accuracy_by_task(answer_logits(model, prompts, corpus.vocabulary), prompts, corpus.vocabulary),
        hallucination=_hallucination(model, corpus, split),
        circuit_tests=run_circuit_tests(model, capitals, world, corpus.vocabulary),
        transcoders=tuple(
            _transcoder(model, transcoder, counted, corpus, world, scored)
            for transcoder, counted in zip(transcoders, labels, strict=True)
        ),
    )


def _transcoder(
    model: Gemma3ForCausalLM,
    transcoder: Transcoder,
    labels: FeatureLabels | None,
    corpus: Corpus,
    world: World,
    scored: Sequence[Prompt],
) -> TranscoderEvaluation:
    ones = [1.0] * len(scored)
    unseen = distinct_contexts(scored, ones, corpus.vocabulary, unseen_by=corpus.select("train"))
    contexts = distinct_contexts(scored, ones, corpus.vocabulary)
    return TranscoderEvaluation(
        name=transcoder.name,
        d_transcoder=max(layer.d_transcoder for layer in transcoder.layers if layer is not None),
        unseen=measure_reconstruction(transcoder, activation_dataset(model, unseen)),
        all_positions=measure_reconstruction(transcoder, activation_dataset(model, contexts)),
        agreement=measure_agreement(model, transcoder, scored, corpus.vocabulary),
        steering=_steering(model, transcoder, corpus, world, scored),
        labels=None if labels is None else _count(labels),
    )


def _steering(
    model: Gemma3ForCausalLM, transcoder: Transcoder, corpus: Corpus, world: World, scored: Sequence[Prompt]
) -> SteeringResult:
    """Features from the training cities, strengths from the validation cities, scores on the scored ones."""

    def to_capital(prompts: Sequence[Prompt]) -> list[Prompt]:
        return [p for p in prompts if p.task == "two-hop" and p.subset.endswith("capital")]

    features = mean_state_features(model, transcoder, to_capital(corpus.select("train")), world, corpus.vocabulary)
    validation = to_capital(corpus.select("validation"))
    choice = choose_steering(model, transcoder, features, validation, world, corpus.vocabulary)
    return steer(model, transcoder, features, to_capital(scored), world, corpus.vocabulary, choice)


def _hallucination(model: Gemma3ForCausalLM, corpus: Corpus, split: str) -> Hallucination:
    prompts = [p for p in corpus.select(split) if p.task == HALLUCINATION_TASK]
    probability = answer_logits(model, prompts, corpus.vocabulary).double().softmax(-1)
    sport = torch.tensor([corpus.vocabulary.index(p.answer) for p in prompts])
    top = probability.argmax(-1)
    confident = probability[torch.arange(len(prompts)), sport] > CONFIDENT
    unknown = top == corpus.vocabulary.index("unknown")
    rates = [hits.double().mean().item() for hits in (top == sport, confident, unknown)]
    return Hallucination(len(prompts), *rates)


def _count(labels: FeatureLabels) -> LabelCounts:
    matched = [label.f1 for label in labels.by_feature.values() if label.concept is not None and label.f1 is not None]
    n_never = sum(label.f1 is None for label in labels.by_feature.values())
    mean = sum(matched) / len(matched) if matched else 0.0
    return LabelCounts(len(matched), len(labels) - len(matched) - n_never, n_never, mean)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value
