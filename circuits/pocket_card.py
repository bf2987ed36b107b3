"""The pocket model's card: every figure in it comes from an evaluation, none is written by hand."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from circuits.pocket_scores import TaskScores
from replacement_model.formats.files import atomic_path
from replacement_model.pocket import WEIGHTS_DIR
from replacement_model.pocket.evaluation import Evaluation, TranscoderEvaluation
from replacement_model.pocket.reconstruction import Reconstruction
from replacement_model.pocket.selection import Candidate, best_candidate, load_candidates

__all__ = ["card_text", "write_card"]

INTRODUCTION = """# The pocket model

A `Gemma3ForCausalLM` of {n_parameters:,} parameters, trained from scratch on true, templated facts, with a cross-layer transcoder (`clt`)
and per-layer transcoders (`plt`). It is shipped in `replacement_model/pocket/weights/` and rebuilt from its seed by `orrery pocket rebuild`.

This file is written by `orrery pocket evaluate`; do not edit it. Its figures are of the {split} split, whose prompts neither the model
nor the transcoders have seen in training; seeds and settings were chosen on the validation split.

**What it knows.** The 50 US states with capitals, largest cities, nicknames, abbreviations, census regions and eight cities each;
opposites and translations in English, French, Spanish and German; sums of two numbers below 100; athletes and their sports, and
that it does not know other people; and which things it will not help to make. Input embeddings are random, frozen and not
tied, so that finding a city's state is a computation and not a row of the embedding table.

**What it is not.** It knows only its templates and words: anything else is an unknown word, and no sampling from it is text. Its
circuits are those of a tiny model. "An unknown person" means one that the corpus does not name.

**How prompts are withheld.** *Held* cities (three a state) are in every kind of training prompt except the two hops to a capital;
*strict* cities (one a state) are in no two hops at all. A withheld antonym is withheld in one language, never in all. Sums,
cross-lingual antonyms, people's phrasings and requests are withheld at random. Facts of one hop cannot be withheld: they are memory.
"""
CIRCUITS = """
## Is the first hop computed?

Two-hop questions for the capital, {n_prompts} withheld prompts. A model that stores the first hop in its embeddings passes held-out tests
too; these tell.

| test | accuracy |
|---|---|
| intact | {accuracy:.3f} |
| all MLPs zeroed at the city's position | {accuracy_without_city_mlps:.3f} |
| all MLPs zeroed at the last position | {accuracy_without_last_mlps:.3f} |

The nearest other city embedding is of the same state for {nearest_embedding:.3f} of the cities; chance is {nearest_embedding_chance:.3f}.
"""
HALLUCINATION = """
## A hallucination that happens

Half of the surnames that several athletes share never occur in an "unknown" training prompt. Ask about an unknown person of that
name ("Nadia Gasol plays the sport of"), and the model answers the family's sport for {rate:.3f} of {n_prompts} such people, with a probability above
one half for {confident_rate:.3f}; it says "unknown" for {said_unknown:.3f}. For unknown people with a famous surname of the other half it
says "unknown" for {guarded:.3f}.
"""
STEERING = """
## Steering

The supernode of a state is the features most specific to it, measured on training cities. On withheld cities, the source state's are multiplied
and the target state's set to a multiple of their mean; multiples, size and place were chosen on validation cities.

| transcoder | features a state | source x | target x | place | swaps | gives the other capital | answer changes |
|---|---|---|---|---|---|---|---|
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
    others = [t for t in dict.fromkeys(x.task for x in evaluation.tasks if x.split == evaluation.split)]
    rest = {task: evaluation.accuracy(task) for task in others if task not in ("two-hop", "addition")}
    worst = min(rest, key=lambda task: rest[task])
    rows = [
        _at_least("two hops from held cities", evaluation.accuracy("two-hop", "held cities, capital"), 0.95),
        _at_least(
            "two hops from strict cities, capital", evaluation.accuracy("two-hop", "strict cities, capital"), 0.85
        ),
        _at_least("addition", evaluation.accuracy("addition"), 0.9),
        _at_least(f"the worst other task ({worst})", rest[worst], 0.95),
        _at_most("two hops, MLPs zeroed at the city", tests.accuracy_without_city_mlps, 0.5),
        _at_most("two hops, MLPs zeroed at the last position", tests.accuracy_without_last_mlps, 0.5),
        _at_most("mean FVU, all positions of unseen prompts", clt.all_positions.mean_fvu, 0.06),
        _at_most("mean L0, all positions of unseen prompts", clt.all_positions.mean_l0, 16),
        _at_least("top-1 agreement of the full replacement", clt.agreement[0].top1, 0.95),
        _at_least("the same without addition", clt.agreement[1].top1, 0.98),
        _at_least(
            "replacement score, worst task", min((one.replacement_score for one in clt_scores), default=0.0), 0.8
        ),
        _at_least(
            "completeness score, worst task", min((one.completeness_score for one in clt_scores), default=0.0), 0.92
        ),
        _at_least("steering swap", clt.steering.swapped, 0.5),
    ]
    head = "\n## Targets (cross-layer transcoder)\n\n| figure | target | reached | met |\n|---|---|---|---|\n"
    return head + "".join(rows)


def _at_least(name: str, value: float, target: float) -> str:
    return f"| {name} | >= {target} | {value:.3f} | {'yes' if value >= target else '**no**'} |\n"


def _at_most(name: str, value: float, target: float) -> str:
    return f"| {name} | <= {target} | {value:.3f} | {'yes' if value <= target else '**no**'} |\n"


def _accuracies(evaluation: Evaluation) -> str:
    rows = [
        f"| {one.task} | {one.subset} | {one.split} | {one.n_prompts} | {one.accuracy:.3f} | {one.mean_probability:.3f} |\n"
        for one in sorted(evaluation.tasks, key=lambda one: (one.task, one.subset, one.split))
    ]
    head = "\n## Accuracy\n\n| task | group | split | prompts | accuracy | mean probability of the answer |\n|---|---|---|---|---|---|\n"
    return head + "".join(rows)


def _hallucination(evaluation: Evaluation) -> str:
    found = evaluation.hallucination
    values = {name: getattr(found, name) for name in found.__slots__}
    return HALLUCINATION.format(**values, guarded=evaluation.accuracy("unknown person", "famous surname"))


def _transcoders(transcoders: Sequence[TranscoderEvaluation]) -> str:
    head = (
        "\n## Transcoders\n\nUnseen contexts are those that no training prompt begins with, each counted once.\n\n"
        "| transcoder | features a layer | contexts | number | FVU by layer (mean) | L0 by layer (mean) | silent features by layer |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    rows = [
        f"| {one.name} | {one.d_transcoder} | {name} | {found.n_contexts} | {_by_layer(found)} |\n"
        for one in transcoders
        for name, found in (("unseen", one.unseen), ("all positions", one.all_positions))
    ]
    labels = [
        f"\nLabels of {one.name}: {one.labels.n_matched} features match a concept (mean F1 {one.labels.mean_f1:.2f}), "
        f"{one.labels.n_unmatched} match none, {one.labels.n_never_active} are never active.\n"
        for one in transcoders
        if one.labels is not None
    ]
    return head + "".join(rows + labels)


def _by_layer(found: Reconstruction) -> str:
    fvu = " ".join(f"{value:.3f}" for value in found.fvu)
    l0 = " ".join(f"{value:.1f}" for value in found.l0)
    dead = " ".join(str(count) for count in found.n_dead)
    return f"{fvu} ({found.mean_fvu:.3f}) | {l0} ({found.mean_l0:.1f}) | {dead}"


def _agreement(transcoders: Sequence[TranscoderEvaluation]) -> str:
    head = (
        "\n## The full replacement against the model\n\nEvery MLP replaced at every position; attention and norms live.\n\n"
        "| transcoder | prompts | number | same top token | KL, nats |\n|---|---|---|---|---|\n"
    )
    rows = [
        f"| {one.name} | {row.task} | {row.n_prompts} | {row.top1:.3f} | {row.kl:.4f} |\n"
        for one in transcoders
        for row in one.agreement
    ]
    return head + "".join(rows)


def _scores(scores: Sequence[TaskScores]) -> str:
    head = (
        "\n## Attribution graphs\n\nMeans over graphs traced to the salient logits, before pruning; kept features after it.\n\n"
        "| transcoder | task | graphs | replacement | completeness | features kept | worst residual of the books |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    rows = [
        f"| {one.transcoder} | {one.task} | {one.n_prompts} | {one.replacement_score:.3f} | {one.completeness_score:.3f} | "
        f"{one.n_kept_features:.0f} | {one.books:.1e} |\n"
        for one in scores
    ]
    return head + "".join(rows)


def _steering(evaluation: Evaluation) -> str:
    rows = []
    for one in evaluation.transcoders:
        found, choice = one.steering, one.steering.choice
        rows.append(
            f"| {one.name} | {choice.n_features} | {choice.source_factor:g} | {choice.target_factor:g} | {choice.place} | "
            f"{found.n_swaps} | {found.swapped:.3f} | {found.changed:.3f} |\n"
        )
    return STEERING + "".join(rows)


def _candidates(candidates: dict[int, Candidate]) -> str:
    if not candidates:
        return ""
    return "\n## Seeds\n\n" + "".join(_candidate_rows(candidates))


def _candidate_rows(candidates: dict[int, Candidate]) -> Iterator[str]:
    tasks = list(next(iter(candidates.values())).accuracy)
    columns = ["seed", *tasks, "strict capital", "no city MLPs", "no last MLPs", "CLT FVU", "CLT L0", "CLT agreement"]
    yield f"On the validation split; the best by mean accuracy plus agreement is shipped: seed {best_candidate(candidates)}.\n\n"
    yield f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    for seed in sorted(candidates):
        one = candidates[seed]
        figures = [
            *one.accuracy.values(),
            one.strict_capital,
            one.without_city_mlps,
            one.without_last_mlps,
            one.clt_fvu,
        ]
        cells = [f"{figure:.3f}" for figure in figures] + [f"{one.clt_l0:.1f}", f"{one.clt_agreement:.3f}"]
        yield f"| {seed} | {' | '.join(cells)} |\n"
