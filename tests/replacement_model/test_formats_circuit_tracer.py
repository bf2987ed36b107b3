"""circuit-tracer's layouts written by hand from their description, and what they must compute."""

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conversions import check_conversions
from mappings import mapped_file, needs_maps
from safetensors.torch import save_file
from torch import Tensor

from replacement_model.errors import InputError, WeightsError
from replacement_model.formats import convert, load_transcoder, read_draft
from replacement_model.transcoder import ActiveFeatures, DecoderSite, EncoderTap

D_MODEL, WIDTH, N_LAYERS = 6, 10, 3
Files = dict[str, dict[str, Tensor]]
X = torch.randn(N_LAYERS, 5, D_MODEL, generator=torch.Generator().manual_seed(9))


def per_layer_files(threshold: bool = False, skip: bool = False, k: int | None = None) -> Files:
    generator = torch.Generator().manual_seed(0)

    def one() -> dict[str, Tensor]:
        tensors = {
            "W_enc": torch.randn(WIDTH, D_MODEL, generator=generator),
            "W_dec": torch.randn(WIDTH, D_MODEL, generator=generator),
            "b_enc": torch.randn(WIDTH, generator=generator),
            "b_dec": torch.randn(D_MODEL, generator=generator),
        }
        if threshold:
            tensors["activation_function.threshold"] = torch.rand(WIDTH, generator=generator)
        if skip:
            tensors["W_skip"] = torch.randn(D_MODEL, D_MODEL, generator=generator)
        return tensors if k is None else tensors | {"k": torch.tensor(k)}

    return {f"layer_{layer}": one() for layer in range(N_LAYERS)}


def cross_layer_files(threshold: bool = False) -> Files:
    generator = torch.Generator().manual_seed(0)
    files: Files = {}
    for layer in range(N_LAYERS):
        encoder = {
            f"W_enc_{layer}": torch.randn(WIDTH, D_MODEL, generator=generator),
            f"b_enc_{layer}": torch.randn(WIDTH, generator=generator),
            f"b_dec_{layer}": torch.randn(D_MODEL, generator=generator),
        }
        if threshold:
            encoder[f"threshold_{layer}"] = torch.rand(WIDTH, generator=generator)
        decoder = torch.randn(WIDTH, N_LAYERS - layer, D_MODEL, generator=generator)
        files |= {f"W_enc_{layer}": encoder, f"W_dec_{layer}": {f"W_dec_{layer}": decoder}}
    return files


def write(folder: Path, files: Files, **config: object) -> Path:
    kind = "cross_layer_transcoder" if "W_enc_0" in files else "transcoder_set"
    hooks = {"feature_input_hook": "mlp.hook_in", "feature_output_hook": "mlp.hook_out"}
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"model_kind": kind, **hooks, "scan": "a/set", **config}))
    for name, tensors in files.items():
        save_file(tensors, folder / f"{name}.safetensors")
    return folder


def act(pre: Tensor, threshold: Tensor | None, k: int | None) -> Tensor:
    if threshold is not None:
        return torch.where(pre > threshold, pre, 0)
    if k is None:
        return pre.clamp(min=0)
    lowest = pre.sort(descending=True).values[:, k - 1 : k]
    return torch.where(pre >= lowest, pre.clamp(min=0), 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "options", [{}, {"threshold": True}, {"skip": True}, {"threshold": True, "skip": True}, {"k": 3}]
)
def test_per_layer(tmp_path: Path, options: dict, dtype: torch.dtype) -> None:
    files = per_layer_files(**options)
    files = {
        name: {key: t.to(dtype) if t.is_floating_point() else t for key, t in f.items()} for name, f in files.items()
    }
    transcoder = load_transcoder(write(tmp_path, files)).to(dtype=torch.float32)
    assert not transcoder.cross_layer
    for layer, x in enumerate(X):
        f = {key: t.float() for key, t in files[f"layer_{layer}"].items()}
        acts = act(x @ f["W_enc"].T + f["b_enc"], f.get("activation_function.threshold"), options.get("k"))
        expected = acts @ f["W_dec"] + f["b_dec"] + (x @ f["W_skip"].T if "W_skip" in f else 0)
        torch.testing.assert_close(transcoder.encode(layer, x), acts)
        torch.testing.assert_close(transcoder.reconstruct({layer: ActiveFeatures.of(acts)}, layer, x), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("threshold", [False, True])
def test_cross_layer(tmp_path: Path, threshold: bool, dtype: torch.dtype) -> None:
    files = {name: {key: t.to(dtype) for key, t in f.items()} for name, f in cross_layer_files(threshold).items()}
    transcoder = load_transcoder(write(tmp_path, files)).to(dtype=torch.float32)
    assert transcoder.cross_layer
    tensors = {key: t.float() for f in files.values() for key, t in f.items()}
    acts = {}
    for layer, x in enumerate(X):
        pre = x @ tensors[f"W_enc_{layer}"].T + tensors[f"b_enc_{layer}"]
        acts[layer] = act(pre, tensors.get(f"threshold_{layer}"), None)
        torch.testing.assert_close(transcoder.encode(layer, x), acts[layer])
        expected = tensors[f"b_dec_{layer}"] + sum(acts[s] @ tensors[f"W_dec_{s}"][:, layer - s] for s in acts)
        written = transcoder.reconstruct({s: ActiveFeatures.of(dense) for s, dense in acts.items()}, layer, x)
        torch.testing.assert_close(written, expected)


def test_k_and_activation_from_the_config(tmp_path: Path) -> None:
    transcoder = load_transcoder(write(tmp_path, per_layer_files(), activation="topk", k=2))
    assert {(layer.activation.kind, layer.activation.k) for layer in transcoder.layers} == {("topk", 2)}


@pytest.mark.parametrize(
    ("read", "tap"),
    [
        ("hook_resid_mid", EncoderTap.RESID_MID),
        ("ln2.hook_normalized", EncoderTap.NORMALIZED),
        ("mlp.hook_in", EncoderTap.MLP_IN),
    ],
)
@pytest.mark.parametrize(("written", "site"), [("hook_mlp_out", "POST_NORM"), ("mlp.hook_out", "MLP_OUT")])
def test_hooks(tmp_path: Path, read: str, tap: EncoderTap, written: str, site: str) -> None:
    folder = write(tmp_path, per_layer_files(), feature_input_hook=read, feature_output_hook=written)
    transcoder = load_transcoder(folder)
    assert (transcoder.encoder_tap, transcoder.decoder_site) == (tap, DecoderSite[site])


def test_name_and_hashes(tmp_path: Path) -> None:
    transcoder = load_transcoder(write(tmp_path, per_layer_files()))
    assert transcoder.name == "a/set"
    assert [name for name, _ in transcoder.hashes] == [f"layer_{layer}.safetensors" for layer in range(N_LAYERS)]
    assert all(len(value) == 64 for _, value in transcoder.hashes)


def test_more_than_ten_layers_are_in_numerical_order(tmp_path: Path) -> None:
    one = per_layer_files()["layer_0"]
    files = {f"layer_{layer}": one | {"b_dec": torch.full((D_MODEL,), float(layer))} for layer in range(12)}
    assert load_transcoder(write(tmp_path, files)).b_dec[:, 0].tolist() == list(range(12))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"feature_input_hook": "hook_attn_in"}, "it reads 'hook_attn_in', which is not known; give encoder_tap"),
        ({"feature_input_hook": "hook_mlp_in"}, "it reads 'hook_mlp_in', which is not known; .*resid_mid, .*--measure"),
        ({"feature_output_hook": "hook_resid_post"}, "it writes 'hook_resid_post', which is not known"),
        ({"feature_output_hook": ["mlp.hook_out"]}, r"it writes \['mlp.hook_out'\], which is not known"),
        ({"model_kind": "sae"}, "model_kind must be one of transcoder_set, cross_layer_transcoder, it is 'sae'"),
        ({"d_transcoder": 11}, "says d_transcoder: 11, the tensors say"),
        ({"d_transcoder": [10]}, r"says d_transcoder: \[10\], the tensors say"),
        ({"skip": True}, "says skip: True, the tensors say"),
        ({"activation_kind": "jumprelu"}, "says activation_kind: jumprelu"),
        ({"activation": "gelu"}, "activation must be one of"),
        ({"activation": "topk"}, "k belongs to topk"),
        ({"activation": "topk", "k": "many"}, "k must be a whole number, it is 'many'"),
        ({"transcoders": ["hf://a/b"]}, "'hf://a/b' is not of the form hf://owner/repository/path"),
        ({"transcoders": []}, r"transcoders must be a list of files, it is \[\]"),
        ({"transcoders": [3]}, "an entry of transcoders must be a path or have a layer and a filepath, it is 3"),
        ({"transcoders": ["layer_0.safetensors", "layer_1.safetensors", "layer_0.safetensors"]}, "twice"),
        ({"transcoders": ["layer_9.safetensors"]}, r"layer_9\.safetensors does not exist"),
    ],
)
def test_a_config_that_is_refused(tmp_path: Path, config: dict, message: str) -> None:
    with pytest.raises(WeightsError, match=message) as caught:
        load_transcoder(write(tmp_path, per_layer_files(), **config))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "- a", "", "\x00"])
def test_a_config_that_is_damaged(tmp_path: Path, text: str) -> None:
    write(tmp_path, per_layer_files())
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(WeightsError, match=r"config\.yaml") as caught:
        load_transcoder(tmp_path)
    assert "\n" not in str(caught.value)


def drop(file: str) -> Callable[[Files], None]:
    return lambda files: files.pop(file) and None


def change(file: str, key: str, tensor: Tensor) -> Callable[[Files], None]:
    return lambda files: files[file].update({key: tensor})


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("cross_layer", "damage", "message"),
    [
        (False, drop("layer_1"), r"layer_1\.safetensors is missing"),
        (False, drop("layer_0"), r"layer_0\.safetensors is missing"),
        (False, lambda files: files.clear(), r"layer_0\.safetensors is missing"),
        (False, lambda files: files["layer_1"].pop("W_enc"), "expected a tensor 'W_enc', the file has W_dec, b_dec"),
        (False, change("layer_1", "W_dec", torch.zeros(WIDTH, 7)), r"layer 1: W_dec.0 must be \(10, 6\)"),
        (False, change("layer_1", "W_dec", torch.zeros(WIDTH)), "W_dec must have 2 dimensions, its shape is"),
        (False, change("layer_1", "W_gate", torch.zeros(3)), "tensor 'W_gate' is not known in this layout"),
        (False, change("layer_2", "b_dec", torch.zeros(5)), "b_dec must be a vector of one length"),
        (
            False,
            change("layer_1", "activation_function.threshold", torch.full((WIDTH,), torch.nan)),
            "layer 1: threshold holds NaN",
        ),
        (False, change("layer_2", "W_skip", torch.zeros(6, 5)), "layer 2: W_skip must be"),
        (False, change("layer_2", "b_dec", torch.full((D_MODEL,), torch.nan)), "b_dec holds NaN"),
        (False, change("layer_2", "k", torch.tensor([1, 2])), "'k' must be one whole number"),
        (True, drop("W_enc_1"), r"W_enc_1\.safetensors is missing"),
        (True, drop("W_dec_2"), r"W_dec_2\.safetensors does not exist"),
        (True, drop("W_enc_2"), "layer 0: W_dec must write to 2 layers, the file has 3"),
        (True, lambda files: files["W_enc_1"].pop("W_enc_1"), "expected a tensor 'W_enc_1'"),
        (True, lambda files: files["W_enc_2"].pop("b_dec_2"), "expected a tensor 'b_dec_2'"),
        (
            True,
            change("W_dec_1", "W_dec_1", torch.zeros(WIDTH, 3, D_MODEL)),
            "layer 1: W_dec must write to 2 layers",
        ),
        (True, change("W_enc_0", "threshold_0", torch.zeros(3)), "layer 0: threshold must be"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, cross_layer: bool, damage: Callable, message: str) -> None:
    files = cross_layer_files() if cross_layer else per_layer_files()
    kind = "cross_layer_transcoder" if cross_layer else "transcoder_set"
    damage(files)
    with pytest.raises(WeightsError, match=message) as caught:
        load_transcoder(write(tmp_path, files, model_kind=kind))
    assert "\n" not in str(caught.value)


def test_a_truncated_file(tmp_path: Path) -> None:
    path = write(tmp_path, per_layer_files()) / "layer_1.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(WeightsError, match=r"layer_1\.safetensors cannot be read"):
        load_transcoder(tmp_path)


def test_folders_of_no_known_layout(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        load_transcoder(tmp_path / "absent")
    with pytest.raises(WeightsError, match=r"no known transcoder layout .* but: nothing"):
        load_transcoder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"but: model\.safetensors"):
        load_transcoder(tmp_path)
    with pytest.raises(WeightsError, match="no known transcoder layout"):
        load_transcoder(tmp_path / "layer_*")


def test_a_config_without_hooks_needs_the_callers_word(tmp_path: Path) -> None:
    write(tmp_path, per_layer_files(), feature_input_hook=None, feature_output_hook=None)
    with pytest.raises(InputError, match=r"does not say where it reads; give encoder_tap \(--encoder-tap\)"):
        load_transcoder(tmp_path)
    with pytest.raises(InputError, match="does not say where it writes; give decoder_site"):
        load_transcoder(tmp_path, encoder_tap="resid_mid")
    found = load_transcoder(tmp_path, encoder_tap="resid_mid", decoder_site="mlp_out")
    assert (found.encoder_tap, found.decoder_site) == (EncoderTap.RESID_MID, DecoderSite.MLP_OUT)


@pytest.mark.parametrize("files", [per_layer_files(), cross_layer_files()])
def test_a_folder_without_config_needs_the_callers_word(tmp_path: Path, files: Files) -> None:
    (write(tmp_path, files) / "config.yaml").unlink()
    with pytest.raises(InputError, match="does not say where it reads"):
        load_transcoder(tmp_path)
    found = load_transcoder(tmp_path, encoder_tap="resid_mid", decoder_site="mlp_out")
    assert found.cross_layer == ("W_enc_0" in files)


@needs_maps
@pytest.mark.parametrize("files", [per_layer_files(skip=True, threshold=True), cross_layer_files(threshold=True)])
def test_tensors_are_views_of_the_files(tmp_path: Path, files: Files) -> None:
    for layer in load_transcoder(write(tmp_path, files)).layers:
        for tensor in layer.tensors().values():
            assert mapped_file(tensor).parent == tmp_path


# --- files elsewhere ---


def check_same_as(folder: Path, expected: Files) -> None:
    found = load_transcoder(folder)
    for layer in range(N_LAYERS):
        for name, tensor in found.layers[layer].tensors().items():
            key = {"W_dec.0": "W_dec", "threshold": "activation_function.threshold"}.get(name, name)
            assert torch.equal(tensor, expected[f"layer_{layer}"][key])
        assert torch.equal(found.b_dec[layer], expected[f"layer_{layer}"]["b_dec"])


@pytest.mark.parametrize("repeated", [0, 1, 3])
def test_listed_files_beside_the_config(tmp_path: Path, repeated: int) -> None:
    files = per_layer_files(threshold=True)
    write(tmp_path / "elsewhere", files)
    names = [f"../elsewhere/layer_{layer}.safetensors" for layer in range(N_LAYERS)]
    write(tmp_path / "set", {}, transcoders=names + names[-1:] * repeated)
    check_same_as(tmp_path / "set", files)


def test_listed_files_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = per_layer_files(threshold=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repository, commit = tmp_path / "hub" / "models--owner--weights", "c" * 40
    (repository / "refs").mkdir(parents=True)
    for revision in ("main", "v1"):
        (repository / "refs" / revision).write_text(commit)
    (repository / "snapshots" / commit / "sub").mkdir(parents=True)
    write(repository / "snapshots" / commit / "sub" / "deep", files)
    addresses = [f"hf://owner/weights/sub/deep/layer_{layer}.safetensors?revision=v1" for layer in range(2)]
    write(tmp_path / "set", {}, transcoders=[*addresses, "hf://owner/weights/sub/deep/layer_2.safetensors"])
    check_same_as(tmp_path / "set", files)
    write(tmp_path / "set", {}, transcoders=["hf://owner/weights/sub/deep/layer_7.safetensors"])
    with pytest.raises(InputError, match="layer_7"):
        load_transcoder(tmp_path / "set")


@pytest.mark.parametrize("square", [False, True])
def test_the_layout_of_june_2025(tmp_path: Path, square: bool) -> None:
    files = per_layer_files()
    if square:  # as many features as dimensions: the shape does not tell which way round it is
        files = {name: {key: t[:D_MODEL] if key != "b_dec" else t for key, t in f.items()} for name, f in files.items()}
    stored = {name: f | {"W_dec": f["W_dec"].T.contiguous()} for name, f in files.items()}
    entries = [
        {"id": f"t{layer}", "layer": layer, "filepath": f"layer_{layer}.safetensors"}
        for layer in reversed(range(N_LAYERS))
    ]
    check_same_as(write(tmp_path, stored, transcoders=entries), files)


def as_gemma_scope_2(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    turned = {"w_enc": tensors["W_enc"].T, "w_dec": tensors["W_dec"], "affine_skip_connection": tensors["W_skip"].T}
    kept = {"b_enc": tensors["b_enc"], "b_dec": tensors["b_dec"], "threshold": tensors["activation_function.threshold"]}
    return {name: tensor.contiguous() for name, tensor in (turned | kept).items()}


def test_listed_files_of_gemma_scope_2(tmp_path: Path) -> None:
    files = per_layer_files(threshold=True, skip=True)
    write(tmp_path, {name: as_gemma_scope_2(f) for name, f in files.items()})
    write(tmp_path, {}, transcoders=[f"layer_{layer}.safetensors" for layer in range(N_LAYERS)])
    check_same_as(tmp_path, files)


def test_listed_files_of_gemma_scope_1(tmp_path: Path) -> None:
    files = per_layer_files(threshold=True)
    write(tmp_path, {}, transcoders=[f"layer_{layer}.npz" for layer in range(N_LAYERS)])
    for name, f in files.items():
        threshold = f["activation_function.threshold"].numpy()
        kept = {key: f[key].numpy() for key in ("W_dec", "b_enc", "b_dec")}
        np.savez(tmp_path / f"{name}.npz", W_enc=f["W_enc"].T.numpy(), threshold=threshold, **kept)
    check_same_as(tmp_path, files)
    assert load_transcoder(tmp_path).notes == ()  # the config says where it reads and writes


def test_a_listed_cross_layer_set_of_gemma_scope_2(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    files = {}
    for layer in range(N_LAYERS):
        w_dec = torch.randn(WIDTH, N_LAYERS, D_MODEL, generator=generator)
        w_dec[:, :layer] = 0
        vectors = {"b_enc": torch.zeros(WIDTH), "b_dec": torch.zeros(D_MODEL), "threshold": torch.zeros(WIDTH)}
        files[f"params_{layer}"] = {"w_enc": torch.zeros(D_MODEL, WIDTH), "w_dec": w_dec, **vectors}
    names = [f"{name}.safetensors" for name in files]
    write(tmp_path, files, model_kind="cross_layer_transcoder", transcoders=[*names, names[-1]])
    found = load_transcoder(tmp_path)
    assert found.cross_layer
    assert torch.equal(found.layers[1].W_dec[1], files["params_1"]["w_dec"][:, 2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "files",
    [per_layer_files(), per_layer_files(threshold=True, skip=True), cross_layer_files(), cross_layer_files(True)],
)
def test_conversions(tmp_path: Path, files: Files, dtype: torch.dtype) -> None:
    files = {name: {key: tensor.to(dtype) for key, tensor in f.items()} for name, f in files.items()}
    check_conversions(write(tmp_path / "source", files, model_name="a/model"), tmp_path)


def test_conversions_of_top_k(tmp_path: Path) -> None:
    check_conversions(write(tmp_path / "source", per_layer_files(k=3)), tmp_path)


@pytest.mark.filterwarnings("ignore")  # of the package and what it imports
@pytest.mark.parametrize("cross_layer", [False, True])
def test_the_package_itself_reads_what_is_written(tmp_path: Path, cross_layer: bool) -> None:
    package = pytest.importorskip("circuit_tracer", reason="runs where circuit-tracer is installed (make test-4.57)")
    files = cross_layer_files(True) if cross_layer else per_layer_files(threshold=True, skip=True)
    source = write(tmp_path / "source", files)
    convert(read_draft(source), tmp_path / "new", "circuit-tracer")
    ours = load_transcoder(source)
    module = "cross_layer_transcoder" if cross_layer else "single_layer_transcoder"
    loaders = importlib.import_module(f"{package.__name__}.transcoder.{module}")
    cpu = torch.device("cpu")
    if cross_layer:
        theirs = loaders.load_clt(str(tmp_path / "new"), device=cpu, dtype=torch.float32, lazy_decoder=False)
    else:
        paths = {layer: str(tmp_path / "new" / f"layer_{layer}.safetensors") for layer in range(N_LAYERS)}
        theirs = loaders.load_transcoder_set(paths, "scan", "mlp.hook_in", "mlp.hook_out", cpu, torch.float32)
    with torch.no_grad():
        acts = theirs.encode(X)
        outputs = theirs.decode(acts, X)
    active = {}
    for layer, x in enumerate(X):
        torch.testing.assert_close(ours.encode(layer, x), acts[layer])
        active[layer] = ours.active_features(layer, x)
        torch.testing.assert_close(ours.reconstruct(active, layer, x), outputs[layer])
