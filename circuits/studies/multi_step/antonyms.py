"""The pocket corpus's tables: opposites and translations in four languages.

What a word means is found in the other languages alone: the supernode of "small" that is swapped in a French question
was found on English, Spanish and German ones, so that a swap succeeds only if languages share it. Operation (opposite
or same) and language of the answer are found on some pairs of words and scored on others.
"""

from collections.abc import Iterator, Set

from circuits.studies.multi_step.table import LAST, Case, Experiment, Swap, Table
from replacement_model.pocket.corpus import build_corpus
from replacement_model.pocket.prompts import Prompt, shuffled
from replacement_model.pocket.world import LANGUAGES, World, load_world

__all__ = ["language_table", "meaning_factor", "meanings_table"]

SPLITS = {"train": "find", "validation": "tune", "test": "score"}
PAIR_SPLITS = ("find", "tune", "score", "score")
SEED = 7
N_TARGETS = 2
N_FIND = 100

Word = tuple[int, int, str]
"""(pair, which of the two, language)"""


def meaning_factor(language: str) -> str:
    """The factor of a question in `language`: a meaning, as the other languages show it."""
    return f"meaning in {language}"


def meanings_table() -> Table:
    """Questions for the opposite in the word's own language, the operand swapped for another."""
    world = load_world()
    prompts = [prompt for prompt in build_corpus().prompts if prompt.task == "antonym"]
    experiments = tuple(
        Experiment(
            f"operand in {language}",
            meaning_factor(language),
            {"at the operand": ("operand",), "at the last token": (LAST,), "both": ("operand", LAST)},
        )
        for language in LANGUAGES
    )
    find = [_meaning_case(world, prompt) for prompt in prompts if prompt.split == "train" and _is_first(prompt)]
    known = {(factor, value) for case in find for factor, value in case.factors.items()}
    withheld = [prompt for prompt in prompts if prompt.split != "train"]
    asked = (_meaning_case(world, prompt, number, known) for number, prompt in enumerate(withheld))
    cases = [*find, *(case for case in asked if known.issuperset(case.factors.items()))]
    return Table("meanings", tuple(cases), experiments)


def language_table() -> Table:
    """Questions that name the language of the answer: that language, and opposite or translation, are swapped."""
    world = load_world()
    crossing = [prompt for prompt in build_corpus().prompts if prompt.task == "cross-lingual antonym"]
    translations = [prompt for prompt in build_corpus().prompts if prompt.task == "translation"]
    hops = {"at the word": ("operation",), "at the last token": (LAST,), "both": ("operation", LAST)}
    operation = Experiment("operation", "operation", hops | {"everywhere": ("operation", "operand", LAST)})
    hops = {"at the word": ("language",), "at the last token": (LAST,), "both": ("language", LAST)}
    language = Experiment("language", "language", hops)
    cases = [*_crossing_cases(world, crossing), *_translation_cases(world, translations)]
    return Table("languages", tuple(cases), (operation, language))


def _is_first(prompt: Prompt) -> bool:
    """One phrasing of each language is enough to find features on."""
    return prompt.words[1] in ("opposite", "contraire", "contrario", "Gegenteil")


def _meaning_case(world: World, prompt: Prompt, number: int = 0, known: Set[tuple[str, str]] = frozenset()) -> Case:
    """A training question shows its meaning to the other languages; a withheld one is swapped for `known` meanings."""
    (pair, side, own), pos = _word(world, prompt)
    factor, n_pairs = meaning_factor(own), len(world.antonyms)
    swaps: list[Swap] = []
    for which in range(N_TARGETS if known else 0):
        first = pair + 1 + (number * 5 + which * 17) % (n_pairs - 1)
        others = (other % n_pairs for other in range(first, first + n_pairs))
        other = next(one for one in others if one != pair and (factor, _meaning(world, one, side)) in known)
        words = (*prompt.words[:pos], world.antonyms[other][own][side], *prompt.words[pos + 1 :])
        answer = world.antonyms[other][own][1 - side]
        swaps.append(Swap(factor, _meaning(world, other, side), answer, " ".join(words)))
    shown = (factor,) if known else tuple(meaning_factor(one) for one in LANGUAGES if one != own)
    factors = dict.fromkeys(shown, _meaning(world, pair, side))
    places = {"operand": pos + 1}
    return Case(prompt.text, prompt.answer, SPLITS[prompt.split], prompt.words[pos], factors, places, tuple(swaps), own)


def _crossing_cases(world: World, prompts: list[Prompt]) -> Iterator[Case]:
    """`the french word for the opposite of small is`; withheld ones of some pairs to score."""
    found = 0
    for number, prompt in enumerate(shuffled(prompts, SEED, "crossing cases")):
        (pair, side, own), pos = _word(world, prompt)
        split = PAIR_SPLITS[pair % len(PAIR_SPLITS)]
        found += split == "find" and prompt.split == "train"
        if (split == "find") != (prompt.split == "train") or (split == "find" and found > N_FIND):
            continue
        language = prompt.words[1]
        others = [one for one in LANGUAGES if one not in (language, own)]
        other = others[number % len(others)]
        swaps = (
            Swap("operation", "same", world.antonyms[pair][language][side]),
            Swap("language", other, world.antonyms[pair][other][1 - side], prompt.text.replace(language, other)),
        )
        factors = {"operation": "opposite", "language": language}
        places = {"language": 2, "operation": prompt.words.index("opposite") + 1, "operand": pos + 1}
        asked = () if split == "find" else swaps
        yield Case(prompt.text, prompt.answer, split, _pair_name(world, pair), factors, places, asked)


def _translation_cases(world: World, prompts: list[Prompt]) -> Iterator[Case]:
    """`the french word for small is`, to find features on."""
    found = 0
    for prompt in shuffled(prompts, SEED, "translation cases"):
        (pair, _, _), pos = _word(world, prompt)
        if PAIR_SPLITS[pair % len(PAIR_SPLITS)] != "find" or found == N_FIND:
            continue
        found += 1
        factors = {"operation": "same", "language": prompt.words[1]}
        places = {"language": 2, "operation": prompt.words.index("for") + 1, "operand": pos + 1}
        yield Case(prompt.text, prompt.answer, "find", _pair_name(world, pair), factors, places)


def _word(world: World, prompt: Prompt) -> tuple[Word, int]:
    """The word that a question is about, and its position among the question's words."""
    concepts = {concept.split(": ")[0]: (pos, concept) for pos, concept in prompt.concepts}
    pos, meaning = concepts["meaning"]
    language = next(one for one in LANGUAGES if f"a word in {one}" in concepts)
    for pair, words in enumerate(world.antonyms):
        for side, word in enumerate(words["english"]):
            if meaning == f"meaning: {word}":
                return (pair, side, language), pos
    raise LookupError(meaning)


def _meaning(world: World, pair: int, side: int) -> str:
    return world.antonyms[pair]["english"][side]


def _pair_name(world: World, pair: int) -> str:
    return "/".join(world.antonyms[pair]["english"])
