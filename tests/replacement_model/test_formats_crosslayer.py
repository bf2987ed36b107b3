"""crosslayer-transcoder's layout written by hand from its description, and what it must compute."""

from pathlib import Path

import pytest
import torch
import yaml
from conversions import check_conversions
from mappings import mapped_file, needs_maps
from safetensors.torch import load_file, save_file
from torch import Tensor

from replacement_model.errors import InputError, WeightsError
from replacement_model.formats import load_transcoder
from replacement_model.transcoder import DecoderSite, EncoderTap, Transcoder

L, D, F = 3, 6, 10
PLACES = {"encoder_tap": "mlp_in", "decoder_site": "mlp_out"}
X = torch.randn(L, 5, D, generator=torch.Generator().manual_seed(9))


def parameters(cross_layer: bool = True, standardise: str = "", theta: bool = True) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"encoder.W": (L, D, F), "encoder.b": (L, F), "decoder.b": (L, D)}
    shapes |= {f"decoder.W_{t}": (t + 1, F, D) for t in range(L)} if cross_layer else {"decoder.W": (L, F, D)}
    if theta:
        shapes |= {"nonlinearity.theta": (1, L, F)}  # some of it negative
    found = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    if standardise:
        shape = (L, D) if standardise == "dimension" else (L,)
        for side in ("input", "output"):
            found[f"{side}_standardizer.mean"] = torch.randn(shape, generator=generator)
            found[f"{side}_standardizer.std"] = torch.rand(shape, generator=generator) + 0.5
    return found | ({"nonlinearity.bandwidth": torch.tensor(1.0)} if theta else {})


def write(folder: Path, tensors: dict[str, Tensor], is_folded: bool = False, **parts: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    model = {"class_path": "crosslayer_transcoder.model.clt.CrossLayerTranscoder", "is_folded": is_folded}
    nonlinearity = {"class_path": "crosslayer_transcoder.model.jumprelu.JumpReLU", "init_args": {}}
    model["init_args"] = {"nonlinearity": nonlinearity, **parts}
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": model}))
    save_file(tensors, folder / "checkpoint.safetensors")
    return folder


def named(kind: str, **arguments: object) -> dict:
    return {"class_path": f"crosslayer_transcoder.model.topk.{kind}", "init_args": arguments}


def check(transcoder: Transcoder, p: dict[str, Tensor], acts_of, standardised: bool) -> None:
    """The formula: standardise, encode, gate, decode, and the reverse of standardising."""
    scale = {
        f"{side}.{part}": torch.full((L, 1), float(part == "std"))
        for side in ("input", "output")
        for part in ("mean", "std")
    }
    if standardised:
        scale = {key: p[key.replace(".", "_standardizer.")].reshape(L, -1) for key in scale}
    acts, active = [], {}
    for layer, x in enumerate(X):
        z = (x - scale["input.mean"][layer]) / scale["input.std"][layer]
        acts.append(acts_of(z @ p["encoder.W"][layer] + p["encoder.b"][layer], layer))
        if "decoder.W" in p:
            y = acts[layer] @ p["decoder.W"][layer]
        else:
            y = sum(acts[source] @ p[f"decoder.W_{layer}"][source] for source in range(layer + 1))
        y = (y + p["decoder.b"][layer]) * scale["output.std"][layer] + scale["output.mean"][layer]
        torch.testing.assert_close(transcoder.encode(layer, x), acts[layer], rtol=1e-5, atol=1e-5)
        active[layer] = transcoder.active_features(layer, x)
        torch.testing.assert_close(transcoder.reconstruct(active, layer, x), y, rtol=1e-5, atol=1e-5)


def gate(p: dict[str, Tensor]):
    def acts_of(h: Tensor, layer: int) -> Tensor:
        return torch.where((h > p["nonlinearity.theta"][0, layer]) & (h > 0), h, 0)

    return acts_of


@pytest.mark.parametrize("standardise", ["", "dimension", "layer"])
@pytest.mark.parametrize("is_folded", [False, True])
@pytest.mark.parametrize("cross_layer", [False, True])
def test_forward(tmp_path: Path, cross_layer: bool, is_folded: bool, standardise: str) -> None:
    p = parameters(cross_layer, standardise)
    transcoder = load_transcoder(write(tmp_path, p, is_folded), **PLACES)
    assert (transcoder.n_layers, transcoder.cross_layer) == (L, cross_layer)
    folds = bool(standardise) and not is_folded
    check(transcoder, p, gate(p), folds)
    assert len(transcoder.notes) == folds


def test_where_it_reads_and_writes_is_never_guessed(tmp_path: Path) -> None:
    write(tmp_path, parameters())
    with pytest.raises(InputError, match="does not say where it reads; give encoder_tap"):
        load_transcoder(tmp_path)
    with pytest.raises(InputError, match="does not say where it writes; give decoder_site"):
        load_transcoder(tmp_path, encoder_tap="resid_mid")
    found = load_transcoder(tmp_path, encoder_tap="resid_mid", decoder_site="post_norm")
    assert (found.encoder_tap, found.decoder_site) == (EncoderTap.RESID_MID, DecoderSite.POST_NORM)


def test_top_k(tmp_path: Path) -> None:
    p = parameters(theta=False)
    transcoder = load_transcoder(write(tmp_path, p, nonlinearity=named("PerLayerTopK", k=3)), **PLACES)

    def acts_of(h: Tensor, layer: int) -> Tensor:
        values, where = h.topk(3, dim=-1)
        return torch.zeros_like(h).scatter(-1, where, values.relu())

    check(transcoder, p, acts_of, standardised=False)


@pytest.mark.parametrize(("kind", "threshold"), [("BatchTopK", [0.4]), ("PerLayerBatchTopK", [0.4, -0.2, 0.9])])
def test_batch_top_k_at_its_running_threshold(tmp_path: Path, kind: str, threshold: list[float]) -> None:
    p = parameters(theta=False) | {"nonlinearity.threshold": torch.tensor(threshold)}
    transcoder = load_transcoder(write(tmp_path, p, nonlinearity=named(kind, k=3)), **PLACES)

    def acts_of(h: Tensor, layer: int) -> Tensor:
        return torch.where(h > max(0, threshold[layer % len(threshold)]), h, 0)

    check(transcoder, p, acts_of, standardised=False)


def test_relu(tmp_path: Path) -> None:
    p = parameters(theta=False)
    relu = {"class_path": "torch.nn.ReLU"}
    check(
        load_transcoder(write(tmp_path, p, nonlinearity=relu), **PLACES), p, lambda h, _: h.relu(), standardised=False
    )


def test_half_precision_is_not_rounded_again_by_the_fold(tmp_path: Path) -> None:
    p = {name: tensor.bfloat16() for name, tensor in parameters(standardise="dimension").items()}
    layer = load_transcoder(write(tmp_path, p), **PLACES).layers[1]
    assert layer.W_enc.dtype == torch.float32
    expected = p["encoder.W"][1].T.double() / p["input_standardizer.std"][1].double()
    torch.testing.assert_close(layer.W_enc.double(), expected, rtol=1e-6, atol=0)


@needs_maps
def test_weights_are_views_of_the_file(tmp_path: Path) -> None:
    for layer in load_transcoder(
        write(tmp_path, parameters(theta=False), nonlinearity=named("PerLayerTopK", k=3)), **PLACES
    ).layers:
        for tensor in layer.tensors().values():
            assert mapped_file(tensor).name == "checkpoint.safetensors"


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder.b": None}, r"expected a tensor 'encoder\.b'"),
        ({"decoder.W_1": None}, r"expected a tensor 'decoder\.W_1'"),
        ({"decoder.W_1": torch.zeros(3, F, D)}, r"decoder\.W_1 must have 2 layers, its shape is \(3, 10, 6\)"),
        ({"decoder.b": torch.zeros(2, D)}, r"decoder\.b must have 3 layers"),
        ({"encoder.W": torch.zeros(L, F)}, r"encoder\.W must have 3 dimensions"),
        ({"encoder.W": torch.zeros(L, 5, F)}, r"layer 0: W_enc must be \(10, 6\)"),
        ({"nonlinearity.theta": torch.zeros(1, L, 4)}, r"theta must be \(1, 3, 10\), it is \(1, 3, 4\)"),
        ({"molt.W": torch.zeros(2)}, r"'molt\.W' is not known"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    tensors = parameters() | changes
    write(tmp_path, {name: tensor for name, tensor in tensors.items() if tensor is not None})
    with pytest.raises(WeightsError, match=message) as caught:
        load_transcoder(tmp_path, **PLACES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"nonlinearity": named("Gumbel")}, "the nonlinearity Gumbel is not known"),
        ({"nonlinearity": None}, "the nonlinearity that config.yaml does not name is not known"),
        (
            {
                "nonlinearity": {"class_path": "torch.nn.ReLU"},
                "input_standardizer": named("SamplewiseInputStandardizer"),
            },
            "a SamplewiseInputStandardizer has no mean and std to fold",
        ),
    ],
)
def test_a_config_that_is_refused(tmp_path: Path, parts: dict, message: str) -> None:
    write(tmp_path, parameters(theta=False), **parts)
    with pytest.raises(WeightsError, match=message):
        load_transcoder(tmp_path, **PLACES)


def test_damaged_files(tmp_path: Path) -> None:
    path = write(tmp_path, parameters()) / "checkpoint.safetensors"
    load_file(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(WeightsError, match=r"checkpoint\.safetensors cannot be read"):
        load_transcoder(tmp_path, **PLACES)
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(WeightsError, match=r"config\.yaml cannot be read"):
        load_transcoder(tmp_path, **PLACES)


@pytest.mark.parametrize("standardise", ["", "dimension"])
@pytest.mark.parametrize("cross_layer", [False, True])
def test_conversions(tmp_path: Path, cross_layer: bool, standardise: str) -> None:
    check_conversions(write(tmp_path / "source", parameters(cross_layer, standardise)), tmp_path, **PLACES)
