from collections import Counter

import pytest

from replacement_model.pocket.arithmetic import addition_prompt
from replacement_model.pocket.contexts import distinct_contexts, prefixes
from replacement_model.pocket.corpus import build_corpus, encode
from replacement_model.pocket.entities import UNKNOWN, unguarded_families
from replacement_model.pocket.geography import DEMO_CITIES, group_cities
from replacement_model.pocket.language_model import TASK_SHARES
from replacement_model.pocket.prompts import Slot, compose, split_names, word_of
from replacement_model.pocket.world import LANGUAGES, load_world

SEED = 7


@pytest.fixture(scope="module")
def world():
    return load_world()


@pytest.fixture(scope="module")
def corpus():
    return build_corpus()


def prompts_of(corpus, task, split=None):
    return [p for p in corpus.prompts if p.task == task and split in (None, p.split)]


def test_the_world_has_fifty_states_and_enough_cities_of_one_name_each(world):
    assert len(world.states) == 50
    cities = [city for state in world.states for city in state.cities]
    assert len(cities) == len(set(cities)) == 400
    names = {name for state in world.states for name in (state.name, state.capital)}
    assert not names & set(cities)
    for attribute in ("abbreviation", "capital", "nickname"):
        assert len({getattr(state, attribute) for state in world.states}) == 50
    assert Counter(state.region for state in world.states) == {"South": 16, "West": 13, "Midwest": 12, "Northeast": 9}


def test_a_few_facts_are_true(world):
    by_city = {city: state for state in world.states for city in state.cities}
    assert (by_city["Dallas"].capital, by_city["Oakland"].capital) == ("Austin", "Sacramento")
    assert (by_city["Seattle"].abbreviation, by_city["Miami"].nickname) == ("WA", "Sunshine State")
    assert ("petit", "grand") in [pair["french"] for pair in world.antonyms]


def test_no_word_has_two_meanings(world):
    words = [word for pair in world.antonyms for language in LANGUAGES for word in pair[language]]
    assert len(words) == len(set(words))
    surnames = {one.surname for one in world.athletes}
    assert not surnames & set(world.ordinary_surnames)
    sports = {(one.surname, one.sport) for one in world.athletes}
    assert len(sports) == len(surnames)


def test_the_corpus_is_the_same_every_time(corpus):
    build_corpus.cache_clear()
    again = build_corpus()
    assert again is not corpus
    assert again.prompts == corpus.prompts
    assert again.vocabulary == corpus.vocabulary


def test_no_prompt_occurs_twice_or_with_two_answers(corpus):
    assert len({prompt.words for prompt in corpus.prompts}) == len(corpus.prompts)


def test_every_task_is_trained_and_short(corpus):
    assert {prompt.task for prompt in corpus.select("train")} == set(TASK_SHARES)
    assert sum(TASK_SHARES.values()) == pytest.approx(1)
    assert max(len(prompt.words) for prompt in corpus.prompts) <= 13


def test_withheld_sets_are_large_enough_to_mean_something(corpus):
    counts = Counter((prompt.task, prompt.split) for prompt in corpus.prompts)
    for split in ("validation", "test"):
        assert counts["two-hop", split] >= 400
        assert counts["addition", split] == 1000
        assert counts["unknown person", split] == 500
        assert (
            min(counts[task, split] for task in ("antonym", "cross-lingual antonym", "known person", "refusal")) >= 50
        )


def test_held_cities_miss_the_capital_only_and_strict_cities_every_second_hop(corpus, world):
    groups = group_cities(world, SEED)
    assert Counter(group for group, _ in groups.values()) == {"common": 200, "held": 150, "strict": 50}
    assert all(groups[city] == ("held", "test") for city in DEMO_CITIES)
    trained = Counter(word for p in prompts_of(corpus, "two-hop", "train") for word in set(p.words))
    to_capital = Counter(w for p in prompts_of(corpus, "two-hop", "train") if "capital" in p.words for w in p.words)
    for city, (group, _) in groups.items():
        expected = {"common": (10, 2), "held": (8, 0), "strict": (0, 0)}[group]
        assert (trained[word_of(city)], to_capital[word_of(city)]) == expected


def test_validation_and_test_cities_are_different(corpus, world):
    groups = group_cities(world, SEED)
    for split in ("validation", "test"):
        withheld = {words for p in prompts_of(corpus, "two-hop", split) for words in p.words}
        assert not any(groups[c][1] not in (split, "train") for c in groups if word_of(c) in withheld)
    held = Counter(split for _, split in groups.values())
    assert abs(held["validation"] - held["test"]) <= 4


def test_a_withheld_antonym_is_withheld_in_all_phrasings_of_its_language(corpus):
    splits = {}
    for prompt in prompts_of(corpus, "antonym"):
        word = next(prompt.words[index] for index, concept in prompt.concepts if concept.startswith("meaning: "))
        splits.setdefault(word, set()).add(prompt.split)
    assert len(splits) == 48 * 2 * 4
    assert all(len(found) == 1 for found in splits.values())


def test_unguarded_families_never_meet_unknown_in_training(corpus, world):
    unguarded = set(unguarded_families(world, SEED))
    assert len(unguarded) >= 20
    for prompt in prompts_of(corpus, "unknown person"):
        assert not unguarded & set(prompt.words)
        assert prompt.answer == UNKNOWN
    known = {(one.first, one.surname) for one in world.athletes}
    for prompt in prompts_of(corpus, "hallucination"):
        assert prompt.split != "train"
        assert unguarded & set(prompt.words)
        assert not any({first, surname} <= set(prompt.words) for first, surname in known)


def test_a_sum_and_its_concepts():
    prompt = addition_prompt(36, 59, "train")
    assert (prompt.text, prompt.answer) == ("calc : 3 6 + 5 9 =", "95")
    assert (6, "ones digits: 6 and 9") in prompt.concepts
    assert (6, "sum carries") in prompt.concepts
    assert (6, "sum in 90-99") in prompt.concepts
    assert (7, "answer: 95") in prompt.concepts


def test_compose_puts_concepts_at_the_last_word_of_their_slot():
    slots = {"relation": Slot("largest city", ("relation: largest city",))}
    prompt = compose("the {relation} is", slots, Slot("Houston", ("a town",)), "task", "all", "test")
    assert prompt.words == ("the", "largest", "city", "is")
    expected = ((2, "relation: largest city"), (3, "answer: Houston"), (3, "a town"), (0, "task: task"))
    assert prompt.concepts == expected


def test_splits_are_equal_halves_of_what_is_withheld():
    splits = split_names(range(100), 0.3, SEED, "x")
    assert Counter(splits.values()) == {"train": 70, "validation": 15, "test": 15}
    assert splits == split_names(range(100), 0.3, SEED, "x")
    assert splits != split_names(range(100), 0.3, SEED, "y")


def test_contexts_are_distinct_and_counted(corpus):
    prompts = [p for p in corpus.prompts if p.task == "state to relation"][:2]
    assert [p.text for p in prompts] == ["the capital of Alabama is", "Alabama has the capital"]
    other = addition_prompt(1, 2, "test")
    contexts = distinct_contexts([*prompts, other, other], [1.0, 2.0, 3.0, 4.0], corpus.vocabulary)
    assert contexts.keep.sum(-1).tolist() == [5, 4, 8, 0]
    assert contexts.frequency.tolist() == [1.0] * 5 + [2.0] * 4 + [7.0] * 8
    unseen = distinct_contexts([other], [1.0], corpus.vocabulary, unseen_by=[addition_prompt(1, 3, "train")])
    assert unseen.keep[0].tolist() == [False] * 7 + [True, True]
    assert len(prefixes(other)) == 8


def test_encoding_prepends_bos_and_pads_on_the_right(corpus):
    short, long = corpus.prompts[1], addition_prompt(0, 0, "test")
    rows = encode([short, long], corpus.vocabulary)
    tokens = [[corpus.vocabulary[i] for i in row] for row in rows.tolist()]
    assert tokens[0] == ["<bos>", *short.words, *["<pad>"] * (len(long.words) - len(short.words))]
    assert tokens[1] == ["<bos>", *long.words]
