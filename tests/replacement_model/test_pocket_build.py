from dataclasses import replace

import pytest
import torch

from replacement_model.formats import load_transcoder
from replacement_model.labels import load_labels
from replacement_model.loading import load_host_model, load_tokenizer
from replacement_model.pocket import build
from replacement_model.pocket.corpus import Corpus, build_corpus
from replacement_model.pocket.language_model import LanguageModelConfig
from replacement_model.pocket.transcoders import CLT_CONFIG

MODEL = LanguageModelConfig(n_layers=2, d_model=16, n_heads=2, d_mlp=32, steps=3, batch_size=8)
SMALL = replace(CLT_CONFIG, d_transcoder=24, k=2, steps=3, batch_size=64)
CONFIGS = {"clt": SMALL, "plt": replace(SMALL, cross_layer=False)}
FILES = ("model/model.safetensors", "clt/transcoder.safetensors", "plt/transcoder.safetensors", "clt/labels.json")


def collector(calls):
    return lambda *call: calls.append(call)


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory):
    """Two small models rebuilt from one seed, and a third from another."""
    full = build_corpus()
    small = Corpus(full.prompts[::60], full.vocabulary)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "build_corpus", lambda: small)
        folders = []
        for number, seed in enumerate((5, 5, 6)):
            folder = tmp_path_factory.mktemp(f"pocket{number}")
            calls = []
            report = collector(calls)
            build.rebuild(folder, seed, report, model_config=MODEL, transcoder_configs=CONFIGS)
            folders.append(folder)
    return folders, calls


def test_a_rebuilt_folder_holds_a_checkpoint_and_labelled_transcoders(rebuilt):
    folder = rebuilt[0][0]
    model, tokenizer = load_host_model(folder / "model", None), load_tokenizer(folder / "model")
    assert type(model).__name__ == "Gemma3ForCausalLM"
    assert len(tokenizer) == model.config.vocab_size
    for name, cross_layer in (("clt", True), ("plt", False)):
        transcoder = load_transcoder(folder / name)
        assert (transcoder.cross_layer, transcoder.name) == (cross_layer, f"pocket-{name}")
        assert transcoder.layers[0].W_dec[0].dtype == torch.float16
        assert len(load_labels(folder / name / "labels.json")) == 48


def test_equal_seeds_give_equal_files_and_others_do_not(rebuilt):
    first, again, other = rebuilt[0]
    for name in FILES:
        assert (first / name).read_bytes() == (again / name).read_bytes()
        assert (first / name).read_bytes() != (other / name).read_bytes()


def test_progress_reports_every_step_of_every_stage(rebuilt):
    stages = {stage: total for stage, _, total in rebuilt[1]}
    assert stages == {"language model": 3, "pocket-clt": 3, "pocket-plt": 3}
    assert [step for stage, step, _ in rebuilt[1] if stage == "pocket-clt"] == [1, 2, 3]


def test_rebuilding_gives_the_threads_back(rebuilt):
    before = torch.get_num_threads()
    with build._reproducible():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
