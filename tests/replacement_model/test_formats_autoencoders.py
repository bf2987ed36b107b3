"""Autoencoders in each layout, written by hand, and what they must compute."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mappings import mapped_file, needs_maps
from safetensors.torch import save_file
from torch import Tensor

from replacement_model.autoencoder import Autoencoder, AutoencoderSite
from replacement_model.errors import InputError, WeightsError
from replacement_model.formats import load_autoencoder

D, F, K = 6, 10, 3
X = torch.randn(5, D, generator=torch.Generator().manual_seed(9))


def random(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def write(folder: Path, tensors: dict[str, Tensor], file: str, config: dict | None, config_file: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (folder / config_file).write_text(json.dumps(config))
    save_file(tensors, folder / file)
    return folder


def gemma_scope_2(root: Path, config: dict | None = None, folder: str = "resid_post") -> tuple[Path, Tensor, Tensor]:
    p = random(w_enc=(D, F), w_dec=(F, D), b_enc=(F,), b_dec=(D,), threshold=(F,))
    settings = {"hf_hook_point_in": "model.layers.7.output", "hf_hook_point_out": "model.layers.7.output", "width": F}
    settings |= {"model_name": "google/gemma-v3-1b-it", "architecture": "jump_relu", "l0": 50, "type": "sae"}
    settings |= {"affine_connection": False} | (config or {})
    where = root / folder / "layer_7_width_16k_l0_small"
    write(where, p, "params.safetensors", settings if config is not None else None, "config.json")
    h = X @ p["w_enc"] + p["b_enc"]
    a = h * (h > p["threshold"])
    return where, a, a @ p["w_dec"] + p["b_dec"]


def gemma_scope_1(root: Path) -> tuple[Path, Tensor, Tensor]:
    p = random(W_enc=(D, F), W_dec=(F, D), b_enc=(F,), b_dec=(D,), threshold=(F,))
    where = root / "layer_7" / "width_16k" / "average_l0_70"
    where.mkdir(parents=True)
    np.savez(where / "params.npz", **{name: tensor.numpy() for name, tensor in p.items()})
    h = X @ p["W_enc"] + p["b_enc"]
    a = h * (h > p["threshold"])
    return where, a, a @ p["W_dec"] + p["b_dec"]


def saelens(root: Path, architecture: str = "standard", **changes: object) -> tuple[Path, Tensor, Tensor]:
    p = random(W_enc=(D, F), W_dec=(F, D), b_enc=(F,), b_dec=(D,))
    if architecture == "jumprelu":
        p |= random(threshold=(F,))
    config = {"architecture": architecture, "normalize_activations": "none", "apply_b_dec_to_input": True}
    config |= {"k": K} if architecture == "topk" else {}
    config |= {"metadata": {"hook_name": "blocks.7.hook_resid_pre", "model_name": "gpt2"}} | changes
    where = write(root / "sae", p, "sae_weights.safetensors", config, "cfg.json")
    h = (X - p["b_dec"] if config["apply_b_dec_to_input"] else X) @ p["W_enc"] + p["b_enc"]
    a = top(h) if architecture == "topk" else h.relu() * (h > p.get("threshold", torch.zeros(F)))
    return where, a, a @ p["W_dec"] + p["b_dec"]


def sparsify(root: Path, name: str = "layers.7", **changes: object) -> tuple[Path, Tensor, Tensor]:
    p = random(weight=(F, D), W_dec=(F, D), bias=(F,), b_dec=(D,))
    stored = {"encoder.weight": p["weight"], "encoder.bias": p["bias"], "W_dec": p["W_dec"], "b_dec": p["b_dec"]}
    where = write(root / name, stored, "sae.safetensors", {"k": K, "d_in": D} | changes, "cfg.json")
    a = top((X - p["b_dec"]) @ p["weight"].T + p["bias"])
    return where, a, a @ p["W_dec"] + p["b_dec"]


def top(h: Tensor) -> Tensor:
    values, where = h.relu().topk(K, dim=-1)
    return torch.zeros_like(h).scatter(-1, where, values)


def check(found: Autoencoder, acts: Tensor, out: Tensor) -> None:
    assert (found.layer, found.d_sae) == (7, F)
    torch.testing.assert_close(found.encode(X), acts, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.reconstruct(X), out, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.decode(acts), out, rtol=1e-5, atol=1e-5)
    assert all(len(value) == 64 for _, value in found.hashes)


@pytest.mark.parametrize(
    ("hook", "site"),
    [
        ("model.layers.7.output", "resid_post"),
        ("model.layers.7.self_attn.o_proj.input", "heads"),
        ("model.layers.7.post_feedforward_layernorm.output", "mlp_out"),
    ],
)
def test_gemma_scope_2(tmp_path: Path, hook: str, site: str) -> None:
    folder, acts, out = gemma_scope_2(tmp_path, {"hf_hook_point_in": hook, "hf_hook_point_out": hook})
    found = load_autoencoder(folder)
    check(found, acts, out)
    assert (found.site.value, found.model_name) == (site, "google/gemma-3-1b-it")
    assert found.prefix == (2, 105, 2364, 107)


@pytest.mark.parametrize(
    ("folder", "site"), [("resid_post", "resid_post"), ("attn_out_all", "heads"), ("mlp_out_all", "mlp_out")]
)
def test_gemma_scope_2_without_config(tmp_path: Path, folder: str, site: str) -> None:
    where, acts, out = gemma_scope_2(tmp_path, folder=folder)
    found = load_autoencoder(where)
    check(found, acts, out)
    assert found.site.value == site
    assert found.notes == ("no config.json: read where the suite's folder says",)


def test_gemma_scope_1_does_not_say_where_it_reads(tmp_path: Path) -> None:
    folder, acts, out = gemma_scope_1(tmp_path)
    with pytest.raises(InputError, match=r"does not say where it reads; give site, one of resid_pre, .*, mlp_out"):
        load_autoencoder(folder)
    found = load_autoencoder(folder, site="resid_post")
    check(found, acts, out)
    assert found.site == AutoencoderSite.RESID_POST


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "topk"])
def test_saelens(tmp_path: Path, architecture: str, subtract: bool) -> None:
    folder, acts, out = saelens(tmp_path, architecture, apply_b_dec_to_input=subtract)
    found = load_autoencoder(folder)
    check(found, acts, out)
    assert (found.site, found.model_name) == (AutoencoderSite.RESID_PRE, "gpt2")


def test_sparsify(tmp_path: Path) -> None:
    folder, acts, out = sparsify(tmp_path)
    found = load_autoencoder(folder)
    check(found, acts, out)
    assert found.site == AutoencoderSite.RESID_POST


def test_directions(tmp_path: Path) -> None:
    folder, _, _ = gemma_scope_2(tmp_path, {})
    found, idx = load_autoencoder(folder), torch.tensor([4, 0, 4])
    p = random(w_enc=(D, F), w_dec=(F, D))
    assert torch.equal(found.encoder_rows(idx), p["w_enc"].T[[4, 0, 4]])
    # What a unit of activation adds to the output is what one steers with.
    one = torch.zeros(1, F)
    one[0, 4] = 1
    torch.testing.assert_close(found.decode(one)[0] - found.b_dec, found.decoder_rows(idx)[0])


def test_half_precision_inputs_and_weights(tmp_path: Path) -> None:
    folder, acts, _ = gemma_scope_2(tmp_path, {})
    found = load_autoencoder(folder)
    torch.testing.assert_close(found.encode(X.double()).float(), acts)
    assert found.encode(X.bfloat16()).dtype == torch.bfloat16


@needs_maps
def test_weights_are_views_of_the_file(tmp_path: Path) -> None:
    folder, _, _ = gemma_scope_2(tmp_path, {})
    found = load_autoencoder(folder)
    for tensor in (found.W_enc, found.W_dec, found.b_enc, found.b_dec, found.activation.threshold):
        assert mapped_file(tensor).name == "params.safetensors"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda root: gemma_scope_2(root, {"type": "transcoder"}),
            "is a transcoder, no autoencoder; .*load_transcoder",
        ),
        (lambda root: gemma_scope_2(root, {"type": "crosscoder"}), "is a crosscoder, no autoencoder"),
        (lambda root: gemma_scope_2(root, None, "transcoder_all"), "is a transcoder, no autoencoder"),
        (
            lambda root: gemma_scope_2(root, {"hf_hook_point_in": "model.layers.7.mlp.input"}),
            "'model.layers.7.mlp.input'",
        ),
        (lambda root: gemma_scope_2(root, {"architecture": "topk"}), "architecture must be jump_relu"),
        (lambda root: saelens(root, "gated"), "autoencoders must be one of standard, jumprelu, topk, not gated"),
        (lambda root: saelens(root, "topk", rescale_acts_by_decoder_norm=True), "autoencoders must be one of"),
        (lambda root: saelens(root, "transcoder"), "is a transcoder, no autoencoder"),
        (lambda root: sparsify(root, transcode=True), "is a transcoder, no autoencoder"),
        (lambda root: sparsify(root, "layers.7.mlp"), "reads 'layers.7.mlp', which is not known; give site"),
        (lambda root: (root,), "holds no known autoencoder"),
        (lambda root: (root / "absent",), "holds no known autoencoder"),
    ],
)
def test_what_is_refused(tmp_path: Path, make: Callable, message: str) -> None:
    folder = make(tmp_path)[0]
    with pytest.raises(WeightsError, match=message) as caught:
        load_autoencoder(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"b_dec": torch.zeros(5)}, r"b_dec must be \(6,\), the file has \(5,\)"),
        ({"threshold": torch.zeros(4)}, r"threshold must be \(10,\)"),
        ({"w_dec": torch.zeros(D, F)}, r"W_dec must be \(10, 6\), the file has \(6, 10\)"),
        ({"W_gate": torch.zeros(4)}, "'W_gate' is not known"),
    ],
)
def test_tensors_that_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    folder, _, _ = gemma_scope_2(tmp_path, {})
    p = random(w_enc=(D, F), w_dec=(F, D), b_enc=(F,), b_dec=(D,), threshold=(F,))
    save_file(p | changes, folder / "params.safetensors")
    with pytest.raises(WeightsError, match=message):
        load_autoencoder(folder)


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    folder, _, _ = gemma_scope_2(tmp_path, {})
    p = random(w_enc=(D, F), w_dec=(F, D), b_enc=(F,), b_dec=(D,), threshold=(F,))
    save_file(p | {"b_enc": torch.full((F,), torch.nan)}, folder / "params.safetensors")
    with pytest.raises(WeightsError, match="holds NaN or infinite values"):
        load_autoencoder(folder).encode(X)


@pytest.mark.filterwarnings("ignore")  # of the package and what it imports
@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "topk"])
def test_files_of_the_package_itself(tmp_path: Path, architecture: str) -> None:
    pytest.importorskip("sae_lens", reason="runs where sae-lens is installed, which needs a newer set of packages")
    from sae_lens.registry import get_sae_class

    model_class, config_class = get_sae_class(architecture)
    settings = {
        "d_in": D,
        "d_sae": F,
        "architecture": architecture,
        "metadata": {"hook_name": "blocks.7.hook_resid_pre"},
    }
    settings |= {"k": K, "rescale_acts_by_decoder_norm": False} if architecture == "topk" else {}
    theirs = model_class(config_class.from_dict(settings))
    shapes = {name: tuple(tensor.shape) for name, tensor in theirs.state_dict().items()}
    theirs.load_state_dict(random(**shapes))
    theirs.save_model(tmp_path)
    found = load_autoencoder(tmp_path)
    with torch.no_grad():
        check(found, theirs.encode(X), theirs(X))
