"""sparsify's and clt-training's layouts written by hand from their description, and what they must compute."""

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

D_MODEL, WIDTH, N_LAYERS, K = 6, 12, 3, 3
X = torch.randn(N_LAYERS, 5, D_MODEL, generator=torch.Generator().manual_seed(9))


def random(seed: int, **shapes: tuple[int, ...]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name.replace("__", "."): torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def parameters(layer: int, skip: bool = False) -> dict[str, Tensor]:
    matrices = {"encoder__weight": (WIDTH, D_MODEL), "W_dec": (WIDTH, D_MODEL)}
    skips = {"W_skip": (D_MODEL, D_MODEL)} if skip else {}
    return random(layer, **matrices, encoder__bias=(WIDTH,), b_dec=(D_MODEL,), **skips)


def cross_layer_parameters(layer: int, skip: bool = False, n_targets: int | None = None) -> dict[str, Tensor]:
    targets = range(N_LAYERS - layer if n_targets is None else n_targets)
    decoders = {f"W_decs__{i}": (WIDTH, D_MODEL) for i in targets} | {f"b_decs__{i}": (D_MODEL,) for i in targets}
    found = random(layer, encoder__weight=(WIDTH, D_MODEL), encoder__bias=(WIDTH,), **decoders)
    if skip:
        found |= {f"W_skips.{i}": torch.zeros(D_MODEL, D_MODEL) for i in targets}
        found["W_skips.0"] = torch.randn(D_MODEL, D_MODEL, generator=torch.Generator().manual_seed(50 + layer))
    return found


def write(root: Path, files: dict[int, dict[str, Tensor]], name: str = "layers.{}.mlp", **changes: object) -> Path:
    config = {
        "k": K,
        "num_latents": 0,
        "expansion_factor": WIDTH // D_MODEL,
        "d_in": D_MODEL,
        "normalize_decoder": True,
    }
    config |= {"skip_connection": any("W_skip" in key for key in files[0]), "transcode": True} | changes
    for layer, tensors in files.items():
        folder = root / name.format(layer)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cfg.json").write_text(json.dumps({k: v for k, v in config.items() if v != "DROP"}))
        save_file(tensors, folder / "sae.safetensors")
    return root


def top(h: Tensor, activation: str = "topk") -> Tensor:
    h = h.clamp(min=0)
    if activation == "groupmax":
        groups = h.reshape(len(h), K, -1)
        return torch.where(groups == groups.max(-1, keepdim=True).values, groups, 0).reshape(h.shape)
    lowest = h.flatten().sort(descending=True).values[K * len(h) - 1]
    if activation == "topk":
        lowest = h.sort(descending=True).values[:, K - 1 : K]
    return torch.where(h >= lowest, h, 0)


@pytest.mark.parametrize("activation", ["topk", "groupmax", "batchtopk"])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("name", ["layers.{}.mlp", "h.{}.mlp", "gpt_neox.layers.{}.mlp"])
def test_one_transcoder_a_layer(tmp_path: Path, skip: bool, activation: str, name: str) -> None:
    files = {layer: parameters(layer, skip) for layer in range(N_LAYERS)}
    transcoder = load_transcoder(write(tmp_path, files, name, activation=activation))
    assert (transcoder.n_layers, transcoder.cross_layer) == (N_LAYERS, False)
    assert (transcoder.encoder_tap, transcoder.decoder_site) == (EncoderTap.MLP_IN, DecoderSite.MLP_OUT)
    for layer, x in enumerate(X):
        p = files[layer]
        a = top(x @ p["encoder.weight"].T + p["encoder.bias"], activation)
        y = a @ p["W_dec"] + p["b_dec"] + (x @ p["W_skip"].mT if skip else 0)
        torch.testing.assert_close(transcoder.encode(layer, x), a)
        active = {layer: transcoder.active_features(layer, x)}
        torch.testing.assert_close(transcoder.reconstruct(active, layer, x), y)
    assert len(transcoder.notes) == (activation == "batchtopk")


@pytest.mark.parametrize("n_targets", [None, 2])
@pytest.mark.parametrize("skip", [False, True])
def test_cross_layer(tmp_path: Path, skip: bool, n_targets: int | None) -> None:
    def count(layer: int) -> int:
        return min(N_LAYERS - layer, n_targets or N_LAYERS)

    files = {layer: cross_layer_parameters(layer, skip, count(layer)) for layer in range(N_LAYERS)}
    transcoder = load_transcoder(write(tmp_path, files))
    assert transcoder.cross_layer
    acts, active = [], {}
    for layer, x in enumerate(X):
        p = files[layer]
        acts.append(top(x @ p["encoder.weight"].T + p["encoder.bias"]))
        y = x @ p["W_skips.0"].mT if skip else torch.zeros_like(x)
        for source in range(layer + 1):
            if layer - source < count(source):
                y = (
                    y
                    + acts[source] @ files[source][f"W_decs.{layer - source}"]
                    + files[source][f"b_decs.{layer - source}"]
                )
        torch.testing.assert_close(transcoder.encode(layer, x), acts[layer])
        active[layer] = transcoder.active_features(layer, x)
        torch.testing.assert_close(transcoder.reconstruct(active, layer, x), y)


@pytest.mark.parametrize("keep_both", [False, True])
def test_the_first_targets_second_name(tmp_path: Path, keep_both: bool) -> None:
    files = {layer: cross_layer_parameters(layer, skip=True) for layer in range(N_LAYERS)}
    plain = load_transcoder(write(tmp_path / "plain", files))
    for tensors in files.values():
        for alias, name in (("W_dec", "W_decs.0"), ("b_dec", "b_decs.0"), ("W_skip", "W_skips.0")):
            tensors[alias] = tensors[name].clone() if keep_both else tensors.pop(name)
    found = load_transcoder(write(tmp_path / "renamed", files))
    assert torch.equal(found.b_dec, plain.b_dec)
    for one, other in zip(plain.layers, found.layers, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.tensors().values(), other.tensors().values(), strict=True))


def test_zero_post_encoder_biases_are_left_out(tmp_path: Path) -> None:
    files = {layer: cross_layer_parameters(layer) | {"post_encs.0": torch.zeros(WIDTH)} for layer in range(N_LAYERS)}
    assert load_transcoder(write(tmp_path, files)).cross_layer
    files[1]["post_encs.0"][3] = 0.1
    with pytest.raises(WeightsError, match=r"post_encs\.0 is added to active features for one target"):
        load_transcoder(write(tmp_path, files))


def test_where_it_reads_if_the_run_says_so(tmp_path: Path) -> None:
    write(tmp_path, {layer: parameters(layer) for layer in range(N_LAYERS)})
    run = {"hookpoints": [f"layers.{layer}.mlp" for layer in range(N_LAYERS)]}
    (tmp_path / "config.json").write_text(json.dumps(run | {"hookpoints_in": []}))
    assert load_transcoder(tmp_path).encoder_tap == EncoderTap.MLP_IN
    reads = [f"layers.{layer}.post_attention_layernorm" for layer in range(N_LAYERS)]
    (tmp_path / "config.json").write_text(json.dumps(run | {"hookpoints_in": reads}))
    with pytest.raises(WeightsError, match=r"it reads 'layers\.0\.post_attention_layernorm', which is not known"):
        load_transcoder(tmp_path)
    assert load_transcoder(tmp_path, encoder_tap="resid_mid").encoder_tap == EncoderTap.RESID_MID


def test_a_config_that_does_not_say_that_it_transcodes(tmp_path: Path) -> None:
    write(tmp_path / "plain", {layer: parameters(layer) for layer in range(N_LAYERS)}, transcode="DROP")
    with pytest.raises(
        InputError, match=r"transcoder or an autoencoder; .*--encoder-tap mlp_in --decoder-site mlp_out"
    ):
        load_transcoder(tmp_path / "plain")
    found = load_transcoder(tmp_path / "plain", encoder_tap="mlp_in", decoder_site="mlp_out")
    assert "does not say `transcode`" in found.notes[0]
    write(tmp_path / "skip", {layer: parameters(layer, True) for layer in range(N_LAYERS)}, transcode="DROP")
    assert "does not say `transcode`" in load_transcoder(tmp_path / "skip").notes[0]  # no autoencoder has a skip


def test_some_layers(tmp_path: Path) -> None:
    root = write(tmp_path, {0: parameters(0), 2: parameters(2)})
    with pytest.raises(InputError, match="has layers 0, 2"):
        load_transcoder(root)
    assert load_transcoder(root, n_layers=4).missing_layers == (1, 3)


@needs_maps
def test_weights_are_views_of_the_files(tmp_path: Path) -> None:
    files = {layer: cross_layer_parameters(layer, skip=True) for layer in range(N_LAYERS)}
    for layer in load_transcoder(write(tmp_path, files)).layers:
        for tensor in layer.tensors().values():
            assert mapped_file(tensor).name == "sae.safetensors"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transcode": False}, "an autoencoder .* replaces no MLP"),
        ({"normalize_io": True}, "normalize_io: True cannot be expressed"),
        ({"coalesce_topk": "group"}, "coalesce_topk: 'group' cannot be expressed"),
        ({"divide_cross_layer": True}, "divide_cross_layer: True cannot be expressed"),
        ({"post_encoder_scale": True}, "post_encoder_scale: True cannot be expressed"),
        ({"activation": "jumprelu"}, "threshold belongs to jumprelu"),
        ({"activation": "gumbel"}, "activation must be one of"),
        ({"k": "DROP"}, "k belongs to topk"),
        ({"num_latents": 13}, "says 13 features, the tensors have 12"),
        ({"expansion_factor": 3}, "says 18 features, the tensors have 12"),
    ],
)
def test_a_config_that_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        load_transcoder(write(tmp_path, {layer: parameters(layer) for layer in range(N_LAYERS)}, **changes))


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("cross_layer", "changes", "message"),
    [
        (False, {"encoder.bias": None}, "expected a tensor 'encoder.bias'"),
        (False, {"W_gate": torch.zeros(2)}, "'W_gate' is not known"),
        (False, {"W_dec": torch.zeros(D_MODEL, WIDTH)}, r"layer 1: W_dec.0 must be \(12, 6\)"),
        (False, {"W_skip": torch.zeros(D_MODEL, 5)}, r"layer 1: W_skip must be \(6, 6\)"),
        (False, {"b_dec": torch.zeros(D_MODEL, 1)}, "b_dec must have 1 dimensions"),
        (True, {"W_decs.0": None}, "expected a tensor 'W_decs.0'"),
        (True, {"W_decs.2": torch.zeros(WIDTH, D_MODEL), "b_decs.2": torch.zeros(D_MODEL)}, "writes to 3 layers"),
        (True, {"b_decs.1": None}, "expected a tensor 'b_decs.1'"),
        (True, {"W_skips.0": torch.ones(6, 6), "W_skips.1": torch.ones(6, 6)}, "carry a layer's input to other layers"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, cross_layer: bool, changes: dict, message: str) -> None:
    make = cross_layer_parameters if cross_layer else parameters
    root = write(tmp_path, {layer: make(layer) for layer in range(N_LAYERS)})
    path = root / "layers.1.mlp" / "sae.safetensors"
    tensors = load_file(path) | changes
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)
    with pytest.raises(WeightsError, match=message) as caught:
        load_transcoder(root)
    assert "\n" not in str(caught.value)


def test_damaged_files(tmp_path: Path) -> None:
    root = write(tmp_path, {layer: parameters(layer) for layer in range(N_LAYERS)})
    path = root / "layers.1.mlp" / "sae.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(WeightsError, match=r"sae\.safetensors cannot be read"):
        load_transcoder(root)
    (root / "layers.0.mlp" / "cfg.json").unlink()
    with pytest.raises(WeightsError, match=r"cfg\.json cannot be read"):
        load_transcoder(root)


def test_a_hookpoint_that_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"it reads 'layers\.0', which is not known"):
        load_transcoder(write(tmp_path, {layer: parameters(layer) for layer in range(N_LAYERS)}, name="layers.{}"))


@pytest.mark.filterwarnings("ignore")  # of the package and what it imports
@pytest.mark.parametrize("activation", ["topk", "groupmax"])
@pytest.mark.parametrize("skip", [False, True])
def test_files_of_the_package_itself(tmp_path: Path, skip: bool, activation: str) -> None:
    sparsify = pytest.importorskip("sparsify", reason="runs where eai-sparsify is installed")
    config = sparsify.TranscoderConfig(num_latents=WIDTH, k=K, skip_connection=skip, activation=activation)
    theirs = []
    for layer in range(N_LAYERS):
        model = sparsify.SparseCoder(D_MODEL, config)
        model.load_state_dict(parameters(layer, skip))
        model.save_to_disk(tmp_path / f"layers.{layer}.mlp")
        theirs.append(model)
    transcoder = load_transcoder(tmp_path)
    for layer, x in enumerate(X):
        with torch.no_grad():
            found = theirs[layer](x)
        active = transcoder.active_features(layer, x)
        dense = torch.zeros(len(x), WIDTH).scatter(1, found.latent_indices, found.latent_acts)
        torch.testing.assert_close(transcoder.encode(layer, x), dense)
        torch.testing.assert_close(transcoder.reconstruct({layer: active}, layer, x), found.sae_out)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("cross_layer", [False, True])
def test_conversions(tmp_path: Path, cross_layer: bool, skip: bool) -> None:
    make = cross_layer_parameters if cross_layer else parameters
    source = write(tmp_path / "source", {layer: make(layer, skip) for layer in range(N_LAYERS)})
    check_conversions(source, tmp_path, to=("orrery",) if cross_layer and skip else ("orrery", "circuit-tracer"))
