"""CLT-Forge's layout written by hand from its description, and what it must compute."""

import json
from pathlib import Path

import pytest
import torch
from conversions import check_conversions
from mappings import mapped_file, needs_maps
from safetensors.torch import save_file
from torch import Tensor

from replacement_model.errors import InputError, WeightsError
from replacement_model.formats import load_transcoder
from replacement_model.transcoder import Transcoder

L, D, F = 4, 6, 10
PLACES = {"encoder_tap": "normalized", "decoder_site": "post_norm"}
PAIRS = [(source, target) for source in range(L) for target in range(source, L)]
X = torch.randn(L, 5, D, generator=torch.Generator().manual_seed(9))


def parameters(cross_layer: bool = True, scaled: bool = False) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    n = len(PAIRS) if cross_layer else L
    shapes = {"W_enc": (L, D, F), "b_enc": (L, F), "W_dec": (n, F, D), "b_dec": (n, D), "log_threshold": (L, F)}
    found = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for side in ("in", "out"):
        found[f"estimated_norm_scaling_factor_{side}"] = (
            torch.rand(L, generator=generator) + 0.5 if scaled else torch.ones(L)
        )
    # Of the training run:
    return found | {"feature_count": torch.zeros(L, F, dtype=torch.int64), "layer_mask": torch.zeros(L, n)}


def write(folder: Path, tensors: dict[str, Tensor], n_shards: int = 0, **changes: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = {"d_in": D, "d_latent": F, "n_layers": L, "model_name": "gpt2", "activation_fn": "jumprelu"}
    config |= {"cross_layer_decoders": len(tensors["W_dec"]) > L, "feature_sharding": n_shards > 0} | changes
    (folder / "clt_cfg.json").write_text(json.dumps({k: v for k, v in config.items() if v != "DROP"}))
    if not n_shards:
        save_file(tensors, folder / "clt_weights.safetensors")
    axes = {"W_enc": 2, "b_enc": 1, "W_dec": 1, "log_threshold": 1, "feature_count": 1}
    for rank in range(n_shards):
        part = {k: t.chunk(n_shards, axes[k])[rank].contiguous() if k in axes else t for k, t in tensors.items()}
        save_file(part, folder / f"rank{rank}_clt_weights.safetensors")
    return folder


def jump(p: dict[str, Tensor], h: Tensor, layer: int) -> Tensor:
    return h * (h > p["log_threshold"][layer].exp())


def check(transcoder: Transcoder, p: dict[str, Tensor], acts_of=jump) -> None:
    scale_in, scale_out = (p[f"estimated_norm_scaling_factor_{side}"] for side in ("in", "out"))
    crosses = len(p["W_dec"]) > L
    pairs = PAIRS if crosses else [(layer, layer) for layer in range(L)]
    acts, active = [], {}
    for layer, x in enumerate(X):
        acts.append(acts_of(p, (x * scale_in[layer]) @ p["W_enc"][layer] + p["b_enc"][layer], layer))
        y = torch.zeros_like(x)
        for index, (source, target) in enumerate(pairs):
            if target == layer:
                y = y + acts[source] @ p["W_dec"][index] + p["b_dec"][index]
        torch.testing.assert_close(transcoder.encode(layer, x), acts[layer], rtol=1e-5, atol=1e-5)
        active[layer] = transcoder.active_features(layer, x)
        found = transcoder.reconstruct(active, layer, x)
        torch.testing.assert_close(found, y / scale_out[layer], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_shards", [0, 2, 5])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("cross_layer", [False, True])
def test_forward(tmp_path: Path, cross_layer: bool, scaled: bool, n_shards: int) -> None:
    p = parameters(cross_layer, scaled)
    transcoder = load_transcoder(write(tmp_path, p, n_shards), **PLACES)
    assert (transcoder.n_layers, transcoder.cross_layer, transcoder.model_name) == (L, cross_layer, "gpt2")
    check(transcoder, p)
    assert len(transcoder.notes) == scaled


def test_older_configs(tmp_path: Path) -> None:
    p = parameters()
    check(load_transcoder(write(tmp_path, p, activation_fn="DROP", cross_layer_decoders="DROP"), **PLACES), p)


def test_top_k(tmp_path: Path) -> None:
    def acts_of(_: dict, h: Tensor, layer: int) -> Tensor:
        values, where = h.relu().topk(3, dim=-1)
        return torch.zeros_like(h).scatter(-1, where, values)

    p = parameters()
    check(load_transcoder(write(tmp_path, p, activation_fn="topk", k=3), **PLACES), p, acts_of)


def test_where_it_reads_and_writes_is_never_guessed(tmp_path: Path) -> None:
    write(tmp_path, parameters())
    with pytest.raises(InputError, match=r"does not say where it reads; give encoder_tap"):
        load_transcoder(tmp_path)


@needs_maps
@pytest.mark.parametrize("cross_layer", [False, True])
def test_weights_are_views_of_the_file(tmp_path: Path, cross_layer: bool) -> None:
    for layer in load_transcoder(write(tmp_path, parameters(cross_layer)), **PLACES).layers:
        for tensor in (layer.W_enc, layer.b_enc, *layer.W_dec):
            assert mapped_file(tensor).name == "clt_weights.safetensors"


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"b_dec": None}, "expected a tensor 'b_dec'"),
        ({"W_dec": torch.zeros(9, F, D)}, r"W_dec must have 10 layers, its shape is \(9, 10, 6\)"),
        ({"b_enc": torch.zeros(3, F)}, "b_enc must have 4 layers"),
        ({"W_enc": torch.zeros(L, F)}, "W_enc must have 3 dimensions"),
        ({"W_enc": torch.zeros(L, 5, F)}, r"layer 0: W_enc must be \(10, 6\)"),
        ({"log_threshold": torch.full((L, F), torch.nan)}, "layer 0: threshold holds NaN"),
        ({"log_threshold": None}, "activation_fn must be jumprelu, with a log_threshold"),
        ({"model.W": torch.zeros(2)}, r"'model\.W' is not known"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    tensors = parameters() | changes
    folder = write(
        tmp_path, {name: tensor for name, tensor in tensors.items() if tensor is not None}, cross_layer_decoders=True
    )
    with pytest.raises(WeightsError, match=message) as caught:
        load_transcoder(folder, **PLACES)
    assert "\n" not in str(caught.value)


def test_an_activation_that_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="it is 'gumbel'"):
        load_transcoder(write(tmp_path, parameters(), activation_fn="gumbel"), **PLACES)


def test_damaged_files(tmp_path: Path) -> None:
    folder = write(tmp_path, parameters(), n_shards=2)
    path = folder / "rank1_clt_weights.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(WeightsError, match=r"rank1_clt_weights\.safetensors cannot be read"):
        load_transcoder(folder, **PLACES)
    (folder / "rank0_clt_weights.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"rank0_clt_weights\.safetensors does not exist"):
        load_transcoder(folder, **PLACES)
    path.unlink()
    with pytest.raises(WeightsError, match=r"clt_weights\.safetensors does not exist"):
        load_transcoder(folder, **PLACES)


@pytest.mark.parametrize("n_shards", [0, 2])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("cross_layer", [False, True])
def test_conversions(tmp_path: Path, cross_layer: bool, scaled: bool, n_shards: int) -> None:
    check_conversions(write(tmp_path / "source", parameters(cross_layer, scaled), n_shards), tmp_path, **PLACES)
