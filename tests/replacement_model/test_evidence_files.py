"""Evidence on disk: circuit-tracer's `features/` layout, Gemma Scope 2's examples, and texts."""

import gzip
import json
import struct
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from replacement_model.errors import InputError, MissingDependencyError, WeightsError
from replacement_model.evidence import EvidenceFolder, FeatureEvidence, GemmaScopeExamples, open_text
from replacement_model.evidence.folder import write_index, write_layer
from replacement_model.evidence.record import Example, Neighbour, Quantile, cantor_pair
from replacement_model.pocket.corpus import build_corpus

STRANGE = ("<b>&amp;", "\x1b[31m", "\n", " ", "", "[red]x[/red]", "日本", '"\\')
EVIDENCE = FeatureEvidence(
    layer=1,
    feature_idx=2,
    quantiles=(Quantile("Top", (Example(STRANGE, (0.0, 1.5, 0.0, 0.25, 0.0, 0.0, 3.25, 0.0), 6),)),),
    top_logits=("<script>", "\x07"),
    bottom_logits=("b", "c"),
    top_effects=(0.5, 0.25),
    bottom_effects=(-0.5, -0.125),
    act_min=0.25,
    act_max=3.25,
    histogram=(1, 0, 2),
    histogram_edges=(0.25, 0.3125, 0.375, 0.4375),
    frequency=0.125,
    nearest=(Neighbour(1, 7, 0.5), Neighbour(0, 3, -0.25)),
)


def write(folder: Path) -> Path:
    write_index(
        folder,
        {
            1: write_layer(folder / "layer_1.bin", [None, None, EVIDENCE, FeatureEvidence(1, 3)]),
            0: write_layer(folder / "layer_0.bin", []),
        },
    )
    return folder


def read_by_hand(folder: Path, layer: int) -> list[dict | None]:
    """An independent reader of the layout, written from its description alone."""
    index = json.loads(gzip.decompress((folder / "index.json.gz").read_bytes()))[str(layer)]
    raw = (folder / index["filename"]).read_bytes()
    found, at = [], 0
    assert index["offsets"][0] == 0
    assert index["offsets"][-1] == len(raw)
    for begin, end in zip(index["offsets"], index["offsets"][1:], strict=False):
        assert begin == at
        if begin == end:
            found.append(None)
            continue
        (size,) = struct.unpack_from("<I", raw, at)
        assert size == end - begin - 4
        assert raw[at + 4 : at + 6] == b"\x1f\x8b"
        assert raw[at + 8 : at + 12] == bytes(4)  # gzip's modification time
        found.append(json.loads(gzip.decompress(raw[at + 4 : end])))
        at = end
    return found


def test_an_independent_reader_finds_every_record(tmp_path):
    records = read_by_hand(write(tmp_path), 1)
    assert records[:2] == [None, None]
    example = records[2]["examples_quantiles"][0]["examples"][0]
    assert example == {
        "tokens": list(STRANGE),
        "tokens_acts_list": [0.0, 1.5, 0.0, 0.25, 0.0, 0.0, 3.25, 0.0],
        "train_token_ind": 6,
        "is_repeated_datapoint": False,
    }
    assert {key: records[2][key] for key in ("index", "act_max", "histogram", "activation_frequency")} == {
        "index": 8,  # the Cantor pair of 1 and 2
        "act_max": 3.25,
        "histogram": [1, 0, 2],
        "activation_frequency": 0.125,
    }
    assert read_by_hand(tmp_path, 0) == []


def test_a_round_trip_changes_nothing_bit_by_bit(tmp_path):
    first, second = write(tmp_path / "a"), tmp_path / "b"
    folder = EvidenceFolder(first)
    assert folder.get(1, 2) == EVIDENCE
    records = [folder.get(1, idx) for idx in range(4)]
    write_index(second, {1: write_layer(second / "layer_1.bin", records), 0: write_layer(second / "layer_0.bin", [])})
    assert {p.name: p.read_bytes() for p in first.iterdir()} == {p.name: p.read_bytes() for p in second.iterdir()}
    assert list(folder.keys()) == [(1, 2), (1, 3)]


def test_a_published_record_with_other_fields_is_read():
    value = {
        "index": 3,
        "examples_quantiles": [{"quantile_name": "Top", "examples": [{"tokens": ["a"], "tokens_acts_list": [2]}]}],
        "top_logits": [["hello", 0.9]],
        "histogram": [3, 4],
        "quantile_values": [0.0, 2.0],
    }
    record = FeatureEvidence.from_json(0, 3, value)
    assert (record.top_logits, record.histogram, record.histogram_edges) == (("hello",), (3, 4), ())
    assert (record.examples[0].peak, record.frequency) == (0, None)


def test_a_writer_that_fails_leaves_no_file(tmp_path):
    def records():
        yield EVIDENCE
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_layer(tmp_path / "layer_0.bin", records())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda f: (f / "index.json.gz").unlink(), InputError, "has no index.json.gz"),
        (lambda f: (f / "index.json.gz").write_bytes(b"no"), WeightsError, "not an index"),
        (lambda f: (f / "layer_1.bin").unlink(), WeightsError, "damaged"),
        (lambda f: (f / "layer_1.bin").write_bytes((f / "layer_1.bin").read_bytes()[:9]), WeightsError, "damaged"),
        (lambda f: (f / "layer_1.bin").write_bytes(bytes(4000)), WeightsError, "damaged"),
        (
            lambda f: (f / "index.json.gz").write_bytes(
                gzip.compress(json.dumps({"1": {"filename": "../x", "offsets": [0]}}).encode())
            ),
            WeightsError,
            "expected a file name",
        ),
    ],
)
def test_damage_is_named(tmp_path, damage, error, message):
    damage(write(tmp_path))
    with pytest.raises(error, match=message):
        EvidenceFolder(tmp_path).get(1, 2)


def test_features_that_are_not_there_are_refused(tmp_path):
    folder = EvidenceFolder(write(tmp_path))
    with pytest.raises(InputError, match="has layers 0, 1, not 5"):
        folder.get(5, 0)
    with pytest.raises(InputError, match="features 0 to 3, not 4"):
        folder.get(1, 4)


def test_the_cantor_pair_is_the_sites_own():
    pairs = {cantor_pair(layer, idx) for layer in range(20) for idx in range(20)}
    assert len(pairs) == 400
    assert [cantor_pair(0, 0), cantor_pair(1, 0), cantor_pair(0, 1), cantor_pair(3, 5)] == [0, 1, 2, 41]


@pytest.fixture
def scope(tmp_path):
    """Two features; feature 1 is listed three times, twice in one sequence, and its last place is empty."""
    tensors = {
        "activations": torch.tensor([[1.0, 0.5, 0.0, 0.0], [4.0, 3.0, 2.0, 0.0]]),
        "positions": torch.tensor([[0, 2, 0, 0], [1, 0, 2, 0]], dtype=torch.int32),
        "seq_ids": torch.tensor([[0, 1, 0, 0], [2, 1, 2, 0]]),
        "tokens": torch.tensor([[7, 8, 9], [10, 11, 12], [13, 14, 15]], dtype=torch.int32),
        "top_tokens": torch.tensor([[3, 4], [5, 6]], dtype=torch.int32),
        "top_logits": torch.tensor([[0.5, 0.25], [1.5, 1.0]]),
        "bottom_tokens": torch.tensor([[1, 2], [2, 1]], dtype=torch.int32),
        "bottom_logits": torch.tensor([[-0.5, -0.25], [-1.5, -1.0]]),
        "logit_effects": torch.zeros(2, 4),
        "feature_frequencies": torch.tensor([0.01, 0.02], dtype=torch.float64),
    }
    save_file(tensors, tmp_path / "examples.safetensors")
    return tmp_path


def test_examples_of_gemma_scope_2_are_gathered_by_sequence(scope):
    record = GemmaScopeExamples(scope, 12, lambda token: f"t{token}").get(1)
    assert (record.layer, record.feature_idx, record.frequency, record.act_max) == (12, 1, 0.02, 4.0)
    assert (record.top_logits, record.top_effects) == (("t5", "t6"), (1.5, 1.0))
    assert (record.bottom_logits, record.bottom_effects) == (("t2", "t1"), (-1.5, -1.0))
    assert record.examples == (
        Example(("t13", "t14", "t15"), (0.0, 4.0, 2.0), 1),
        Example(("t10", "t11", "t12"), (3.0, 0.0, 0.0), 0),
    )


def test_examples_of_gemma_scope_2_are_bounded_and_checked(scope, tmp_path):
    assert len(GemmaScopeExamples(scope, 0, str, n_top=1).get(0).examples) == 1
    with pytest.raises(InputError, match="features 0 to 1, not 2"):
        GemmaScopeExamples(scope, 0, str).get(2)
    save_file({"activations": torch.zeros(2, 4)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="has no positions, seq_ids, tokens"):
        GemmaScopeExamples(tmp_path / "other.safetensors", 0, str)
    with pytest.raises(WeightsError, match="does not exist"):
        GemmaScopeExamples(tmp_path / "none.safetensors", 0, str)


def test_texts_of_every_kind_give_their_documents(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\n  \r\ntwo\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"text": "three"}\n\n"four"\n', encoding="utf-8")
    (tmp_path / "dataset_info.json").write_text("{}")
    assert list(open_text(str(tmp_path / "a.txt")).documents()) == ["one", "two"]
    assert list(open_text(str(tmp_path / "a.txt"), whole=True).documents()) == ["one\n\n  \n" + "two\n"]
    assert list(open_text(str(tmp_path)).documents()) == ["one", "two", "three", "four"]
    pocket = list(open_text("pocket:test").documents())
    assert pocket == [prompt.text for prompt in build_corpus().select("test")]


def test_texts_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        open_text(str(tmp_path / "none.txt"))
    with pytest.raises(InputError, match="holds no file of text"):
        open_text(str(tmp_path))
    (tmp_path / "a.jsonl").write_text('{"body": "x"}\n')
    with pytest.raises(InputError, match="no text in field 'text', only body; name it with --field"):
        list(open_text(str(tmp_path / "a.jsonl")).documents())
    (tmp_path / "b.jsonl").write_text("{\n")
    with pytest.raises(InputError, match="line 1: expected one JSON object a line"):
        list(open_text(str(tmp_path / "b.jsonl")).documents())
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        list(open_text(str(tmp_path / "c.txt")).documents())


def test_parquet_needs_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(MissingDependencyError, match="pip install pyarrow"):
        open_text(str(tmp_path / "a.parquet"))


def test_parquet_and_arrow_files_are_read(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="runs where pyarrow is installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table({"id": [1, 2, 3], "body": ["one", None, "two"]})
    parquet.write_table(table, tmp_path / "a.parquet")
    with arrow.ipc.new_stream(str(tmp_path / "b.arrow"), table.schema) as stream:
        stream.write_table(table)
    with arrow.ipc.new_file(str(tmp_path / "c.arrow"), table.schema) as stream:
        stream.write_table(table)
    assert list(open_text(str(tmp_path), field="body").documents()) == ["one", "two"] * 3
    with pytest.raises(InputError, match="no column 'text', only id, body"):
        list(open_text(str(tmp_path / "a.parquet")).documents())
