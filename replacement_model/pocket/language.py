"""Antonyms and translations in four languages.

A held-out antonym is withheld in one language only: the same pair is seen in the others, so answering means going
through the meaning. Translations are all seen, since a random embedding tells nothing about a word's meaning. That a
meaning has four words, each asked about in four languages, makes it cheaper for the model to find the meaning than to
learn every answer by heart: with three languages and no question that crosses them, antonyms do not generalise.
"""

from collections.abc import Iterator

from replacement_model.pocket.prompts import Prompt, Slot, compose, split_names
from replacement_model.pocket.world import LANGUAGES, World

__all__ = ["language_prompts"]

ANTONYM_TEMPLATES = {
    "english": ("the opposite of {word} is", "the antonym of {word} is"),
    "french": ("le contraire de {word} est", "l'antonyme de {word} est"),
    "spanish": ("lo contrario de {word} es", "el antónimo de {word} es"),
    "german": ("das Gegenteil von {word} ist", "das Antonym von {word} ist"),
}
TRANSLATION_TEMPLATE = "the {language} word for {word} is"
CROSS_TEMPLATE = "the {language} word for the opposite of {word} is"
HELD_OUT = 0.2

Word = tuple[int, int, str]
"""(pair, which of the two, language)"""


def language_prompts(world: World, seed: int) -> Iterator[Prompt]:
    """Antonyms in one language, across two languages, and translations."""
    words = [(pair, side, lang) for pair in range(len(world.antonyms)) for side in (0, 1) for lang in LANGUAGES]
    splits: dict[Word, str] = {}
    for language in LANGUAGES:
        splits |= split_names([word for word in words if word[2] == language], HELD_OUT, seed, f"{language} antonyms")
    for word in words:
        for template in ANTONYM_TEMPLATES[word[2]]:
            slots = {"word": _slot(world, word)}
            answer = _answer(world, (word[0], 1 - word[1], word[2]))
            yield compose(template, slots, answer, "antonym", word[2], splits[word])
    yield from _crossings(world, words, splits, seed)


def _crossings(world: World, words: list[Word], splits: dict[Word, str], seed: int) -> Iterator[Prompt]:
    """Translations, and opposites asked for in a named language; in the word's own, they share its antonym's split."""
    pairs = [(word, language) for word in words for language in LANGUAGES if language != word[2]]
    cross_splits = split_names(pairs, HELD_OUT, seed, "cross-lingual antonyms")
    for word in words:
        pair, side, own = word
        for language in LANGUAGES:
            slots = {"word": _slot(world, word), "language": Slot(language, (f"answer in {language}",))}
            split = splits[word] if language == own else cross_splits[word, language]
            task, subset = ("antonym", own) if language == own else ("cross-lingual antonym", "all")
            opposite = _answer(world, (pair, 1 - side, language))
            yield compose(CROSS_TEMPLATE, slots, opposite, task, subset, split)
            if language != own:
                translation = _answer(world, (pair, side, language))
                yield compose(TRANSLATION_TEMPLATE, slots, translation, "translation", "all", "train")


def _slot(world: World, word: Word) -> Slot:
    pair, side, language = word
    first, second = world.antonyms[pair]["english"]
    meaning = world.antonyms[pair]["english"][side]
    concepts = (f"meaning: {meaning}", f"antonym pair: {first}/{second}", f"a word in {language}")
    return Slot(world.antonyms[pair][language][side], concepts)


def _answer(world: World, word: Word) -> Slot:
    pair, side, language = word
    meaning = world.antonyms[pair]["english"][side]
    return Slot(world.antonyms[pair][language][side], (f"answer means: {meaning}", f"answer in {language}"))
