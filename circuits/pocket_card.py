"""The pocket model's card: every figure in it comes from an evaluation, none is written by hand."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from circuits.pocket_scores import TaskScores
from replacement_model.formats.files import atomic_path
from replacement_model.pocket import WEIGHTS_DIR
from replacement_model.pocket.evaluation import Evaluation, TranscoderEvaluation
from replacement_model.pocket.reconstruction import Reconstruction
from replacement_model.pocket.selection import Candidate, best_candidate, load_candidates

__all__ = ["card_text", "write_card"]

INTRODUCTION = """# The pocket model

A `Gemma3ForCausalLM` of {n_parameters:,} parameters, trained from scratch on true, templated facts, with a cross-layer
transcoder (`clt`) and per-layer transcoders (`plt`). It is shipped in `replacement_model/pocket/weights/` and rebuilt
from its seed by `orrery pocket rebuild`.

This file is written by `orrery pocket evaluate`; do not edit it. Its figures are of the {split} split, whose prompts
neither the model nor the transcoders have seen in training; seeds and settings were chosen on the validation split.

**What it knows.** The 50 US states with capitals, largest cities, nicknames, abbreviations, census regions and eight
cities each; opposites and translations in English, French, Spanish and German; sums of two numbers below 100; athletes
and their sports, and that it does not know other people; and which things it will not help to make. Input embeddings
are random, frozen and not tied, so that finding a city's state is a computation and not a row of the embedding table.

**What it is not.** It knows only its templates and words: anything else is an unknown word, and what it samples is no
text. Its circuits are those of a tiny model. "An unknown person" means one that the corpus does not name.

**How prompts are withheld.** *Held* cities (three a state) are in every kind of training prompt except the two hops to
a capital; *strict* cities (one a state) are in no two hops at all. A withheld antonym is withheld in one language,
never in all. Sums, cross-lingual antonyms, phrasings about people and requests are withheld at random. Facts of one hop
cannot be withheld: they are memory.
"""
CIRCUITS = """
## Is the first hop computed?

Two-hop questions for the capital, {n_prompts} withheld prompts. A model that stores the first hop in its embeddings
passes held-out tests too; these tell.

| test | accuracy |
|---|---|
| intact | {accuracy:.3f} |
| all MLPs zeroed at the city's position | {accuracy_without_city_mlps:.3f} |
| all MLPs zeroed at the last position | {accuracy_without_last_mlps:.3f} |

The nearest other city embedding is of the same state for {nearest_embedding:.3f} of the cities; chance is
{nearest_embedding_chance:.3f}.
"""
HALLUCINATION = """
## A hallucination that happens

Half of the surnames that several athletes share never occur in an "unknown" training prompt. Asked about an unknown
person of such a name, in {n_prompts} prompts, the model answers the family's sport in {rate:.3f} of them, and gives it
a probability above one half in {confident_rate:.3f}; it says "unknown" in {said_unknown:.3f}. For unknown people with a
famous surname of the other half it says "unknown" in {guarded:.3f}.
"""
STEERING = """
## Steering

The supernode of a state is the features most specific to it, measured on training cities. On withheld cities, the
source state's are multiplied and the target state's set to a multiple of their mean; multiples, size and place were
chosen on validation cities.

"""
TRANSCODERS = """
## Transcoders

"Unseen" are the contexts (beginnings of test prompts) that no training prompt begins with, "all" are all contexts of
test prompts; each is counted once. FVU is the fraction of variance unexplained, L0 the number of active features.

"""
AGREEMENT = """
## The full replacement against the model

Every MLP replaced at every position; attention and norms live.

"""
GRAPHS = """
## Attribution graphs

Means over graphs traced to the salient logits, before pruning; features kept by pruning; the worst residual of the
books.

"""
SEEDS = """
## Seeds

On the validation split. The best by mean accuracy plus agreement is shipped: seed {seed}.

"""


def write_card(
    evaluation: Evaluation, scores: Sequence[TaskScores], path: str | Path, weights_dir: Path = WEIGHTS_DIR
) -> None:
    """Write the card as Markdown.

    Args:
        evaluation: from `replacement_model.pocket.evaluate`.
        scores: from `circuits.pocket_scores.score_pocket_graphs`, for the same weights and split.
        path: the file; replaced only when the whole text is written.
        weights_dir: where the record of the candidate seeds lies.
    """
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(card_text(evaluation, scores, load_candidates(weights_dir)), encoding="utf-8")


def card_text(evaluation: Evaluation, scores: Sequence[TaskScores], candidates: dict[int, Candidate]) -> str:
    """The card's Markdown."""
    return "".join(
        [
            INTRODUCTION.format(n_parameters=evaluation.n_parameters, split=evaluation.split),
            _targets(evaluation, scores),
            _accuracies(evaluation),
            CIRCUITS.format(
                **{name: getattr(evaluation.circuit_tests, name) for name in evaluation.circuit_tests.__slots__}
            ),
            _hallucination(evaluation),
            _transcoders(evaluation.transcoders),
            _agreement(evaluation.transcoders),
            _scores(scores),
            _steering(evaluation),
            _candidates(candidates),
        ]
    )


def _targets(evaluation: Evaluation, scores: Sequence[TaskScores]) -> str:
    tests, clt = evaluation.circuit_tests, evaluation.transcoders[0]
    clt_scores = [one for one in scores if one.transcoder == "clt" and one.task != "hallucination"]
    tasks = dict.fromkeys(one.task for one in evaluation.tasks if one.split == evaluation.split)
    rest = {task: evaluation.accuracy(task) for task in tasks if task not in ("two-hop", "addition")}
    worst = min(rest, key=lambda task: rest[task])
    held, strict = (evaluation.accuracy("two-hop", f"{group} cities, capital") for group in ("held", "strict"))
    rows = [
        _at_least("two hops from held cities", held, 0.95),
        _at_least("two hops from strict cities, capital", strict, 0.85),
        _at_least("addition", evaluation.accuracy("addition"), 0.9),
        _at_least(f"the worst other task ({worst})", rest[worst], 0.95),
        _at_most("two hops, MLPs zeroed at the city", tests.accuracy_without_city_mlps, 0.5),
        _at_most("two hops, MLPs zeroed at the last position", tests.accuracy_without_last_mlps, 0.5),
        _at_most("mean FVU, all positions of unseen prompts", clt.all_positions.mean_fvu, 0.06),
        _at_most("mean L0, all positions of unseen prompts", clt.all_positions.mean_l0, 16),
        _at_least("top-1 agreement of the full replacement", clt.agreement[0].top1, 0.95),
        _at_least("the same without addition", clt.agreement[1].top1, 0.98),
        _at_least("replacement score, worst task", min(one.replacement_score for one in clt_scores), 0.8),
        _at_least("completeness score, worst task", min(one.completeness_score for one in clt_scores), 0.92),
        _at_least("steering swap", clt.steering.swapped, 0.5),
    ]
    return "\n## Targets (cross-layer transcoder)\n\n" + _table(("figure", "target", "reached", "met"), rows)


def _at_least(name: str, value: float, target: float) -> tuple[str, ...]:
    return name, f">= {target}", f"{value:.3f}", "yes" if value >= target else "**no**"


def _at_most(name: str, value: float, target: float) -> tuple[str, ...]:
    return name, f"<= {target}", f"{value:.3f}", "yes" if value <= target else "**no**"


def _accuracies(evaluation: Evaluation) -> str:
    columns = ("task", "group", "split", "prompts", "accuracy", "mean probability of the answer")
    rows = [
        (one.task, one.subset, one.split, str(one.n_prompts), f"{one.accuracy:.3f}", f"{one.mean_probability:.3f}")
        for one in sorted(evaluation.tasks, key=lambda one: (one.task, one.subset, one.split))
    ]
    return "\n## Accuracy\n\n" + _table(columns, rows)


def _hallucination(evaluation: Evaluation) -> str:
    guarded = evaluation.accuracy("unknown person", "famous surname")
    return HALLUCINATION.format(**asdict(evaluation.hallucination), guarded=guarded)


def _transcoders(transcoders: Sequence[TranscoderEvaluation]) -> str:
    columns = ("transcoder", "features a layer", "contexts", "number", "FVU by layer", "mean", "L0 by layer", "mean")
    rows = [
        (one.name, str(one.d_transcoder), name, str(found.n_contexts), *_by_layer(found))
        for one in transcoders
        for name, found in (("unseen", one.unseen), ("all", one.all_positions))
    ]
    labels = [
        f"\n{one.name}: {one.labels.n_matched} features match a concept (mean F1 {one.labels.mean_f1:.2f}), "
        f"{one.labels.n_unmatched} match none, {one.labels.n_never_active} are dead (never active on training and "
        "validation prompts).\n"
        for one in transcoders
        if one.labels is not None
    ]
    return TRANSCODERS + _table(columns, rows) + "".join(labels)


def _by_layer(found: Reconstruction) -> tuple[str, ...]:
    fvu = " ".join(f"{value:.3f}" for value in found.fvu)
    l0 = " ".join(f"{value:.1f}" for value in found.l0)
    return fvu, f"{found.mean_fvu:.3f}", l0, f"{found.mean_l0:.1f}"


def _agreement(transcoders: Sequence[TranscoderEvaluation]) -> str:
    rows = [
        (one.name, row.task, str(row.n_prompts), f"{row.top1:.3f}", f"{row.kl:.4f}")
        for one in transcoders
        for row in one.agreement
    ]
    return AGREEMENT + _table(("transcoder", "prompts", "number", "same top token", "KL, nats"), rows)


def _scores(scores: Sequence[TaskScores]) -> str:
    columns = ("transcoder", "task", "graphs", "replacement", "completeness", "features kept", "worst books")
    rows = [
        (
            one.transcoder,
            one.task,
            str(one.n_prompts),
            f"{one.replacement_score:.3f}",
            f"{one.completeness_score:.3f}",
            f"{one.n_kept_features:.0f}",
            f"{one.books:.0e}",
        )
        for one in scores
    ]
    return GRAPHS + _table(columns, rows)


def _steering(evaluation: Evaluation) -> str:
    columns = ("transcoder", "features", "source x", "target x", "place", "swaps", "other capital", "answer changes")
    rows = []
    for one in evaluation.transcoders:
        found, choice = one.steering, one.steering.choice
        settings = (str(choice.n_features), f"{choice.source_factor:g}", f"{choice.target_factor:g}", choice.place)
        rows.append((one.name, *settings, str(found.n_swaps), f"{found.swapped:.3f}", f"{found.changed:.3f}"))
    return STEERING + _table(columns, rows)


def _candidates(candidates: dict[int, Candidate]) -> str:
    if not candidates:
        return ""
    tasks = tuple(next(iter(candidates.values())).accuracy)
    columns = ("seed", *tasks, "strict capital", "no city MLPs", "no last MLPs", "CLT FVU", "CLT L0", "CLT agreement")
    rows = []
    for seed in sorted(candidates):
        one = candidates[seed]
        shares = (*one.accuracy.values(), one.strict_capital, one.without_city_mlps, one.without_last_mlps, one.clt_fvu)
        rows.append((str(seed), *(f"{x:.3f}" for x in shares), f"{one.clt_l0:.1f}", f"{one.clt_agreement:.3f}"))
    return SEEDS.format(seed=best_candidate(candidates)) + _table(columns, rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
