from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from replacement_model.errors import InputError
from replacement_model.prompt import read_prompt

Make = Callable[..., PreTrainedTokenizerFast]
BOS, EOS, UNK, THE, CAPITAL, OF = 0, 1, 3, 4, 5, 6
D_VOCAB = 10


def list_of_numpy(ids: list[int]) -> list[np.int32]:
    return [np.int32(token_id) for token_id in ids]


def frozen(ids: list[int]) -> np.ndarray:
    array = np.array([ids])
    array.setflags(write=False)
    return array


def nested(ids: list[int]) -> torch.Tensor:
    return torch.tensor([ids])


@pytest.mark.parametrize("template", ["<bos> $A", "$A", "<bos> $A <eos>", "$A <eos>"])
@pytest.mark.parametrize(
    "text", ["the capital of", "<bos> the capital of", " <bos><bos> the capital of", "  the capital\nof "]
)
def test_bos_once(make_tokenizer: Make, template: str, text: str) -> None:
    prompt = read_prompt(text, make_tokenizer(template=template), D_VOCAB)
    assert prompt.token_ids.tolist() == [BOS, THE, CAPITAL, OF]
    assert prompt.tokens == ("<bos>", "the", "capital", "of")
    assert prompt.n_ignored_pos == 1
    assert prompt.text == text
    own = "<bos>" in template or "<bos>" in text
    assert prompt.prepended == (None if own else BOS)


@pytest.mark.parametrize("template", ["<bos> $A", "$A", "<bos> $A <eos>"])
def test_text_that_is_left_alone(make_tokenizer: Make, template: str) -> None:
    prompt = read_prompt("the capital", make_tokenizer(template=template), D_VOCAB, prepend=False)
    assert (prompt.token_ids.tolist(), prompt.n_ignored_pos, prompt.prepended) == ([THE, CAPITAL], 0, None)


@pytest.mark.parametrize("prepend", [True, False])
def test_positions_that_are_asked_to_be_ignored(make_tokenizer: Make, prepend: bool) -> None:
    for count in range(3):
        assert read_prompt([BOS, THE, OF], make_tokenizer(), D_VOCAB, prepend, count).n_ignored_pos == count
    for count in (3, -1):
        with pytest.raises(
            InputError, match=rf"cannot ignore {count} positions of a prompt of 3 tokens; choose 0 to 2"
        ):
            read_prompt([BOS, THE, OF], make_tokenizer(), D_VOCAB, prepend, count)


def test_ids_with_bos_twice_are_refused_unless_they_are_left_alone(make_tokenizer: Make) -> None:
    with pytest.raises(InputError, match="begin with the special token 0 twice; drop one"):
        read_prompt([BOS, BOS, THE], make_tokenizer(), D_VOCAB)
    assert read_prompt([BOS, BOS, THE], make_tokenizer(), D_VOCAB, prepend=False).token_ids.tolist() == [BOS, BOS, THE]


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("ids", [[BOS, THE, OF], [THE, OF]])
@pytest.mark.parametrize("kind", [list, tuple, np.array, np.uint16, list_of_numpy, frozen, torch.tensor, nested])
def test_ids_in_every_form(make_tokenizer: Make, ids: list[int], kind: Callable) -> None:
    prompt = read_prompt(kind(ids), make_tokenizer(), D_VOCAB)
    assert prompt.token_ids.tolist() == [BOS, THE, OF]
    assert prompt.prepended == (BOS if len(ids) == 2 else None)


def test_without_prepending_nothing_is_ignored(make_tokenizer: Make) -> None:
    prompt = read_prompt([THE, OF], make_tokenizer(), D_VOCAB, prepend=False)
    assert (prompt.token_ids.tolist(), prompt.n_ignored_pos, prompt.prepended) == ([THE, OF], 0, None)
    assert read_prompt([BOS, OF], make_tokenizer(), D_VOCAB, prepend=False).n_ignored_pos == 0


def test_another_special_token_in_front_is_enough(make_tokenizer: Make) -> None:
    assert read_prompt([EOS, THE], make_tokenizer(), D_VOCAB).token_ids.tolist() == [EOS, THE]


def test_an_end_that_was_asked_for_stays(make_tokenizer: Make) -> None:
    prompt = read_prompt("the capital <eos>", make_tokenizer(template="<bos> $A"), D_VOCAB)
    assert prompt.token_ids.tolist() == [BOS, THE, CAPITAL, EOS]


def test_pad_or_eos_stands_in_for_an_absent_bos(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer(template=None)
    tokenizer.bos_token = tokenizer.pad_token = None
    assert read_prompt("the", tokenizer, D_VOCAB).prepended == EOS


def test_no_special_token_at_all(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer(template=None)
    tokenizer.bos_token = tokenizer.pad_token = tokenizer.eos_token = None
    prompt = read_prompt("the capital", tokenizer, D_VOCAB)
    assert (prompt.token_ids.tolist(), prompt.prepended) == ([THE, CAPITAL], None)


def test_no_tokenizer() -> None:
    prompt = read_prompt([4, 5], None, D_VOCAB)
    assert (prompt.token_ids.tolist(), prompt.tokens, prompt.text) == ([4, 5], ("4", "5"), "4 5")
    assert (prompt.prepended, prompt.n_ignored_pos) == (None, 1)
    with pytest.raises(InputError, match=r"one id leaves nothing to trace; put the model's <bos> id in front, or say"):
        read_prompt([4], None, D_VOCAB)
    assert read_prompt([4], None, D_VOCAB, prepend=False).n_ignored_pos == 0
    with pytest.raises(InputError, match="text needs a tokenizer"):
        read_prompt("the", None, D_VOCAB)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "prompt is empty"),
        (" \n\t", "prompt is empty"),
        ([], "prompt is empty"),
        (torch.tensor([], dtype=torch.int64), "prompt is empty"),
        ("<bos>", "nothing but a special token"),
        ([BOS], "nothing but a special token"),
        ("the capitol of Texass", "does not have 'capitol', 'Texass'"),
        ([THE, 10], "token id 10 is outside the model's vocabulary"),
        ([THE, -1], "token id -1 is outside"),
        ([1.0, 2.5], "token ids must be whole numbers"),
        (["the", "capital"], "token ids must be whole numbers"),
        ([[4, 5], [5, 4]], "one prompt at a time"),
        ([[4, 5], [5]], "token ids must be whole numbers"),
        (np.array([1.5, 2.0]), "token ids must be whole numbers"),
        (np.array([True, False]), "token ids must be whole numbers"),
        (np.array([[4, 5], [5, 4]]), "one prompt at a time"),
    ],
)
def test_refused_in_one_line(make_tokenizer: Make, prompt: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_prompt(prompt, make_tokenizer(), D_VOCAB)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_larger_than_the_model(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer(words=tuple(f"word{index}" for index in range(20)))
    with pytest.raises(InputError, match=r"token id 19 is outside .* use the model's own tokenizer"):
        read_prompt("word3 word15", tokenizer, D_VOCAB)


def test_a_special_token_outside_the_models_vocabulary(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer(template=None)
    tokenizer.add_special_tokens({"bos_token": "<start>"})
    with pytest.raises(InputError, match="token id 10 is outside"):
        read_prompt("the capital", tokenizer, D_VOCAB)


def test_an_unknown_token_given_by_its_id_passes(make_tokenizer: Make) -> None:
    assert read_prompt([THE, UNK], make_tokenizer(), D_VOCAB).token_ids.tolist() == [BOS, THE, UNK]


def test_what_was_done_is_said(make_tokenizer: Make) -> None:
    assert read_prompt("the capital", make_tokenizer(template=None), D_VOCAB).settings() == {
        "prepended_token_id": BOS,
        "chat_template": False,
        "prefix_token_ids": [],
        "n_ignored_pos": 1,
    }


def test_of_many_unknown_words_some_are_named(make_tokenizer: Callable) -> None:
    text = " ".join(f"odd{index}" for index in range(30))
    with pytest.raises(InputError, match=r"does not have 'odd0', .*'odd7' and 22 others; rephrase"):
        read_prompt(text, make_tokenizer(), 40)
