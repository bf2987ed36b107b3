import json
import shutil
from pathlib import Path

import numpy as np
import torch

from replacement_model import load_transcoder
from replacement_model.pocket import TRANSCODER_DIRS


def layer_tensors(folder: Path) -> list[torch.Tensor]:
    return [tensor for layer in load_transcoder(folder).layers for tensor in layer.tensors().values()]


def gemma_scope_1(root: Path) -> Path:
    """Layers 0 and 2, two transcoders of layer 0."""
    for layer, l0 in ((0, 20), (0, 70), (2, 60)):
        folder = root / f"layer_{layer}" / "width_16k" / f"average_l0_{l0}"
        folder.mkdir(parents=True)
        vectors = {"b_enc": np.zeros(10, "f4"), "b_dec": np.zeros(6, "f4"), "threshold": np.full(10, l0, "f4")}
        np.savez(folder / "params.npz", W_enc=np.ones((6, 10), "f4"), W_dec=np.ones((10, 6), "f4"), **vectors)
    return root


def test_there_and_back(orrery, tmp_path: Path) -> None:
    outcome = orrery("convert", TRANSCODER_DIRS["clt"], tmp_path / "theirs", "--to", "circuit-tracer")
    assert (outcome.code, outcome.stdout) == (0, "")
    assert "wrote" in outcome.stderr
    assert (tmp_path / "theirs" / "config.yaml").is_file()
    orrery("convert", tmp_path / "theirs", tmp_path / "ours")
    before, after = layer_tensors(TRANSCODER_DIRS["clt"]), layer_tensors(tmp_path / "ours")
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_labels_go_along_and_the_copy_can_be_traced(orrery, tmp_path: Path) -> None:
    orrery("convert", TRANSCODER_DIRS["plt"], tmp_path / "copy", "--to", "circuit-tracer")
    assert (tmp_path / "copy" / "labels.json").read_bytes() == (TRANSCODER_DIRS["plt"] / "labels.json").read_bytes()
    prompt = "the capital of the state containing Dallas is"
    first, second = (
        json.loads(orrery("trace", prompt, "-t", transcoder, "--json").stdout)
        for transcoder in ("plt", tmp_path / "copy")
    )
    assert first["counts"] == second["counts"]
    assert first["targets"] == second["targets"]


def test_json_names_the_files_and_notes(orrery, tmp_path: Path) -> None:
    outcome = orrery(
        "convert", gemma_scope_1(tmp_path / "gs"), tmp_path / "new", "--l0", "75", "--n-layers", "3", "--json"
    )
    found = json.loads(outcome.stdout)
    assert found["files"] == [str(path) for path in sorted((tmp_path / "new").iterdir())]
    assert found["bytes"] == sum(path.stat().st_size for path in (tmp_path / "new").iterdir())
    assert len(found["notes"]) == 2
    transcoder = load_transcoder(tmp_path / "new")
    assert transcoder.missing_layers == (1,)
    assert transcoder.layers[0].activation.threshold.tolist() == [70] * 10


def test_places_that_the_caller_knows_better(orrery, tmp_path: Path) -> None:
    orrery(
        "convert", TRANSCODER_DIRS["clt"], tmp_path / "new", "--encoder-tap", "resid_mid", "--decoder-site", "mlp_out"
    )
    transcoder = load_transcoder(tmp_path / "new")
    assert (transcoder.encoder_tap.value, transcoder.decoder_site.value) == ("resid_mid", "mlp_out")


def test_what_is_refused_leaves_nothing(refuse, tmp_path: Path) -> None:
    source = gemma_scope_1(tmp_path / "gs")
    new = tmp_path / "new"
    refuse("convert", source, new, says="has 2 transcoders of layer 0")
    refuse("convert", source, new, "--l0", "70", says=r"has layers 0, 2 .*\(--n-layers\)")
    refuse(
        *("convert", source, new, "--l0", "70", "--n-layers", "3", "--to", "circuit-tracer"),
        says="cannot hold a set without layers 1, which would be lost",
    )
    refuse("convert", source, new, "--l0", "70", "--n-layers", "3", "--to", "npz", says="unknown layout 'npz'")
    refuse("convert", source, source, "--l0", "70", "--n-layers", "3", says="exists and is not an empty folder")
    refuse("convert", tmp_path / "absent", new, says="neither a local folder nor")
    refuse("convert", source, new, "--encoder-tap", "nowhere", says="--encoder-tap must be one of")
    assert [path.name for path in tmp_path.iterdir()] == ["gs"]


def test_damaged_weights_are_refused(refuse, tmp_path: Path) -> None:
    source = shutil.copytree(TRANSCODER_DIRS["clt"], tmp_path / "source")
    path = source / "transcoder.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    refuse("convert", source, tmp_path / "new", says="damaged or incomplete")
    assert not (tmp_path / "new").exists()
