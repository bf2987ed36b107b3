"""Chat messages and the prefixes of instruction-tuned suites, with the ids that Gemma 3 gives its special tokens."""

import logging

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from replacement_model.errors import InputError
from replacement_model.prompt import read_prompt

BOS, START, END, USER, MODEL, NEWLINE = 2, 105, 106, 2364, 4368, 107
PREFIX = (BOS, START, USER, NEWLINE)
HI, THERE = 200, 201
D_VOCAB = 5000
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + "
    "m.content + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
ASKED = [BOS, START, USER, NEWLINE, HI, THERE, END, NEWLINE, START, MODEL, NEWLINE]
MESSAGES = [{"role": "user", "content": "hi there"}]


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    ids = {"<pad>": 0, "<eos>": 1, "<bos>": BOS, "<unk>": 3, "<start_of_turn>": START, "<end_of_turn>": END}
    ids |= {"user": USER, "model": MODEL, "\n": NEWLINE, "hi": HI, "there": THERE}
    built = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split(Regex("\n"), "isolated")]
    )
    built.add_special_tokens(["<start_of_turn>", "<end_of_turn>"])
    built.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", BOS)])
    special = {
        name: f"<{name.removesuffix('_token')}>" for name in ("bos_token", "eos_token", "pad_token", "unk_token")
    }
    return PreTrainedTokenizerFast(tokenizer_object=built, chat_template=GEMMA, **special)


def test_messages_go_through_the_template_with_bos_once(tokenizer: PreTrainedTokenizerFast) -> None:
    prompt = read_prompt(MESSAGES, tokenizer, D_VOCAB)
    assert prompt.token_ids.tolist() == ASKED
    assert (prompt.prepended, prompt.n_ignored_pos, prompt.chat, prompt.text) == (None, 1, True, "hi there")
    assert prompt.tokens[1] == "<start_of_turn>"


@pytest.mark.parametrize("template", [GEMMA, GEMMA.removeprefix("{{ bos_token }}")])
@pytest.mark.parametrize("content", ["hi there", "<bos>hi there", " <bos><bos>hi there"])
def test_bos_comes_from_wherever_it_is_missing(tokenizer: PreTrainedTokenizerFast, template: str, content: str) -> None:
    tokenizer.chat_template = template
    prompt = read_prompt([{"role": "user", "content": content}], tokenizer, D_VOCAB)
    assert prompt.token_ids.tolist() == ASKED
    assert prompt.prepended == (None if template is GEMMA else BOS)


def test_an_answer_that_has_begun_is_continued(tokenizer: PreTrainedTokenizerFast) -> None:
    prompt = read_prompt([*MESSAGES, {"role": "assistant", "content": "hi"}], tokenizer, D_VOCAB)
    assert prompt.token_ids.tolist() == [*ASKED, HI]
    assert prompt.text == "user: hi there\nassistant: hi"


def test_the_prefix_of_a_suite_is_ignored(tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture) -> None:
    for given in (MESSAGES, "<start_of_turn>user\nhi there", [*PREFIX, HI], "<bos><start_of_turn>user\nhi"):
        prompt = read_prompt(given, tokenizer, D_VOCAB, prefix=PREFIX)
        assert (prompt.n_ignored_pos, prompt.prefix) == (4, PREFIX)
        assert prompt.settings()["prefix_token_ids"] == list(PREFIX)
    assert read_prompt(MESSAGES, tokenizer, D_VOCAB, prefix=PREFIX, n_ignored_pos=1).n_ignored_pos == 1
    assert not caplog.records


def test_ids_without_bos_get_it_before_the_prefix_is_looked_for(tokenizer: PreTrainedTokenizerFast) -> None:
    prompt = read_prompt([*PREFIX[1:], HI], tokenizer, D_VOCAB, prefix=PREFIX)
    assert (prompt.token_ids.tolist(), prompt.n_ignored_pos) == ([*PREFIX, HI], 4)


def test_a_missing_prefix_is_refused_for_ids_and_warned_of_for_text(
    tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(
        InputError, match=r"missing <start_of_turn> prefix: .*\(token ids 2, 105, 2364, 107\); give chat"
    ):
        read_prompt([BOS, HI, THERE], tokenizer, D_VOCAB, prefix=PREFIX)
    with caplog.at_level(logging.WARNING, logger="replacement_model"):
        prompt = read_prompt("hi there", tokenizer, D_VOCAB, prefix=PREFIX)
    assert (prompt.n_ignored_pos, prompt.prefix) == (1, ())
    assert "missing <start_of_turn> prefix" in caplog.text
    caplog.clear()
    assert read_prompt([BOS, HI], tokenizer, D_VOCAB, prepend=False, prefix=PREFIX).n_ignored_pos == 0
    assert not caplog.records


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"role": "system", "content": "hi"}], r"does not take these messages \(System role not supported\)"),
        ([{"content": "hi"}], "each chat message must have a role and some content"),
        ([{"role": "user", "content": ""}], "each chat message must have a role and some content"),
        ([{"role": "user"}], "each chat message must have a role and some content"),
    ],
)
def test_messages_that_cannot_be_used(tokenizer: PreTrainedTokenizerFast, messages: list, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_prompt(messages, tokenizer, D_VOCAB)
    assert "\n" not in str(caught.value)


def test_a_model_without_template_or_tokenizer(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.chat_template = None
    with pytest.raises(
        InputError, match="this model has no chat template; use an instruction-tuned model, or give text"
    ):
        read_prompt(MESSAGES, tokenizer, D_VOCAB)
    with pytest.raises(InputError, match="this model has no tokenizer; use"):
        read_prompt(MESSAGES, None, D_VOCAB)
