"""SAELens's layout written by hand from its description and by its own classes, and what it must compute."""

import json
from pathlib import Path

import pytest
import torch
from conversions import check_conversions
from mappings import mapped_file, needs_maps
from safetensors.torch import load_file, save_file
from torch import Tensor

from replacement_model.errors import InputError, WeightsError
from replacement_model.formats import load_transcoder
from replacement_model.transcoder import DecoderSite, EncoderTap

D_MODEL, WIDTH, N_LAYERS = 6, 10, 3
ARCHITECTURES = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")
X = torch.randn(N_LAYERS, 5, D_MODEL, generator=torch.Generator().manual_seed(9))


def parameters(seed: int, architecture: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"W_enc": (D_MODEL, WIDTH), "W_dec": (WIDTH, D_MODEL), "b_enc": (WIDTH,), "b_dec": (D_MODEL,)}
    if "skip" in architecture:
        shapes["W_skip"] = (D_MODEL, D_MODEL)
    if "jumprelu" in architecture:
        shapes["threshold"] = (WIDTH,)  # some of them negative
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def config(layer: int, architecture: str, **changes: object) -> dict:
    """As version 6.54 writes it."""
    metadata = {
        "sae_lens_version": "6.54.12",
        "model_name": "gpt2",
        "hook_name": f"blocks.{layer}.ln2.hook_normalized",
        "hook_name_out": f"blocks.{layer}.hook_mlp_out",
    }
    changed = {key: value for key, value in changes.items() if "hook" in key}
    found = {"d_in": D_MODEL, "d_sae": WIDTH, "d_out": D_MODEL, "dtype": "float32", "device": "cpu"}
    found |= {"apply_b_dec_to_input": False, "normalize_activations": "none", "reshape_activations": "none"}
    found |= {"architecture": architecture, "metadata": {**metadata, **changed}}
    return found | {key: value for key, value in changes.items() if key not in changed}


def write(root: Path, architecture: str = "transcoder", layers: tuple[int, ...] = (0, 1, 2), **changes: object) -> Path:
    for layer in layers:
        folder = root / f"blocks.{layer}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cfg.json").write_text(json.dumps(config(layer, architecture, **changes)))
        save_file(parameters(layer, architecture), folder / "sae_weights.safetensors")
    return root


def forward(p: dict[str, Tensor], x: Tensor, subtract: bool = False) -> tuple[Tensor, Tensor]:
    h = (x - p["b_dec"] if subtract else x) @ p["W_enc"] + p["b_enc"]
    a = torch.relu(h) * (h > p["threshold"]) if "threshold" in p else torch.relu(h)
    return a, a @ p["W_dec"] + p["b_dec"] + (x @ p["W_skip"].T if "W_skip" in p else 0)


def check(transcoder, layer: int, x: Tensor, acts: Tensor, out: Tensor) -> None:
    torch.testing.assert_close(transcoder.encode(layer, x), acts, rtol=1e-6, atol=1e-6)
    active = {layer: transcoder.active_features(layer, x)}
    torch.testing.assert_close(transcoder.reconstruct(active, layer, x), out, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_one_transcoder_a_layer(tmp_path: Path, architecture: str, subtract: bool) -> None:
    transcoder = load_transcoder(write(tmp_path, architecture, apply_b_dec_to_input=subtract))
    assert (transcoder.n_layers, transcoder.cross_layer, transcoder.model_name) == (N_LAYERS, False, "gpt2")
    assert (transcoder.encoder_tap, transcoder.decoder_site) == (EncoderTap.NORMALIZED, DecoderSite.POST_NORM)
    for layer, x in enumerate(X):
        check(transcoder, layer, x, *forward(parameters(layer, architecture), x, subtract))
    assert len(transcoder.notes) == subtract


def test_the_fold_is_exact_in_the_files_precision(tmp_path: Path) -> None:
    p = {name: tensor.double() for name, tensor in parameters(0, "transcoder").items()}
    write(tmp_path, apply_b_dec_to_input=True)
    for layer in range(N_LAYERS):
        save_file(p, tmp_path / f"blocks.{layer}" / "sae_weights.safetensors")
    expected = p["b_enc"] - p["W_enc"].T @ p["b_dec"]
    torch.testing.assert_close(load_transcoder(tmp_path).layers[0].b_enc, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("architecture", ["transcoder", "standard"])
def test_before_version_6_the_hooks_are_at_the_top(tmp_path: Path, architecture: str) -> None:
    for layer in range(N_LAYERS):
        folder = tmp_path / f"l{layer}"
        folder.mkdir()
        old = {"d_in": D_MODEL, "d_sae": WIDTH, "activation_fn_str": "relu", "normalize_activations": False}
        old |= {"hook_point": f"blocks.{layer}.hook_resid_mid", "hook_point_out": f"blocks.{layer}.mlp.hook_out"}
        (folder / "cfg.json").write_text(json.dumps(old | {"architecture": architecture}))
        save_file(parameters(layer, "transcoder"), folder / "sae_weights.safetensors")
    transcoder = load_transcoder(tmp_path)
    assert (transcoder.encoder_tap, transcoder.decoder_site) == (EncoderTap.RESID_MID, DecoderSite.MLP_OUT)
    for layer, x in enumerate(X):  # there, everything that was no transcoder class subtracted b_dec unless told not to
        check(transcoder, layer, x, *forward(parameters(layer, "transcoder"), x, architecture == "standard"))


def test_topk_before_version_6(tmp_path: Path) -> None:
    write(tmp_path, activation_fn_str="topk", activation_fn_kwargs={"k": 4})
    assert {(layer.activation.kind, layer.activation.k) for layer in load_transcoder(tmp_path).layers} == {("topk", 4)}


def test_the_exact_name_of_a_place_wins(tmp_path: Path) -> None:
    exact = "model.layers.1.pre_feedforward_layernorm.output"
    write(tmp_path, layers=(1,), hook_name="blocks.1.hook_mlp_in", hf_hook_name=exact)
    assert load_transcoder(tmp_path, n_layers=3).encoder_tap == EncoderTap.MLP_IN


def test_a_single_folder_and_some_layers(tmp_path: Path) -> None:
    root = write(tmp_path, layers=(0, 2))
    with pytest.raises(InputError, match="has layers 0, 2 and does not say how many"):
        load_transcoder(root)
    assert load_transcoder(root / "blocks.2", n_layers=4).missing_layers == (0, 1, 3)


def test_several_of_a_layer_need_a_choice(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b")
    with pytest.raises(InputError, match="has 2 transcoders of layer 0"):
        load_transcoder(tmp_path)


@needs_maps
def test_weights_are_views_of_the_files(tmp_path: Path) -> None:
    for layer in load_transcoder(write(tmp_path, "skip_transcoder")).layers:
        for tensor in layer.tensors().values():
            assert mapped_file(tensor).name == "sae_weights.safetensors"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hook_name": "blocks.1.hook_mlp_in"}, "it reads 'blocks.1.hook_mlp_in', which is not known"),
        ({"hook_name_out": "blocks.1.hook_resid_post"}, "it writes 'blocks.1.hook_resid_post', which is not known"),
        ({"hook_name_out": "blocks.2.hook_mlp_out"}, r"names layers \[1, 2\]"),
        ({"normalize_activations": "layer_norm"}, "normalize_activations: 'layer_norm' needs a factor"),
        ({"activation_fn": "tanh-relu"}, "activation 'tanh-relu' is not known"),
        ({"architecture": "jumprelu_transcoder"}, "a jumprelu_transcoder needs a tensor 'threshold'"),
        ({"architecture": "skip_transcoder"}, "a skip_transcoder needs a tensor 'W_skip'"),
        ({"architecture": "gated", "hook_name_out": None}, "gated is a sparse autoencoder, which replaces no MLP"),
    ],
)
def test_a_config_that_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    write(tmp_path, layers=(1,))
    settings = config(1, **{"architecture": "transcoder"} | changes)
    (tmp_path / "blocks.1" / "cfg.json").write_text(json.dumps(settings))
    with pytest.raises(WeightsError, match=message):
        load_transcoder(tmp_path, n_layers=3)


def test_nothing_that_says_where_it_reads(tmp_path: Path) -> None:
    write(tmp_path, hook_name=None)
    with pytest.raises(InputError, match="does not say where it reads"):
        load_transcoder(tmp_path)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"b_enc": None}, "expected a tensor 'b_enc'"),
        ({"W_gate": torch.zeros(2)}, "'W_gate' is not known"),
        ({"W_dec": torch.zeros(D_MODEL, WIDTH)}, r"layer 1: W_dec.0 must be \(10, 6\)"),
        ({"W_enc": torch.zeros(5, WIDTH)}, r"layer 1: W_enc must be \(10, 6\)"),
        ({"scaling_factor": torch.full((WIDTH,), 2.0)}, "scaling_factor is not 1"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    path = write(tmp_path) / "blocks.1" / "sae_weights.safetensors"
    tensors = load_file(path) | changes
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)
    with pytest.raises(WeightsError, match=message) as caught:
        load_transcoder(tmp_path)
    assert "\n" not in str(caught.value)


def test_damaged_files(tmp_path: Path) -> None:
    path = write(tmp_path) / "blocks.1" / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(WeightsError, match=r"sae_weights\.safetensors cannot be read"):
        load_transcoder(tmp_path)
    (tmp_path / "blocks.1" / "cfg.json").unlink()
    with pytest.raises(WeightsError, match=r"cfg\.json cannot be read"):
        load_transcoder(tmp_path)


@pytest.mark.filterwarnings("ignore")  # of the package and what it imports
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_files_of_the_package_itself(tmp_path: Path, architecture: str) -> None:
    pytest.importorskip("sae_lens", reason="runs where sae-lens is installed, which needs a newer set of packages")
    from sae_lens.registry import get_sae_class

    model_class, config_class = get_sae_class(architecture)
    theirs = []
    for layer in range(N_LAYERS):
        settings = config(layer, architecture)
        model = model_class(config_class.from_dict(settings))
        model.load_state_dict(parameters(layer, architecture))
        model.save_model(tmp_path / f"layer_{layer}")
        theirs.append(model)
    transcoder = load_transcoder(tmp_path)
    for layer, x in enumerate(X):
        with torch.no_grad():
            check(transcoder, layer, x, theirs[layer].encode(x), theirs[layer](x))


@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_conversions(tmp_path: Path, architecture: str, subtract: bool) -> None:
    check_conversions(write(tmp_path / "source", architecture, apply_b_dec_to_input=subtract), tmp_path)
