"""Gemma Scope 2's layouts written by hand from their description, and what they must compute."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conversions import check_conversions
from mappings import mapped_file, needs_maps
from safetensors.torch import load_file, save_file
from torch import Tensor

from replacement_model.errors import InputError, WeightsError
from replacement_model.formats import load_transcoder
from replacement_model.model import ReplacementModel
from replacement_model.transcoder import DecoderSite, EncoderTap

D_MODEL, WIDTH, N_LAYERS = 6, 10, 3
X = torch.randn(N_LAYERS, 5, D_MODEL, generator=torch.Generator().manual_seed(9))


def parameters(seed: int, affine: bool, n_out: int | None = None) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "w_enc": (D_MODEL, WIDTH),
        "w_dec": (WIDTH, D_MODEL) if n_out is None else (WIDTH, n_out, D_MODEL),
        "b_enc": (WIDTH,),
        "b_dec": (D_MODEL,),
        "threshold": (WIDTH,),
    }
    if affine:
        shapes["affine_skip_connection"] = (D_MODEL, D_MODEL)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def config(layer: int | str, kind: str = "transcoder", **changes: object) -> dict:
    """The eight keys."""
    reads = f"model.layers.{layer}.pre_feedforward_layernorm.output"
    return {
        "hf_hook_point_in": reads,
        "hf_hook_point_out": reads.replace("pre_", "post_"),
        "width": WIDTH,
        "model_name": "google/gemma-3-test",
        "architecture": "jump_relu",
        "l0": 50,
        "affine_connection": False,
        "type": kind,
    } | changes


def write_layer(folder: Path, layer: int, affine: bool = False, seed: int | None = None, **changes: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    settings = config(layer, affine_connection=affine, **changes)
    kept = {key: value for key, value in settings.items() if value != "DROP"}
    (folder / "config.json").write_text(json.dumps(kept))
    save_file(parameters(layer if seed is None else seed, affine), folder / "params.safetensors")
    save_file({"activations": torch.zeros(3)}, folder / "examples.safetensors")
    return folder


def write_set(root: Path, layers: tuple[int, ...] = (0, 1, 2), affine: bool = False, **changes: object) -> Path:
    suffix = "_affine" if affine else ""
    for layer in layers:
        write_layer(root / "transcoder_all" / f"layer_{layer}_width_16k_l0_small{suffix}", layer, affine, **changes)
    return root / "transcoder_all"


def clt_files(affine: bool) -> list[dict[str, Tensor]]:
    files = [parameters(layer, affine, N_LAYERS) for layer in range(N_LAYERS)]
    for layer, tensors in enumerate(files):
        tensors["w_dec"][:, :layer] = 0
    return files


def write_clt(root: Path, files: list[dict[str, Tensor]], **changes: object) -> Path:
    folder = root / "clt" / "width_262k_l0_medium"
    folder.mkdir(parents=True, exist_ok=True)
    affine = "affine_skip_connection" in files[0]
    settings = config("{all}", "clt", affine_connection=affine, width=WIDTH * N_LAYERS) | changes
    (folder / "config.json").write_text(json.dumps(settings))
    for layer, tensors in enumerate(files):
        save_file(tensors, folder / f"params_layer_{layer}.safetensors")
    return folder


def acts_of(p: dict[str, Tensor], x: Tensor) -> Tensor:
    h = x @ p["w_enc"] + p["b_enc"]
    return h * (h > p["threshold"])


@pytest.mark.parametrize("affine", [False, True])
def test_one_transcoder_a_layer(tmp_path: Path, affine: bool) -> None:
    transcoder = load_transcoder(write_set(tmp_path, affine=affine))
    assert (transcoder.n_layers, transcoder.cross_layer) == (N_LAYERS, False)
    assert (transcoder.encoder_tap, transcoder.decoder_site) == (EncoderTap.MLP_IN, DecoderSite.POST_NORM)
    for layer, x in enumerate(X):
        p = parameters(layer, affine)
        a = acts_of(p, x)
        y = a @ p["w_dec"] + p["b_dec"] + (x @ p["affine_skip_connection"] if affine else 0)
        torch.testing.assert_close(transcoder.encode(layer, x), a)
        active = {layer: transcoder.active_features(layer, x)}
        torch.testing.assert_close(transcoder.reconstruct(active, layer, x), y)


@pytest.mark.parametrize("affine", [False, True])
def test_cross_layer(tmp_path: Path, affine: bool) -> None:
    files = clt_files(affine)
    transcoder = load_transcoder(write_clt(tmp_path, files))
    assert (transcoder.n_layers, transcoder.cross_layer) == (N_LAYERS, True)
    assert (transcoder.encoder_tap, transcoder.decoder_site) == (EncoderTap.MLP_IN, DecoderSite.POST_NORM)
    active, acts = {}, []
    for layer, (p, x) in enumerate(zip(files, X, strict=True)):
        acts.append(acts_of(p, x))
        y = sum(acts[s] @ files[s]["w_dec"][:, layer] for s in range(layer + 1)) + p["b_dec"]
        y = y + x @ p["affine_skip_connection"] if affine else y
        torch.testing.assert_close(transcoder.encode(layer, x), acts[layer])
        active[layer] = transcoder.active_features(layer, x)
        torch.testing.assert_close(transcoder.reconstruct(active, layer, x), y)
    assert transcoder.notes == ()


def test_weights_for_earlier_layers_are_not_used_and_reported(tmp_path: Path) -> None:
    files = clt_files(affine=False)
    clean = load_transcoder(write_clt(tmp_path / "clean", files))
    files[2]["w_dec"][3, 1, 0] = 1e-3
    transcoder = load_transcoder(write_clt(tmp_path / "other", files))
    assert transcoder.notes == ("w_dec of layers 2 is not zero for earlier layers; that part is not used",)
    for before, after in zip(clean.layers, transcoder.layers, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(before.W_dec, after.W_dec, strict=True))


@pytest.mark.parametrize(
    ("model_name", "n_layers", "full"),
    [
        ("google/gemma-3-270m-pt", 18, "google/gemma-3-270m"),
        ("google/gemma-3-270m", 18, "google/gemma-3-270m"),
        ("gemma-v3-1b-it", 26, "google/gemma-3-1b-it"),
        ("google/gemma-3-4b-pt", 34, "google/gemma-3-4b-pt"),
        ("google/gemma-v3-12b-it", 48, "google/gemma-3-12b-it"),
        ("gemma-3-27b-it", 62, "google/gemma-3-27b-it"),
    ],
)
def test_some_layers_of_a_model_that_is_named(tmp_path: Path, model_name: str, n_layers: int, full: str) -> None:
    root = write_set(tmp_path, layers=(7, 13), model_name=model_name)
    transcoder = load_transcoder(root)
    assert (transcoder.n_layers, transcoder.model_name) == (n_layers, full)
    assert transcoder.prefix == ((2, 105, 2364, 107) if full.endswith("-it") else ())
    assert transcoder.missing_layers == tuple(layer for layer in range(n_layers) if layer not in (7, 13))
    assert "layers without a transcoder keep their MLP" in transcoder.notes[0]
    with pytest.raises(WeightsError, match=f"for a model of {n_layers} layers, not of 99; use its own model"):
        load_transcoder(root, n_layers=99)
    alone = load_transcoder(root / "layer_7_width_16k_l0_small")
    assert alone.n_layers - len(alone.missing_layers) == 1
    assert torch.equal(alone.layers[7].W_dec[0], transcoder.layers[7].W_dec[0])


def test_some_layers_of_a_model_that_is_not_named(tmp_path: Path) -> None:
    root = write_set(tmp_path, layers=(0, 2))
    with pytest.raises(InputError, match="has layers 0, 2 and does not say how many the model has"):
        load_transcoder(root)
    assert load_transcoder(root, n_layers=4).missing_layers == (1, 3)


def test_several_sets_in_a_folder_need_a_choice(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    write_set(tmp_path, affine=True)
    with pytest.raises(InputError, match=r"has 2 transcoders of layer 0: .*_l0_small, .*_l0_small_affine; .* \*"):
        load_transcoder(root)
    for affine, name in ((False, "layer_*_width_16k_l0_small"), (True, "layer_*_width_16k_l0_small_affine")):
        transcoder = load_transcoder(root / name)
        assert transcoder.n_layers == N_LAYERS
        assert (transcoder.skip(0) is not None) == affine


def test_a_whole_repository_is_several_sets(tmp_path: Path) -> None:
    write_set(tmp_path)
    write_clt(tmp_path, clt_files(affine=False))
    with pytest.raises(InputError, match=r"holds several sets, with .*/clt/.*, .*; name the folder of one set"):
        load_transcoder(tmp_path)


@pytest.mark.parametrize("affine", [False, True])
def test_without_config_the_layout_says_it(tmp_path: Path, affine: bool) -> None:
    root = write_set(tmp_path, affine=affine)
    for path in root.rglob("config.json"):
        path.unlink()
    transcoder = load_transcoder(root)
    assert (transcoder.encoder_tap, transcoder.decoder_site) == (EncoderTap.MLP_IN, DecoderSite.POST_NORM)
    assert transcoder.notes == ("no config.json: read and written where the suite's transcoders are",)
    folder = write_clt(tmp_path, clt_files(affine))
    (folder / "config.json").unlink()
    assert load_transcoder(folder).notes == ("no config.json: read and written where the suite's clts are",)


def test_without_config_and_layout_the_caller_must_say_it(tmp_path: Path) -> None:
    root = write_set(tmp_path).rename(tmp_path / "mine")
    for path in root.rglob("config.json"):
        path.unlink()
    with pytest.raises(InputError, match="does not say where it reads; give encoder_tap"):
        load_transcoder(root)
    transcoder = load_transcoder(root, encoder_tap="normalized", decoder_site="mlp_out")
    assert (transcoder.encoder_tap, transcoder.decoder_site) == (EncoderTap.NORMALIZED, DecoderSite.MLP_OUT)


@pytest.mark.parametrize("with_config", [True, False])
@pytest.mark.parametrize(
    ("kind", "folder", "message"),
    [
        ("sae", "resid_post/layer_3_width_16k_l0_big", "sparse autoencoder, which replaces no MLP; .*load_autoencoder"),
        ("crosscoder", "crosscoder/layer_7_width_65k_l0_medium", "a crosscoder, .* Orrery does not read them"),
    ],
)
def test_other_kinds_are_refused(tmp_path: Path, kind: str, folder: str, message: str, with_config: bool) -> None:
    path = write_layer(tmp_path / folder, 3, type=kind)
    if not with_config:
        (path / "config.json").unlink()
    with pytest.raises(WeightsError, match=message):
        load_transcoder(path)


def test_a_crosscoder_of_several_layers_is_refused(tmp_path: Path) -> None:
    folder = write_clt(tmp_path, clt_files(affine=False), type="crosscoder")
    with pytest.raises(WeightsError, match="a crosscoder"):
        load_transcoder(folder, encoder_tap="mlp_in", decoder_site="post_norm")


@needs_maps
@pytest.mark.parametrize("cross_layer", [False, True])
def test_weights_are_views_of_the_files(tmp_path: Path, cross_layer: bool) -> None:
    folder = write_clt(tmp_path, clt_files(affine=True)) if cross_layer else write_set(tmp_path, affine=True)
    for layer in load_transcoder(folder).layers:
        for tensor in layer.tensors().values():
            assert mapped_file(tensor).name.startswith("params")


def edit(path: Path, **changes: Tensor | None) -> None:
    tensors = load_file(path) | changes
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": None}, "expected a tensor 'threshold'"),
        ({"scale": torch.ones(3)}, "the tensor 'scale' is not known in this layout"),
        ({"w_enc": torch.zeros(D_MODEL)}, "w_enc must have 2 dimensions"),
        ({"w_enc": torch.zeros(D_MODEL, 11)}, "config.json says 10 features, the tensors have 11"),
        ({"w_dec": torch.zeros(D_MODEL, WIDTH)}, r"layer 1: W_dec.0 must be \(10, 6\)"),
        ({"b_dec": torch.zeros(7)}, "b_dec must be a vector of one length"),
        ({"affine_skip_connection": torch.zeros(D_MODEL, D_MODEL)}, "affine_connection: False, the tensors have one"),
        ({"threshold": torch.full((WIDTH,), torch.nan)}, "layer 1: threshold holds NaN"),
    ],
)
def test_tensors_that_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    root = write_set(tmp_path)
    edit(root / "layer_1_width_16k_l0_small" / "params.safetensors", **changes)
    with pytest.raises(WeightsError, match=message) as caught:
        load_transcoder(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "top_k"}, "architecture must be jump_relu, it is 'top_k'"),
        ({"type": "lens"}, "type must be transcoder, clt, sae or crosscoder, it is 'lens'"),
        ({"affine_connection": True}, "affine_connection: True, the tensors have none"),
        ({"width": 16384}, "config.json says 16384 features, the tensors have 10"),
        ({"hf_hook_point_in": "model.layers.1.self_attn.output"}, "it reads '.*self_attn.output', which is not known"),
        ({"hf_hook_point_in": "model.layers.2.mlp.input"}, "named for layer 1, its config.json is for layer 2"),
    ],
)
def test_a_config_that_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    root = write_set(tmp_path)
    path = root / "layer_1_width_16k_l0_small" / "config.json"
    path.write_text(json.dumps(config(1) | changes))
    with pytest.raises(WeightsError, match=message):
        load_transcoder(root)


def test_layers_that_read_different_places_are_no_set(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    path = root / "layer_1_width_16k_l0_small" / "config.json"
    path.write_text(json.dumps(config(1, hf_hook_point_in="model.layers.1.pre_feedforward_layernorm.input")))
    with pytest.raises(WeightsError, match=r"encoder_tap differs from layer to layer \(mlp_in, resid_mid\)"):
        load_transcoder(root)


def drop(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def change(name: str, **tensors: Tensor) -> Callable[[Path], None]:
    return lambda folder: edit(folder / name, **tensors)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop("params_layer_1.safetensors"), r"params_layer_1\.safetensors is missing; the set is incomplete"),
        (drop("params_layer_2.safetensors"), "w_dec writes to 3 layers and there are 2 files"),
        (change("params_layer_1.safetensors", w_dec=torch.zeros(WIDTH, 2, D_MODEL)), "w_dec writes to 2 layers"),
        (change("params_layer_1.safetensors", w_dec=torch.zeros(WIDTH, D_MODEL)), "w_dec must have 3 dimensions"),
        (change("params_layer_1.safetensors", b_enc=torch.zeros(4)), r"layer 1: b_enc must be \(10,\)"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read as JSON"),
    ],
)
def test_damaged_cross_layer_files(tmp_path: Path, damage: Callable, message: str) -> None:
    folder = write_clt(tmp_path, clt_files(affine=False))
    damage(folder)
    with pytest.raises(WeightsError, match=message) as caught:
        load_transcoder(folder)
    assert "\n" not in str(caught.value)


def test_a_truncated_file(tmp_path: Path) -> None:
    path = write_clt(tmp_path, clt_files(affine=False)) / "params_layer_1.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(WeightsError, match=r"params_layer_1\.safetensors cannot be read"):
        load_transcoder(path.parent)


def test_the_nominal_width_of_a_cross_layer_set(tmp_path: Path) -> None:
    many = [{**p, "w_enc": p["w_enc"].repeat(1, 20), "w_dec": p["w_dec"].repeat(20, 1, 1)} for p in clt_files(False)]
    many = [p | {name: p[name].repeat(20) for name in ("b_enc", "threshold")} for p in many]
    assert load_transcoder(write_clt(tmp_path, many, width=602)).n_layers == N_LAYERS  # 3 * 200, and a rest
    with pytest.raises(WeightsError, match="says 620 features, the tensors have 600"):
        load_transcoder(write_clt(tmp_path, many, width=620))


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("model_name", ["google/gemma-3-test", "google/gemma-3-1b-it"])
def test_conversions(tmp_path: Path, affine: bool, model_name: str) -> None:
    to = ("orrery",) if "1b" in model_name else ("orrery", "circuit-tracer")  # layers are missing
    check_conversions(write_set(tmp_path / "source", affine=affine, model_name=model_name), tmp_path / "plt", to=to)
    to = ("orrery",) if affine else ("orrery", "circuit-tracer")
    check_conversions(write_clt(tmp_path / "source", clt_files(affine), model_name=model_name), tmp_path / "clt", to=to)


def test_a_set_that_lacks_layers_explains_a_model(tmp_path: Path, checkpoint: Path) -> None:
    """The number of layers is the model's; a layer without a transcoder has its whole output as error."""
    model = ReplacementModel.from_pretrained(checkpoint, _wide_set(tmp_path, layers=(0, 2)))
    assert model.transcoder.missing_layers == (1, 3)
    captured = model.capture(model.read_prompt("the capital of Texas is"))
    found = model.decompose(captured, n_ignored_pos=1)
    assert set(found.features[:, 0].tolist()) == {0, 2}
    outputs = captured.at_site(DecoderSite.POST_NORM)
    for layer in (1, 3):
        torch.testing.assert_close(found.errors[layer, 1:], outputs[layer, 1:])
        assert found.fvu[layer] != found.fvu[layer]  # not a number: nothing is explained
    for layer in (0, 2):
        x = captured.frozen.blocks[layer].tap(captured.resid_mid[layer], EncoderTap.MLP_IN)[1:]
        p = load_file(tmp_path / "transcoder_all" / f"layer_{layer}_width_16k_l0_small" / "params.safetensors")
        explained = acts_of(p, x) @ p["w_dec"] + p["b_dec"] + x @ p["affine_skip_connection"]
        torch.testing.assert_close(found.errors[layer, 1:], outputs[layer, 1:] - explained, rtol=1e-4, atol=1e-4)


def _wide_set(root: Path, layers: tuple[int, ...]) -> Path:
    """Of the tiny model's d_model."""
    generator = torch.Generator().manual_seed(4)
    for layer in layers:
        folder = write_layer(
            root / "transcoder_all" / f"layer_{layer}_width_16k_l0_small", layer, affine=True, width=30
        )
        shapes = {"w_enc": (24, 30), "w_dec": (30, 24), "b_enc": (30,), "b_dec": (24,), "threshold": (30,)}
        shapes["affine_skip_connection"] = (24, 24)
        tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        save_file(tensors, folder / "params.safetensors")
    return root / "transcoder_all"
