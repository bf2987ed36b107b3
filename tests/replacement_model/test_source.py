import hashlib
from pathlib import Path

import pytest
from fake_hub import lay_out_cache

from circuits import attribute
from replacement_model import ReplacementModel
from replacement_model.errors import InputError
from replacement_model.pocket import MODEL_DIR, TRANSCODER_DIRS
from replacement_model.source import Source, locate, locate_model, locate_transcoder, weight_hashes

CLT_DIR = TRANSCODER_DIRS["clt"]
OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with two revisions of owner/model; weights are links to blobs named by their hash."""
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository = cache / "models--owner--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(NEW)
    (repository / "refs" / "v1").write_text(OLD)
    (repository / "blobs").mkdir()
    for commit in (OLD, NEW):
        folder = repository / "snapshots" / commit / "clt" / "wide"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(commit)
        blob = repository / "blobs" / (commit[0] * 64)
        blob.write_bytes(b"not what its name says, to see that it is not read")
        (folder / "x.safetensors").symlink_to(blob)
        (repository / "snapshots" / commit / "config.yaml").write_text(commit)
    return cache


def test_a_local_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("model", Path("model")):
        found = locate(name, ("*.json",))
        assert (found.name, found.folder, found.revision) == ("model", tmp_path / "model", None)


def test_a_local_set_with_a_folder_a_layer(tmp_path: Path) -> None:
    for layer in range(2):
        (tmp_path / f"layer_{layer}_width_16k").mkdir()
    assert locate(tmp_path / "layer_*_width_16k", ("*.json",)).folder == tmp_path / "layer_*_width_16k"
    (tmp_path / "layer_3" / "width_65k").mkdir(parents=True)
    assert locate(tmp_path / "layer_*" / "width_65k", ("*.npz",)).folder == tmp_path / "layer_*" / "width_65k"


def test_a_source_is_located_already(tmp_path: Path) -> None:
    found = Source("name", tmp_path, "commit")
    assert locate(found, ("*.json",)) is found


@pytest.mark.parametrize(("suffix", "commit"), [("", NEW), ("@v1", OLD), (f"@{OLD}", OLD), ("@main", NEW)])
@pytest.mark.parametrize("subfolder", ["", "//clt/wide"])
def test_a_cached_repository(hub: Path, subfolder: str, suffix: str, commit: str) -> None:
    found = locate(f"owner/model{subfolder}{suffix}", ("*.yaml",))
    root = hub / "models--owner--model" / "snapshots" / commit
    assert found.folder == (root / subfolder.strip("/")).resolve()
    assert (found.name, found.revision) == (f"owner/model{subfolder}{suffix}", commit)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("owner/absent", "'owner/absent' is neither a local folder nor a repository in reach"),
        ("absent", "neither a local folder nor a repository in reach"),
        ("owner/model@v2", "neither a local folder nor a repository in reach"),
        ("a/b/c", "neither a local folder nor a repository in reach"),
        ("no such name!", "neither a local folder nor a repository in reach"),
        ("owner/model//absent", "owner/model has no folder 'absent' at revision main"),
        ("owner/model//../..", r"has no folder '\.\./\.\.'"),
        ("", "no name was given"),
    ],
)
def test_names_that_lead_nowhere(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        locate(name, ("*.yaml",))
    assert "\n" not in str(caught.value)


def test_hashes_of_cached_weights_come_from_their_blobs(hub: Path) -> None:
    folder = locate("owner/model//clt/wide", ("*",)).folder
    assert weight_hashes(folder) == {"x.safetensors": "b" * 64}


def test_hashes_of_local_weights_are_computed(tmp_path: Path) -> None:
    for name in ("b.safetensors", "a.safetensors", "config.json"):
        (tmp_path / name).write_bytes(name.encode())
    expected = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("a.safetensors", "b.safetensors")}
    assert weight_hashes(tmp_path) == expected
    assert list(weight_hashes(tmp_path)) == sorted(expected)


def test_model_and_transcoder_from_the_cache_are_traced_with_their_revisions_and_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    model, clt = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in (MODEL_DIR, CLT_DIR))
    lay_out_cache(tmp_path, "owner/pocket", {OLD: model}, {"main": OLD})
    lay_out_cache(tmp_path, "owner/clts", {NEW: {f"a/b/{name}": data for name, data in clt.items()}}, {"v2": NEW})
    loaded = ReplacementModel.from_pretrained("owner/pocket", "owner/clts//a/b@v2")
    graph = attribute(loaded, "the capital of the state containing Dallas is", max_feature_nodes=5)
    metadata = graph.metadata
    assert (metadata.model_name, metadata.model_revision) == ("owner/pocket", OLD)
    assert metadata.transcoder_revision == NEW
    assert metadata.hashes["model/model.safetensors"] == hashlib.sha256(model["model.safetensors"]).hexdigest()
    weights = clt["transcoder.safetensors"]
    assert metadata.hashes["transcoder/transcoder.safetensors"] == hashlib.sha256(weights).hexdigest()
    assert graph.feature_labels[0] is not None


def test_names_of_the_pocket_model() -> None:
    assert locate_model("pocket").folder == MODEL_DIR
    assert locate_transcoder("pocket", None) == locate_transcoder("pocket", "clt") == Source("pocket/clt", CLT_DIR)
    with pytest.raises(InputError, match="no transcoder given for 'other'; name a folder"):
        locate_transcoder("other", None)
