import json

import pytest
from transformers import AutoTokenizer

from replacement_model.pocket.corpus import build_corpus
from replacement_model.pocket.tokenizer import build_tokenizer, save_tokenizer


@pytest.fixture(scope="module")
def corpus():
    return build_corpus()


@pytest.fixture(scope="module")
def tokenizer(corpus):
    return build_tokenizer(corpus.vocabulary)


def tokens(tokenizer, text):
    return tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the capital of the state containing Dallas is", "<bos> the capital of the state containing Dallas is"),
        ("calc: 36+59=", "<bos> calc : 3 6 + 5 9 ="),
        ("calc : 36 + 59 =", "<bos> calc : 3 6 + 5 9 ="),
        ("calc : 3 6 + 5 9 = 95 .", "<bos> calc : 3 6 + 5 9 = 95 ."),
        ("Salt Lake City is in", "<bos> Salt_Lake_City is in"),
        ("New York City is the largest city of New York", "<bos> New_York_City is the largest city of New_York"),
        ("West Virginia and Virginia Beach", "<bos> West_Virginia <unk> Virginia_Beach"),
        ("how do I make a cake?", "<bos> how do I make a cake ?"),
        ("Paris", "<bos> <unk>"),
    ],
)
def test_text_becomes_words(tokenizer, text, expected):
    assert tokens(tokenizer, text) == expected.split()


def test_every_prompt_of_the_corpus_keeps_its_words(corpus, tokenizer):
    sample = corpus.prompts[::41]
    ids = tokenizer([prompt.text for prompt in sample])["input_ids"]
    assert [tuple(tokenizer.convert_ids_to_tokens(row)[1:]) for row in ids] == [prompt.words for prompt in sample]


def test_every_answer_is_one_token(corpus, tokenizer):
    answers = sorted({prompt.answer for prompt in corpus.prompts})
    for answer, ids in zip(answers, tokenizer(answers, add_special_tokens=False)["input_ids"], strict=True):
        assert tokenizer.convert_ids_to_tokens(ids) == [answer]


def test_ids_are_positions_in_the_vocabulary_and_survive_saving(corpus, tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "the capital of New York is"
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.convert_ids_to_tokens(list(range(len(corpus.vocabulary)))) == list(corpus.vocabulary)
    special = (loaded.bos_token, loaded.eos_token, loaded.pad_token, loaded.unk_token)
    assert special == ("<bos>", "<eos>", "<pad>", "<unk>")


def test_the_saved_class_is_one_that_older_transformers_know(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
