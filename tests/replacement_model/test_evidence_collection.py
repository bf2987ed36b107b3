"""Collected evidence against a dense computation in plain loops, and runs that are interrupted."""

import math
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import tiny_model, tiny_transcoder

from replacement_model.errors import InputError
from replacement_model.evidence import CollectOptions, EvidenceFolder, collect, open_text
from replacement_model.evidence import activity as activity_module
from replacement_model.evidence import collection as collection_module
from replacement_model.evidence.records import RecordOptions

LINES = [
    "w5 w9 w3 w7 w11 w4",
    "w5 w9 w3 w8",
    "",
    "w5 w9 w3 w7 w11 w4",  # a repeated line is one example
    "w6 w6 w6 w12 w3 w3 w9 w10 w8 w7 w5",  # longer than a context
    "w10 w4",
    "w12 w11 w10 w9 w8 w7 w6",
]
LENGTH = 8
OPTIONS = CollectOptions(
    context_length=LENGTH, batch_tokens=2 * LENGTH, record=RecordOptions(3, 2, 50, n_logits=3, n_nearest=2)
)


@pytest.fixture
def text(tmp_path: Path):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    return open_text(str(path))


@pytest.fixture(params=["relu", "jumprelu", "topk", "batchtopk"])
def model(request):
    return tiny_model(transcoder=tiny_transcoder(activation=request.param, missing=(1,), skip=True))


def contexts() -> list[list[int]]:
    """<bos> and at most seven words of a line, cut by hand."""
    ids = [[int(word[1:]) for word in line.split()] for line in LINES if line]
    return [[0, *line[at : at + LENGTH - 1]] for line in ids for at in range(0, len(line), LENGTH - 1)]


def dense_acts(model, layer: int) -> list[torch.Tensor]:
    """[pos, feature] of every context, run alone by the capture that traces use."""
    found = []
    for ids in contexts():
        captured = model.capture(model.read_prompt(ids))
        x = captured.frozen.blocks[layer].tap(captured.resid_mid[layer], model.transcoder.encoder_tap)
        acts = model.transcoder.encode(layer, x)
        acts[0] = 0
        found.append(acts)
    return found


def examples_of(acts: list[torch.Tensor], idx: int) -> list[tuple[float, int, tuple[float, ...], tuple[int, ...]]]:
    """(peak activation, peak, all activations, tokens), strongest first, one for each prefix."""
    found = {}
    for ids, dense in zip(contexts(), acts, strict=True):
        values = dense[:, idx].tolist()
        peak = max(range(len(values)), key=lambda pos: (values[pos], -pos))
        if values[peak] != 0:
            found.setdefault(tuple(ids[: peak + 1]), (values[peak], peak, tuple(values), tuple(ids)))
    return sorted(found.values(), key=lambda one: -one[0])


def bin_edges(value: float) -> float:
    """The lower edge of the quarter of an octave that holds a value."""
    octave = 2.0 ** math.floor(math.log2(value))
    return octave * (1 + math.floor((value / octave - 1) * 4) / 4)


def test_every_number_equals_a_dense_computation(model, text, tmp_path):
    collect(model, text, tmp_path / "out", OPTIONS)
    folder = EvidenceFolder(tmp_path / "out")
    assert sorted(folder.layers) == [0, *range(2, model.host.n_layers)]
    n_positions = sum(len(ids) - 1 for ids in contexts())
    n_seen = 0
    for layer in folder.layers:
        acts = dense_acts(model, layer)
        for idx in range(acts[0].shape[1]):
            record, expected = folder.get(layer, idx), examples_of(acts, idx)
            values = [value for dense in acts for value in dense[:, idx].tolist() if value != 0]
            assert record.frequency == pytest.approx(len(values) / n_positions, rel=1e-5)
            assert sum(record.histogram) == len(values)
            n_seen += len(values)
            if not values:
                assert (record.quantiles, record.histogram, record.act_max) == ((), (), 0.0)
                continue
            assert (record.act_min, record.act_max) == pytest.approx((min(values), max(values)), rel=1e-5)
            counts = {edge: count for edge, count in zip(record.histogram_edges, record.histogram) if count}  # noqa: B905
            grouped = groupby(sorted(map(bin_edges, values)))
            assert counts == {edge: len(list(members)) for edge, members in grouped}
            parts = [expected[:3], *(list(part) for part in np.array_split(np.array(expected[3:], object), 2))]
            got = [quantile.examples for quantile in record.quantiles]
            assert [len(part) for part in got] == [len(part) for part in parts if len(part)]
            for example, (_, peak, dense, ids) in zip((e for part in got for e in part), expected, strict=True):
                assert example.tokens == tuple(model.token_string(i) for i in ids)
                assert example.peak == peak
                assert example.acts == pytest.approx(dense, rel=1e-5)
    assert n_seen > 100


def test_logits_and_neighbours_equal_a_dense_computation(text, tmp_path):
    model = tiny_model()
    collect(model, text, tmp_path / "out", OPTIONS)
    # MLP_OUT in a Gemma 3: what each layer writes passes that layer's post-norm, here with a denominator of one.
    keys = [(n, idx) for n, layer in enumerate(model.transcoder.layers) for idx in range(layer.d_transcoder)]
    gains = [block.mlp_post_norm.module.weight.detach() + 1 for block in model.host.blocks]
    written = torch.stack(
        [
            sum(matrix[idx] * gains[n + j] for j, matrix in enumerate(model.transcoder.layers[n].W_dec))
            for n, idx in keys
        ]
    )
    final_gain = model.host.model.model.norm.weight.detach() + 1
    effects = (written * final_gain) @ model.host.W_U.T
    effects = effects - effects.mean(1, keepdim=True)
    unit = written / written.norm(dim=1, keepdim=True)
    cosines = unit @ unit.T
    folder = EvidenceFolder(tmp_path / "out")
    for row, key in enumerate(keys):
        record, order = folder.get(*key), effects[row].argsort(descending=True).tolist()
        assert record.top_logits == tuple(model.token_string(i) for i in order[:3])
        assert record.bottom_logits == tuple(model.token_string(i) for i in order[::-1][:3])
        assert record.top_effects == pytest.approx(effects[row, order[:3]].tolist(), rel=1e-5)
        assert record.bottom_effects == pytest.approx(effects[row, order[::-1][:3]].tolist(), rel=1e-5)
        ranked = [keys[i] for i in cosines[row].argsort(descending=True).tolist() if i != row]
        own, others = ([k for k in ranked if (k[0] == key[0]) is same][:2] for same in (True, False))
        assert [(one.layer, one.feature_idx) for one in record.nearest] == own + others
        assert [one.cosine for one in record.nearest] == [
            pytest.approx(float(cosines[row, keys.index(k)]), abs=6e-5) for k in own + others
        ]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("stage", ["Reading contexts", "Writing layers"])
def test_an_interrupted_run_continues_and_gives_the_same_bytes(text, tmp_path, monkeypatch, stage):
    model, whole, broken = tiny_model(), tmp_path / "whole", tmp_path / "broken"
    collect(model, text, whole, OPTIONS)
    monkeypatch.setattr(collection_module, "PENDING", 1)
    reports = []

    def stop(name: str, done: int, total: int) -> None:
        reports.append((name, done))
        if name == stage and sum(known == stage for known, _ in reports) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(model, text, broken, OPTIONS, progress=stop, checkpoint_seconds=0)
    with pytest.raises(InputError, match="finished"):
        EvidenceFolder(broken)
    assert not [name for name in files(broken) if name.endswith(".tmp")]
    for name in (".layer_0.bin.x1.bin", ".index.json.gz.x2.gz", ".collecting/.tallies.safetensors.x3.safetensors"):
        (broken / name).write_bytes(b"half")  # as a process that is killed outright leaves them
    again = []
    collect(model, text, broken, OPTIONS, progress=lambda *report: again.append(report[:2]), checkpoint_seconds=0)
    assert files(broken) == files(whole)
    read = [done for name, done in again if name == "Reading contexts"]
    assert (0 < read[0] <= reports[-1][1]) if stage == "Reading contexts" else read == []


def test_a_finished_folder_is_left_as_it_is_and_other_settings_are_refused(text, tmp_path):
    model, out = tiny_model(), tmp_path / "out"
    facts = collect(model, text, out, OPTIONS)
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert collect(model, text, out, OPTIONS) == facts
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    with pytest.raises(InputError, match="evidence of another options"):
        collect(model, text, out, CollectOptions(context_length=5))
    with pytest.raises(InputError, match="evidence of another features"):
        collect(model, text, out, OPTIONS, features=[(0, 1)])


def test_chosen_features_have_the_same_records_and_others_none(text, tmp_path):
    model = tiny_model()
    collect(model, text, tmp_path / "all", OPTIONS)
    collect(model, text, tmp_path / "some", OPTIONS, features=[(2, 5), (0, 3), (2, 0)])
    everything, some = EvidenceFolder(tmp_path / "all"), EvidenceFolder(tmp_path / "some")
    assert list(some.keys()) == [(0, 3), (2, 0), (2, 5)]
    assert [some.get(*key) for key in some.keys()] == [everything.get(*key) for key in some.keys()]  # noqa: SIM118
    assert some.get(0, 4) is None


def test_wrong_choices_are_refused(text, tmp_path):
    with pytest.raises(InputError, match="no feature 0/99999"):
        collect(tiny_model(), text, tmp_path / "out", OPTIONS, features=[(0, 99999)])
    with pytest.raises(InputError, match="no features were chosen"):
        collect(tiny_model(), text, tmp_path / "out", OPTIONS, features=[])
    with pytest.raises(InputError, match="leave no room"):
        collect(tiny_model(), text, tmp_path / "out", CollectOptions(context_length=1))


def test_an_unknown_word_is_named_with_its_document(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("w5 w6\n\nw5 zebra\n")
    with pytest.raises(InputError, match=r"document 2: .*'zebra'"):
        collect(tiny_model(), open_text(str(path)), tmp_path / "out", OPTIONS)


@pytest.mark.parametrize("kind", ["relu", "topk", "batchtopk"])
def test_parts_of_any_size_give_the_same_activity(kind, text, tmp_path, monkeypatch):
    model = tiny_model(transcoder=tiny_transcoder(activation=kind))
    collect(model, text, tmp_path / "whole", OPTIONS)
    monkeypatch.setattr(activity_module, "DENSE_BYTES", 1)
    collect(model, text, tmp_path / "parts", OPTIONS)
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_max_contexts_reads_no_more(text, tmp_path):
    facts = collect(tiny_model(), text, tmp_path / "out", CollectOptions(LENGTH, max_contexts=3))
    assert (facts["n_contexts"], facts["n_positions"]) == (3, sum(len(ids) - 1 for ids in contexts()[:3]))
