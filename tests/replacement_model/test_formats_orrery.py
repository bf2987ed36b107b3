import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from replacement_model.errors import InputError, WeightsError
from replacement_model.formats import load_transcoder, save_transcoder
from replacement_model.transcoder import DecoderSite, EncoderTap, Transcoder

Make = Callable[..., Transcoder]
NAMES = ("transcoder.json", "transcoder.safetensors")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("kind", ["relu", "jumprelu", "topk", "batchtopk"])
@pytest.mark.parametrize("cross_layer", [False, True])
def test_a_round_trip_keeps_every_bit(
    tmp_path: Path, make_transcoder: Make, cross_layer: bool, kind: str, skip: bool, dtype: torch.dtype
) -> None:
    before = make_transcoder(
        cross_layer=cross_layer,
        kind=kind,
        skip=skip,
        absent=(2,),
        tap=EncoderTap.NORMALIZED,
        site=DecoderSite.POST_NORM,
        dtype=dtype,
    )
    save_transcoder(before, tmp_path / "new")
    after = load_transcoder(tmp_path / "new")
    assert torch.equal(after.b_dec, before.b_dec)
    for name in ("cross_layer", "encoder_tap", "decoder_site", "name", "n_layers"):
        assert getattr(after, name) == getattr(before, name)
    for old, new in zip(before.layers, after.layers, strict=True):
        assert (old is None) == (new is None)
        if old is not None:
            assert (old.activation.kind, old.activation.k) == (new.activation.kind, new.activation.k)
            assert old.tensors().keys() == new.tensors().keys()
            for tensor, expected in zip(new.tensors().values(), old.tensors().values(), strict=True):
                assert tensor.dtype == dtype
                assert torch.equal(tensor, expected)


@pytest.mark.parametrize("cross_layer", [False, True])
def test_a_large_one_has_a_file_a_layer(
    tmp_path: Path, make_transcoder: Make, monkeypatch: pytest.MonkeyPatch, cross_layer: bool
) -> None:
    monkeypatch.setattr("replacement_model.formats.orrery.ONE_FILE_BELOW", 1000)
    before = make_transcoder(cross_layer=cross_layer, kind="jumprelu", skip=True, absent=(1,))
    save_transcoder(before, tmp_path)
    files = ["transcoder.safetensors", *(f"transcoder_layer_{layer}.safetensors" for layer in (0, 2, 3))]
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == files
    after = load_transcoder(tmp_path)
    assert [name for name, _ in after.hashes] == ["transcoder.json", *files]
    assert after.missing_layers == (1,)
    for old, new in zip(before.layers, after.layers, strict=True):
        for name, tensor in {} if old is None else old.tensors().items():
            assert torch.equal(new.tensors()[name], tensor)


def test_a_missing_layer_file_is_noticed(
    tmp_path: Path, make_transcoder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replacement_model.formats.orrery.ONE_FILE_BELOW", 1000)
    save_transcoder(make_transcoder(), tmp_path)
    (tmp_path / "transcoder_layer_2.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"transcoder_layer_2\.safetensors does not exist"):
        load_transcoder(tmp_path)


def test_model_name_notes_and_prefix_are_kept(tmp_path: Path, make_transcoder: Make) -> None:
    before = replace(make_transcoder(), model_name="a/model", notes=("a note",), prefix=(2, 105))
    save_transcoder(before, tmp_path)
    after = load_transcoder(tmp_path)
    assert (after.model_name, after.notes, after.prefix) == ("a/model", ("a note",), (2, 105))


def test_the_caller_wins_over_the_file(tmp_path: Path, make_transcoder: Make) -> None:
    save_transcoder(make_transcoder(), tmp_path)
    after = load_transcoder(tmp_path, encoder_tap="normalized", decoder_site="post_norm")
    assert (after.encoder_tap, after.decoder_site) == (EncoderTap.NORMALIZED, DecoderSite.POST_NORM)


@pytest.mark.parametrize("files", ["transcoder.safetensors", ["../transcoder.safetensors"], [3]])
def test_files_outside_the_folder_are_not_read(tmp_path: Path, make_transcoder: Make, files: object) -> None:
    save_transcoder(make_transcoder(), tmp_path)
    edit_config(tmp_path, files=files)
    with pytest.raises(WeightsError, match="files must be a list of names in this folder"):
        load_transcoder(tmp_path)


def test_equal_transcoders_give_equal_bytes(tmp_path: Path, make_transcoder: Make) -> None:
    for name in ("a", "b"):
        save_transcoder(make_transcoder(kind="jumprelu", skip=True), tmp_path / name)
    save_transcoder(load_transcoder(tmp_path / "a"), tmp_path / "c")
    for name in NAMES:
        assert len({(tmp_path / folder / name).read_bytes() for folder in "abc"}) == 1
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(NAMES)


def test_hashes_are_those_of_the_files(tmp_path: Path, make_transcoder: Make) -> None:
    save_transcoder(make_transcoder(), tmp_path)
    assert make_transcoder().hashes == ()
    first = dict(load_transcoder(tmp_path).hashes)
    assert sorted(first) == sorted(NAMES)
    save_transcoder(make_transcoder(seed=2), tmp_path)
    second = dict(load_transcoder(tmp_path).hashes)
    assert first["transcoder.json"] == second["transcoder.json"]
    assert first["transcoder.safetensors"] != second["transcoder.safetensors"]


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "transcoder.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value != "DROP"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "transcoder schema 2, this version reads 1; update orrery"),
        ({"schema_version": "DROP"}, "transcoder schema None"),
        ({"encoder_tap": "resid_post"}, "'resid_post' is not a valid EncoderTap"),
        ({"decoder_site": "DROP"}, "'decoder_site' is missing"),
        ({"activations": "DROP"}, "'activations' is missing"),
        ({"activations": 4}, "not laid out as expected"),
        ({"activations": ["relu"] * 4}, "not laid out as expected"),
        ({"activations": [{"kind": "relu"}] * 4}, "'k' is missing"),
        ({"activations": [{"kind": "gelu", "k": None}] * 4}, "activation must be one of"),
        ({"activations": [{"kind": "relu", "k": None}] * 3}, "layers.3.W_dec fits nowhere"),
        ({"activations": [{"kind": "relu", "k": None}] * 5}, "'layers.4.W_enc' is missing"),
        ({"cross_layer": False}, "layer 0: W_dec must write to 1 layers"),
        ({"cross_layer": "yes"}, "cross_layer must be true or false, it is 'yes'"),
    ],
)
@pytest.mark.usefixtures("without_shape_checks")
def test_a_config_that_is_refused(tmp_path: Path, make_transcoder: Make, changes: dict, message: str) -> None:
    save_transcoder(make_transcoder(), tmp_path)
    edit_config(tmp_path, **changes)
    with pytest.raises(WeightsError, match=message) as caught:
        load_transcoder(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"b_dec": None}, "'b_dec' is missing"),
        ({"layers.1.b_enc": None}, "'layers.1.b_enc' is missing"),
        ({"layers.1.b_enc": torch.zeros(3)}, r"layer 1: b_enc must be \(30,\), the file has \(3,\)"),
        ({"b_dec": torch.full((4, 24), torch.nan)}, "b_dec holds NaN"),
        ({"layers.1.threshold": torch.zeros(30)}, "threshold belongs to jumprelu alone"),
        ({"layers.7.W_enc": torch.zeros(30, 24)}, "layers.7.W_enc fits nowhere"),
    ],
)
@pytest.mark.usefixtures("without_shape_checks")
def test_tensors_that_are_refused(tmp_path: Path, make_transcoder: Make, changes: dict, message: str) -> None:
    save_transcoder(make_transcoder(), tmp_path)
    path = tmp_path / "transcoder.safetensors"
    tensors = load_file(path) | changes
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)
    with pytest.raises(WeightsError, match=message) as caught:
        load_transcoder(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_absent_and_truncated_files(tmp_path: Path, make_transcoder: Make, name: str) -> None:
    save_transcoder(make_transcoder(), tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(WeightsError, match=rf"{name} cannot be read"):
        load_transcoder(tmp_path)
    path.unlink()
    with pytest.raises(WeightsError, match=r"does not exist|no known transcoder layout"):
        load_transcoder(tmp_path)


def test_a_failing_write_keeps_the_old_transcoder(
    tmp_path: Path, make_transcoder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_transcoder(make_transcoder(), tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in NAMES}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("replacement_model.formats.files._write_parts", full)
    with pytest.raises(InputError, match="No space left on device"):
        save_transcoder(make_transcoder(seed=2), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
