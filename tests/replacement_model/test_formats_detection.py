"""Every layout is recognised by its own reader and by no other."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from replacement_model.errors import InputError, WeightsError
from replacement_model.formats import READERS, load_transcoder, save_transcoder
from replacement_model.transcoder import Transcoder

D, F = 6, 10
COMMON = {"b_enc": torch.zeros(F), "b_dec": torch.zeros(D)}
PARAMS = {"w_enc": torch.zeros(D, F), "w_dec": torch.zeros(F, D), "threshold": torch.zeros(F), **COMMON}
HOOKS = {"feature_input_hook": "mlp.hook_in", "feature_output_hook": "mlp.hook_out"}


def put(folder: Path, name: str, content: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    match path.suffix:
        case ".json":
            path.write_text(json.dumps(content))
        case ".yaml":
            path.write_text(yaml.safe_dump(content))
        case ".npz":
            np.savez(path, **content)
        case _:
            save_file(content, path)


def gemma_scope_2_layers(root: Path) -> None:
    for layer in range(2):
        config = {"hf_hook_point_in": f"model.layers.{layer}.mlp.input", "hf_hook_point_out": "x", "type": "transcoder"}
        put(root / f"layer_{layer}_width_16k_l0_small", "config.json", config)
        put(root / f"layer_{layer}_width_16k_l0_small", "params.safetensors", PARAMS)


def gemma_scope_2_clt(root: Path) -> None:
    put(root, "config.json", {"type": "clt"})
    for layer in range(2):
        put(root, f"params_layer_{layer}.safetensors", PARAMS | {"w_dec": torch.zeros(F, 2, D)})


def gemma_scope_1(root: Path) -> None:
    arrays = {"W_enc": np.zeros((D, F)), "W_dec": np.zeros((F, D)), "b_enc": np.zeros(F), "b_dec": np.zeros(D)}
    for layer in range(2):
        put(root / f"layer_{layer}" / "width_16k" / "average_l0_9", "params.npz", arrays | {"threshold": np.zeros(F)})


def circuit_tracer(root: Path) -> None:
    put(root, "config.yaml", {"model_kind": "transcoder_set", **HOOKS})
    for layer in range(2):
        put(root, f"layer_{layer}.safetensors", {"W_enc": torch.zeros(F, D), "W_dec": torch.ones(F, D), **COMMON})


def circuit_tracer_clt(root: Path) -> None:
    put(root, "config.yaml", {"model_kind": "cross_layer_transcoder", **HOOKS})
    vectors = {"b_enc_0": torch.zeros(F), "b_dec_0": torch.zeros(D)}
    put(root, "W_enc_0.safetensors", {"W_enc_0": torch.zeros(F, D), **vectors})
    put(root, "W_dec_0.safetensors", {"W_dec_0": torch.zeros(F, 1, D)})


def eleuther(root: Path) -> None:
    for layer in range(2):
        put(root / f"layers.{layer}.mlp", "cfg.json", {"k": 2, "transcode": True, "d_in": D})
        encoder = {"encoder.weight": torch.zeros(F, D), "encoder.bias": torch.zeros(F)}
        put(
            root / f"layers.{layer}.mlp",
            "sae.safetensors",
            encoder | {"W_dec": torch.ones(F, D), "b_dec": torch.zeros(D)},
        )
    put(root, "config.json", {"hookpoints": []})


def saelens(root: Path) -> None:
    for layer in range(2):
        hooks = {"hook_name": f"blocks.{layer}.mlp.hook_in", "hook_name_out": f"blocks.{layer}.hook_mlp_out"}
        put(root / str(layer), "cfg.json", {"architecture": "transcoder", "metadata": hooks})
        put(
            root / str(layer),
            "sae_weights.safetensors",
            {"W_enc": torch.zeros(D, F), "W_dec": torch.ones(F, D), **COMMON},
        )


def crosslayer(root: Path) -> None:
    put(root, "config.yaml", {"model": {"init_args": {"nonlinearity": {"class_path": "torch.nn.ReLU"}}}})
    encoder = {"encoder.W": torch.zeros(2, D, F), "encoder.b": torch.zeros(2, F)}
    put(root, "checkpoint.safetensors", encoder | {"decoder.W": torch.zeros(2, F, D), "decoder.b": torch.zeros(2, D)})


def clt_forge(root: Path) -> None:
    put(root, "clt_cfg.json", {"n_layers": 2})
    tensors = {"W_enc": torch.zeros(2, D, F), "b_enc": torch.zeros(2, F), "log_threshold": torch.zeros(2, F)}
    put(root, "clt_weights.safetensors", tensors | {"W_dec": torch.zeros(3, F, D), "b_dec": torch.zeros(3, D)})


LAYOUTS: dict[str, tuple[str, Callable[[Path], None]]] = {
    function.__name__: (name, function)
    for name, functions in {
        "circuit-tracer": (circuit_tracer, circuit_tracer_clt),
        "gemma-scope-2": (gemma_scope_2_layers, gemma_scope_2_clt),
        "gemma-scope-1": (gemma_scope_1,),
        "eleuther": (eleuther,),
        "saelens": (saelens,),
        "crosslayer-transcoder": (crosslayer,),
        "clt-forge": (clt_forge,),
    }.items()
    for function in functions
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_reader_recognises_it(tmp_path: Path, layout: str) -> None:
    expected, write = LAYOUTS[layout]
    write(tmp_path)
    assert [name for name, (recognises, _) in READERS.items() if recognises(tmp_path)] == [expected]
    places = {"encoder_tap": "mlp_in", "decoder_site": "mlp_out"}
    if layout == "circuit_tracer_clt":
        assert load_transcoder(tmp_path, **places).n_layers == 1
    else:
        assert load_transcoder(tmp_path, **places).n_layers == 2


def test_our_own(tmp_path: Path, make_transcoder: Callable[..., Transcoder]) -> None:
    save_transcoder(make_transcoder(), tmp_path)
    assert [name for name, (recognises, _) in READERS.items() if recognises(tmp_path)] == ["orrery"]


def test_every_reader_has_a_case() -> None:
    assert {name for name, _ in LAYOUTS.values()} | {"orrery"} == set(READERS)


def test_two_layouts_in_one_folder_are_refused(tmp_path: Path) -> None:
    gemma_scope_2_clt(tmp_path)
    clt_forge(tmp_path)
    with pytest.raises(WeightsError, match="holds several layouts: gemma-scope-2, clt-forge; name a folder with one"):
        load_transcoder(tmp_path)


@pytest.mark.parametrize(
    ("layout", "folder"),
    [
        ("gemma_scope_2_layers", "layer_1_width_16k_l0_small"),
        ("gemma_scope_1", "layer_1/width_16k/average_l0_9"),
        ("eleuther", "layers.1.mlp"),
        ("saelens", "1"),
    ],
)
def test_one_layer_of_a_set_is_recognised_alone(tmp_path: Path, layout: str, folder: str) -> None:
    expected, write = LAYOUTS[layout]
    write(tmp_path)
    assert [name for name, (recognises, _) in READERS.items() if recognises(tmp_path / folder)] == [expected]
    with pytest.raises(InputError, match="has layers 1 and does not say how many the model has"):
        load_transcoder(tmp_path / folder, encoder_tap="mlp_in", decoder_site="mlp_out")
