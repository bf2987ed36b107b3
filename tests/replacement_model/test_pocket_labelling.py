import numpy as np
import pytest
from scipy.sparse import csr_array

from replacement_model.pocket.concepts import tabulate_concepts
from replacement_model.pocket.labelling import _label, _match
from replacement_model.pocket.prompts import Prompt


def prompt(text, *concepts):
    return Prompt("t", "s", "train", tuple(text.split()), "x", concepts)


def names_at(table, context):
    return {table.names[column] for column in table.holds[[context]].nonzero()[1]}


@pytest.fixture
def prompts():
    cities = [prompt(f"in {city} is", (1, "state: Texas")) for city in ("Dallas", "Houston", "Laredo", "Lubbock")]
    others = [prompt(f"in {city} is", (1, "state: Ohio")) for city in ("Akron", "Toledo", "Parma", "Lorain")]
    return [*cities, *others]


def test_a_concept_holds_from_its_word_on_with_two_narrower_readings(prompts):
    table = tabulate_concepts(prompts)
    assert table.holds.shape[0] == 1 + 2 * 8  # "in" is shared
    assert names_at(table, 1) == {"position: 2", "state: Texas", "state: Texas, at this word"}
    assert names_at(table, 2) == {"position: 3", "word: is", "state: Texas", "state: Texas, at the last word"}


def test_a_shared_beginning_has_only_what_all_its_prompts_have(prompts):
    table = tabulate_concepts([prompt("in Texas is", (0, "state: Texas")), *prompts])
    assert "state: Texas" not in names_at(table, 0)


def test_rare_concepts_are_left_out(prompts):
    table = tabulate_concepts(prompts[:-1])
    assert "state: Texas" in table.names
    assert "state: Ohio" in table.names  # eight contexts less two
    assert "state: Ohio, at this word" not in table.names
    assert "word: Dallas" not in table.names


def test_the_match_is_chosen_on_one_half_and_scored_on_the_other():
    # Feature 0 is concept 1 on the first half; on the second it also fires once where the concept does not hold.
    holds = csr_array(np.array([[1, 1], [0, 1], [1, 0], [0, 1], [1, 1], [1, 0]], np.float32))
    active = csr_array(np.array([[1], [1], [0], [1], [1], [1]], np.float32))
    halves = np.array([True, True, True, False, False, False])
    match = _match(active, holds, np.ones(6, np.float32), halves)
    assert (match.concept.tolist(), match.n_active.tolist()) == ([1], [5])
    assert (match.precision[0], match.recall[0], match.f1[0]) == (pytest.approx(2 / 3), 1.0, pytest.approx(0.8))


def test_a_context_counts_by_its_weight():
    holds = csr_array(np.array([[1], [1], [0], [1], [0], [0]], np.float32))
    active = csr_array(np.ones((6, 1), np.float32))
    weights = np.array([1, 1, 1, 3, 0.5, 0.5], np.float32)
    match = _match(active, holds, weights, np.array([True, True, True, False, False, False]))
    assert (match.precision[0], match.recall[0]) == (pytest.approx(3 / 4), 1.0)


def test_a_frequent_last_word_counts_less_in_each_of_its_contexts(prompts):
    weights = tabulate_concepts(prompts).weights
    assert weights[:3].tolist() == pytest.approx([1.0, 1.0, 8**-0.5])


def test_labels_say_what_was_measured():
    holds = csr_array(np.tile(np.array([[1, 0], [0, 1]], np.float32), (6, 1)))
    active = np.zeros((12, 3), np.float32)
    active[::2, 0] = 1  # exactly concept 0
    active[[0, 1, 4, 5], 1] = 1  # half of each concept
    chosen = np.arange(12) % 4 < 2
    match = _match(csr_array(active), holds, np.ones(12, np.float32), chosen)
    names = ("state: Texas", "state: Ohio")
    texts = [_label(match, idx, names, ("Austin",), ("Columbus",)) for idx in range(3)]
    assert (texts[0].text, texts[0].concept, texts[0].f1) == ("state: Texas", "state: Texas", 1.0)
    assert texts[0].top_logits == ("Austin",)
    assert texts[1].text.startswith("no match; raises ")
    assert texts[1].concept is None
    assert texts[2].text == "never active in the corpus"
    assert texts[2].f1 is None
