"""Against a hub on the loopback, and against a cache as its client lays it out."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from fake_hub import COMMIT, FakeHub, lay_out_cache, serve

from replacement_model.errors import InputError, WeightsError
from replacement_model.formats import load_transcoder
from replacement_model.headers import headers_of
from replacement_model.hub import downloads_shown, fetch_file, fetch_folder
from replacement_model.pocket import TRANSCODER_DIRS
from replacement_model.repository import HubName

PATTERNS = ("*.json", "*.yaml", "*.safetensors", "*.npz")
SET = {
    "clt/wide/config.json": b"{}",
    "clt/wide/params_layer_0.safetensors": b"zero",
    "clt/wide/params_layer_1.safetensors": b"one" * 1000,
    "clt/wide/examples.safetensors": b"dashboards",
    "clt/wide/plot.png": b"picture",
    "clt/narrow/params_layer_0.safetensors": b"another set",
    "README.md": b"words",
}
WIDE = HubName("owner/scope", "clt/wide")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; nothing of it, nor of any login, is the user's own."""
    folder = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    # Before version 1 a session stays offline if it was made so.
    getattr(huggingface_hub.utils, "reset_sessions", lambda: None)()
    return folder


@pytest.fixture
def offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return cache


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with serve(FakeHub({"owner/scope": SET, "owner/model": {"config.json": b"{}", "onnx/model.bin": b"x"}})) as running:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running.endpoint)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        for module in ("constants", "file_download"):
            name = f"huggingface_hub.{module}.HUGGINGFACE_CO_URL_TEMPLATE"
            monkeypatch.setattr(name, _template(running), raising=False)
        yield running


def _template(hub: FakeHub) -> str:
    return hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"


def test_only_the_needed_files_are_fetched_and_only_once(hub: FakeHub, cache: Path) -> None:
    root = fetch_folder(WIDE, PATTERNS)
    assert root == cache / "models--owner--scope" / "snapshots" / COMMIT
    wanted = ["config.json", "params_layer_0.safetensors", "params_layer_1.safetensors"]
    assert sorted(path.name for path in root.rglob("*") if path.is_file()) == wanted
    assert (root / "clt/wide/params_layer_1.safetensors").read_bytes() == b"one" * 1000
    assert sorted(hub.downloads) == [f"clt/wide/{name}" for name in wanted]
    assert fetch_folder(WIDE, PATTERNS) == root
    assert len(hub.downloads) == 3


def test_a_model_is_what_lies_at_the_top(hub: FakeHub) -> None:
    root = fetch_folder(HubName("owner/model"), PATTERNS)
    assert [path.name for path in root.rglob("*") if path.is_file()] == ["config.json"]


def test_a_revision_that_exists_and_one_that_does_not(hub: FakeHub) -> None:
    pinned = HubName("owner/scope", "clt/wide", COMMIT)
    assert fetch_folder(pinned, PATTERNS).name == COMMIT
    with pytest.raises(InputError, match=r"owner/scope has no revision 'v7'; look at .*/owner/scope/tree/main"):
        fetch_folder(HubName("owner/scope", "clt/wide", "v7"), PATTERNS)


@pytest.mark.parametrize("where", ["gated", "hidden"])
def test_a_gated_repository_says_where_to_ask_and_how_to_log_in(hub: FakeHub, where: str) -> None:
    getattr(hub, where).add("owner/scope")
    with pytest.raises(InputError, match=r"owner/scope is gated: .*/owner/scope, .* `hf auth login`") as caught:
        fetch_folder(WIDE, PATTERNS)
    assert hub.endpoint in str(caught.value)
    with pytest.raises(InputError, match="is gated"):
        fetch_file("owner/scope", "clt/wide/config.json")


def test_a_gated_repository_that_was_downloaded_before_serves(hub: FakeHub) -> None:
    root = fetch_folder(WIDE, PATTERNS)
    hub.hidden.add("owner/scope")
    assert fetch_folder(WIDE, PATTERNS) == root


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (HubName("owner/absent"), "'owner/absent' is neither .* `hf auth login`"),
        (HubName("owner/scope", "clt/tall"), "owner/scope has no folder 'clt/tall' at revision main; .*tree/main"),
        (HubName("owner/scope", "clt"), r"several sets of weights .*: owner/scope//clt/narrow, owner/scope//clt/wide"),
        (HubName("owner/scope"), r"no weights at this place; name one folder: owner/scope//clt/narrow"),
        (HubName("not a name"), "neither a local folder nor a repository in reach"),
    ],
)
def test_names_that_lead_nowhere(hub: FakeHub, where: HubName, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        fetch_folder(where, PATTERNS)
    assert "\n" not in str(caught.value)
    assert hub.downloads == []


def test_one_file(hub: FakeHub) -> None:
    assert fetch_file("owner/scope", "clt/narrow/params_layer_0.safetensors").read_bytes() == b"another set"
    assert hub.downloads == ["clt/narrow/params_layer_0.safetensors"]
    with pytest.raises(InputError, match=r"no file 'clt/x\.npz' at revision main; look at"):
        fetch_file("owner/scope", "clt/x.npz")
    with pytest.raises(InputError, match="no revision 'v7'"):
        fetch_file("owner/scope", "README.md", revision="v7")


def test_a_hub_that_is_down(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="neither a local folder nor a repository in reach"):
        fetch_folder(WIDE, PATTERNS)


@pytest.mark.parametrize("shown", [False, True])
def test_bars_are_shown_where_asked_for_and_nowhere_else(
    hub: FakeHub, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    if shown:
        with downloads_shown():
            fetch_folder(WIDE, PATTERNS)
    else:
        fetch_folder(WIDE, PATTERNS)
    assert bool(terminal.getvalue()) == shown
    assert not huggingface_hub.utils.are_progress_bars_disabled()


def test_offline_from_the_cache(offline: Path) -> None:
    files = {name: content for name, content in SET.items() if name.startswith("clt/wide")}
    root = lay_out_cache(offline, "owner/scope", {COMMIT: files}, {"main": COMMIT})
    assert fetch_folder(WIDE, PATTERNS) == root / "snapshots" / COMMIT
    assert fetch_file("owner/scope", "clt/wide/config.json").read_bytes() == b"{}"
    with pytest.raises(InputError, match=r"x\.npz is not in the cache .* hf download owner/scope --include 'x\.npz'"):
        fetch_file("owner/scope", "x.npz")


def test_a_link_without_its_blob_is_named(offline: Path) -> None:
    root = lay_out_cache(offline, "owner/scope", {COMMIT: SET}, {"main": COMMIT})
    (root / "snapshots" / COMMIT / "clt/wide/params_layer_1.safetensors").resolve().unlink()
    with pytest.raises(
        WeightsError, match="only a part of owner/scope//clt/wide: it lacks clt/wide/params_layer_1"
    ) as e:
        fetch_folder(WIDE, PATTERNS)
    assert "hf download owner/scope --include 'clt/wide/*'" in str(e.value)


def test_a_shard_that_the_index_lists_is_named(offline: Path) -> None:
    index = b'{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    files = {"model.safetensors.index.json": index, "model-00001-of-00002.safetensors": b"", "config.json": b"{}"}
    lay_out_cache(offline, "owner/model", {COMMIT: files}, {"main": COMMIT})
    with pytest.raises(WeightsError, match=r"it lacks model-00002-of-00002\.safetensors, .* hf download owner/model$"):
        fetch_folder(HubName("owner/model"), PATTERNS)
    assert fetch_folder(HubName("owner/model"), ("*.json",)).name == COMMIT


@pytest.mark.skipif(
    not hasattr(huggingface_hub, "get_cached_repo_tree"),
    reason="runs with huggingface_hub 2 and newer, which keep lists",
)
def test_an_interrupted_download_is_noticed_offline(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fetch_folder(WIDE, PATTERNS)
    (root / "clt/wide/params_layer_0.safetensors").unlink()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"it lacks clt/wide/params_layer_0\.safetensors, "):
        fetch_folder(WIDE, PATTERNS)


def test_headers_alone_give_a_transcoder_of_the_right_shapes(hub: FakeHub, tmp_path: Path) -> None:
    files = {path.name: path.read_bytes() for path in TRANSCODER_DIRS["clt"].iterdir()}
    hub.repositories["owner/clts"] = {f"a/{name}": content for name, content in files.items()}
    where = HubName("owner/clts", "a")
    with headers_of(where, PATTERNS) as folder:
        empty, full = load_transcoder(folder), load_transcoder(TRANSCODER_DIRS["clt"])
        for ours, theirs in zip(empty.layers, full.layers, strict=True):
            shapes = [{name: (t.shape, t.dtype) for name, t in layer.tensors().items()} for layer in (ours, theirs)]
            assert shapes[0] == shapes[1]
        assert not empty.layers[0].W_enc.any()
        assert (folder / "transcoder.safetensors").stat().st_size >= len(files["transcoder.safetensors"]) - 10_000
    assert not folder.exists()
    hub.gated.add("owner/clts")
    with pytest.raises(InputError, match="owner/clts is gated"), headers_of(where, ("*.safetensors",)):
        pass
    hub.repositories["owner/old"] = {"params.npz": b"x"}
    with pytest.raises(InputError, match="download it first"), headers_of(HubName("owner/old"), PATTERNS):
        pass
