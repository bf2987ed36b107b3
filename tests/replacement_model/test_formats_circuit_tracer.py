"""circuit-tracer's layouts written by hand from their description, and what they must compute."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from replacement_model.errors import WeightsError
from replacement_model.formats import load_transcoder
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
        ({"feature_input_hook": "hook_attn_in"}, "feature_input_hook must be one of .* it is 'hook_attn_in'"),
        ({"feature_output_hook": None}, "feature_output_hook must be one of"),
        ({"feature_output_hook": ["mlp.hook_out"]}, "feature_output_hook must be one of"),
        ({"model_kind": "sae"}, "model_kind must be one of transcoder_set, cross_layer_transcoder, it is 'sae'"),
        ({"d_transcoder": 11}, "says d_transcoder: 11, the tensors say"),
        ({"d_transcoder": [10]}, r"says d_transcoder: \[10\], the tensors say"),
        ({"skip": True}, "says skip: True, the tensors say"),
        ({"activation_kind": "jumprelu"}, "says activation_kind: jumprelu"),
        ({"activation": "gelu"}, "activation must be one of"),
        ({"activation": "topk"}, "k belongs to topk"),
        ({"activation": "topk", "k": "many"}, "k must be a whole number, it is 'many'"),
        ({"transcoders": ["hf://a/b"]}, "lists files elsewhere"),
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
        (False, change("layer_1", "W_dec", torch.zeros(D_MODEL, WIDTH)), r"layer 1: W_dec.0 must be \(10, 6\)"),
        (False, change("layer_2", "b_dec", torch.zeros(5)), "b_dec differs in shape"),
        (False, change("layer_2", "W_skip", torch.zeros(6, 5)), "layer 2: W_skip must be"),
        (False, change("layer_2", "b_dec", torch.full((D_MODEL,), torch.nan)), "b_dec holds NaN"),
        (False, change("layer_2", "k", torch.tensor([1, 2])), "'k' must be one whole number"),
        (True, drop("W_enc_1"), r"W_enc_1\.safetensors is missing"),
        (True, drop("W_dec_2"), r"W_dec_2\.safetensors does not exist"),
        (True, drop("W_enc_2"), "layer 0: W_dec must write to 2 layers, the file has 3"),
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
    (tmp_path / "params.npz").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"but: params\.npz"):
        load_transcoder(tmp_path)
