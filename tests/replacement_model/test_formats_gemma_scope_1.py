"""Gemma Scope 1's layout written by hand from its description, and what it must compute."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conversions import check_conversions
from mappings import mapped_file, needs_maps

from replacement_model.errors import InputError, WeightsError
from replacement_model.formats import load_transcoder
from replacement_model.transcoder import DecoderSite, EncoderTap

D_MODEL, WIDTH = 6, 10
X = torch.randn(5, D_MODEL, generator=torch.Generator().manual_seed(9))


def arrays(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = {
        "W_enc": (D_MODEL, WIDTH),
        "W_dec": (WIDTH, D_MODEL),
        "b_enc": WIDTH,
        "b_dec": D_MODEL,
        "threshold": WIDTH,
    }
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def write(root: Path, l0s: dict[int, tuple[int, ...]], width: str = "width_16k") -> Path:
    for layer, found in l0s.items():
        for l0 in found:
            folder = root / f"layer_{layer}" / width / f"average_l0_{l0}"
            folder.mkdir(parents=True)
            np.savez(folder / "params.npz", **arrays(100 * layer + l0))
    return root


def check_layer(transcoder, layer: int, seed: int) -> None:
    w = {name: torch.from_numpy(array) for name, array in arrays(seed).items()}
    pre = X @ w["W_enc"] + w["b_enc"]
    acts = torch.where(pre > w["threshold"], pre, 0)
    torch.testing.assert_close(transcoder.encode(layer, X), acts)
    active = transcoder.active_features(layer, X)
    torch.testing.assert_close(transcoder.reconstruct({layer: active}, layer, X), acts @ w["W_dec"] + w["b_dec"])


def test_one_transcoder_a_layer(tmp_path: Path) -> None:
    transcoder = load_transcoder(write(tmp_path, {layer: (70 + layer,) for layer in range(12)}))
    assert (transcoder.n_layers, transcoder.cross_layer) == (12, False)
    assert (transcoder.encoder_tap, transcoder.decoder_site) == (EncoderTap.NORMALIZED, DecoderSite.POST_NORM)
    for layer in range(12):
        check_layer(transcoder, layer, 100 * layer + 70 + layer)
    assert [name for name, _ in transcoder.hashes][:2] == [
        "layer_0/width_16k/average_l0_70/params.npz",
        "layer_1/width_16k/average_l0_71/params.npz",
    ]
    assert "do not say where they read and write" in transcoder.notes[0]


def test_the_caller_wins_over_the_convention(tmp_path: Path) -> None:
    folder = write(tmp_path, {0: (1,), 1: (1,)})
    transcoder = load_transcoder(folder, encoder_tap="mlp_in", decoder_site="mlp_out")
    assert (transcoder.encoder_tap, transcoder.decoder_site) == (EncoderTap.MLP_IN, DecoderSite.MLP_OUT)
    assert transcoder.notes == ()


def test_several_of_a_layer_need_a_choice(tmp_path: Path) -> None:
    write(tmp_path, {0: (12, 76, 150), 1: (9, 65)})
    with pytest.raises(InputError, match=r"has 3 transcoders of layer 0: .*average_l0_12, .*average_l0_76.*\(--l0\)"):
        load_transcoder(tmp_path)
    transcoder = load_transcoder(tmp_path, l0=70)
    check_layer(transcoder, 0, 76)
    check_layer(transcoder, 1, 165)


def test_the_lower_of_two_equally_near(tmp_path: Path) -> None:
    check_layer(load_transcoder(write(tmp_path, {0: (60, 80), 1: (70,)}), l0=70), 0, 60)


def test_widths_are_chosen_by_a_star(tmp_path: Path) -> None:
    write(tmp_path, {0: (10,), 1: (20,)})
    write(tmp_path, {0: (30,), 1: (40,)}, width="width_65k")
    with pytest.raises(InputError, match="has 2 transcoders of layer 0"):
        load_transcoder(tmp_path, l0=10)
    transcoder = load_transcoder(tmp_path / "layer_*" / "width_65k")
    check_layer(transcoder, 0, 30)
    check_layer(transcoder, 1, 140)


def test_a_single_layer_needs_the_number_of_layers(tmp_path: Path) -> None:
    write(tmp_path, {3: (10,)})
    with pytest.raises(InputError, match=r"has layers 3 and does not say how many the model has; .*--n-layers"):
        load_transcoder(tmp_path / "layer_3" / "width_16k" / "average_l0_10")
    transcoder = load_transcoder(tmp_path, n_layers=5)
    check_layer(transcoder, 3, 310)
    assert transcoder.missing_layers == (0, 1, 2, 4)
    assert transcoder.notes[-1].endswith("0, 1, 2, 4")
    with pytest.raises(WeightsError, match="do not fit a model of 3 layers"):
        load_transcoder(tmp_path, n_layers=3)


@needs_maps
def test_weights_are_views_of_the_files(tmp_path: Path) -> None:
    transcoder = load_transcoder(write(tmp_path, {0: (1,), 1: (1,)}))
    for layer in transcoder.layers:
        for tensor in layer.tensors().values():
            assert mapped_file(tensor).name == "params.npz"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": None}, "expected a tensor 'threshold', the file has W_dec, W_enc, b_dec, b_enc"),
        ({"W_skip": np.zeros((6, 6))}, "tensor 'W_skip' is not known"),
        ({"W_enc": np.zeros(10, np.float32)}, "W_enc must have 2 dimensions"),
        ({"W_enc": np.zeros((10, 6), np.float32)}, r"layer 1: W_enc must be \(6, 6\)"),
        ({"W_dec": np.zeros((6, 10), np.float32)}, r"layer 1: W_dec.0 must be \(10, 6\)"),
        ({"threshold": np.full(10, np.nan, np.float32)}, "layer 1: threshold holds NaN"),
        ({"b_dec": np.zeros(5, np.float32)}, "b_dec must be a vector of one length"),
        ({"W_enc": np.array([{}], dtype=object)}, "cannot be read"),
    ],
)
@pytest.mark.usefixtures("without_shape_checks")
def test_files_that_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    write(tmp_path, {0: (1,), 1: (1,)})
    changed = arrays(1) | changes
    kept = {name: array for name, array in changed.items() if array is not None}
    np.savez(tmp_path / "layer_1" / "width_16k" / "average_l0_1" / "params.npz", **kept)
    with pytest.raises(WeightsError, match=message) as caught:
        load_transcoder(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_truncated_file(tmp_path: Path) -> None:
    path = write(tmp_path, {0: (1,), 1: (1,)}) / "layer_1" / "width_16k" / "average_l0_1" / "params.npz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(WeightsError, match=r"params\.npz cannot be read"):
        load_transcoder(tmp_path)


def test_a_folder_that_names_no_layer(tmp_path: Path) -> None:
    np.savez(tmp_path / "params.npz", **arrays(0))
    with pytest.raises(WeightsError, match="expected a folder named after its layer"):
        load_transcoder(tmp_path)


def test_conversions(tmp_path: Path) -> None:
    check_conversions(write(tmp_path / "source", {0: (1,), 1: (1,)}), tmp_path)
