from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

import replacement_model.transcoder as transcoder_module
from replacement_model.activation import Activation
from replacement_model.errors import WeightsError
from replacement_model.transcoder import ActiveFeatures, DecoderSite, EncoderTap, Transcoder, TranscoderLayer

Make = Callable[..., Transcoder]


def by_hand(cross_layer: bool) -> Transcoder:
    """Two layers, d_model 2, one feature a layer that reads the first coordinate."""

    def layer(index: int) -> TranscoderLayer:
        n_out = 2 - index if cross_layer else 1
        return TranscoderLayer(
            W_enc=torch.tensor([[1.0, 0.0]]),
            b_enc=torch.tensor([0.5]),
            W_dec=torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])[:, :n_out].mul(index + 1).unbind(1),
            activation=Activation("relu"),
            W_skip=torch.tensor([[0.0, 10.0], [0.0, 0.0]]),
        )

    return Transcoder(
        layers=(layer(0), layer(1)),
        b_dec=torch.tensor([[100.0, 0.0], [0.0, 100.0]]),
        cross_layer=cross_layer,
        encoder_tap=EncoderTap.MLP_IN,
        decoder_site=DecoderSite.MLP_OUT,
    )


X = torch.tensor([[1.0, 7.0], [-2.0, 1.0]])


def test_encoding_by_hand() -> None:
    transcoder = by_hand(cross_layer=True)
    assert transcoder.pre_acts(0, X).tolist() == [[1.5], [-1.5]]
    assert transcoder.encode(0, X).tolist() == [[1.5], [0]]
    assert transcoder.activate(0, torch.tensor([[-1.0], [2.0]])).tolist() == [[0], [2]]


@pytest.mark.parametrize(
    ("cross_layer", "expected"),
    # acts @ W_dec of layer 1, of layer 0 if it writes there, b_dec, x @ W_skip.T: [10 * x[1], 0]
    [(True, [[6 + 4.5 + 70, 12 + 6 + 100], [6 + 10, 12 + 100]]), (False, [[6 + 70, 12 + 100], [6 + 10, 12 + 100]])],
)
def test_reconstruction_by_hand(cross_layer: bool, expected: list) -> None:
    dense = {0: torch.tensor([[1.5], [0.0]]), 1: torch.tensor([[3.0], [3.0]])}
    acts = {layer: ActiveFeatures.of(values) for layer, values in dense.items()}
    assert by_hand(cross_layer).reconstruct(acts, 1, X).tolist() == expected


def test_decoder_rows_count_from_their_own_layer(make_transcoder: Make) -> None:
    transcoder, idx = make_transcoder(cross_layer=True), torch.tensor([4, 0])
    for source in range(4):
        for write in range(source, 4):
            rows = transcoder.decoder_rows(source, idx, write)
            assert torch.equal(rows, transcoder.layers[source].W_dec[write - source][idx])
    per_layer = make_transcoder(cross_layer=False)
    assert torch.equal(per_layer.decoder_rows(2, idx, 2), per_layer.layers[2].W_dec[0][idx])


@pytest.mark.parametrize(("cross_layer", "source", "write"), [(True, 2, 1), (True, 2, 4), (False, 2, 3), (False, 2, 1)])
def test_a_layer_that_a_feature_does_not_write_to_is_refused(
    make_transcoder: Make, cross_layer: bool, source: int, write: int
) -> None:
    with pytest.raises(WeightsError, match=f"layer {source} do not write at layer {write}"):
        make_transcoder(cross_layer=cross_layer).decoder_rows(source, torch.tensor([0]), write)


def test_source_layers(make_transcoder: Make) -> None:
    assert make_transcoder(cross_layer=True).source_layers(2) == (0, 1, 2)
    assert make_transcoder(cross_layer=False).source_layers(2) == (2,)
    assert make_transcoder(cross_layer=True, absent=(0, 2)).source_layers(2) == (1,)
    assert make_transcoder(cross_layer=False, absent=(2,)).source_layers(2) == ()


def test_encoder_rows_and_biases(make_transcoder: Make) -> None:
    transcoder, idx = make_transcoder(), torch.tensor([5, 2, 5])
    assert torch.equal(transcoder.encoder_rows(1, idx), transcoder.layers[1].W_enc[[5, 2, 5]])
    assert torch.equal(transcoder.encoder_biases(1, idx), transcoder.layers[1].b_enc[[5, 2, 5]])


def test_an_absent_layer_has_no_features(make_transcoder: Make) -> None:
    transcoder = make_transcoder(absent=(1,), skip=True)
    assert transcoder.skip(1) is None
    assert transcoder.skip(0) is not None
    with pytest.raises(WeightsError, match="no transcoder for layer 1"):
        transcoder.pre_acts(1, torch.zeros(2, 24))


def test_to_copies_every_tensor(make_transcoder: Make) -> None:
    before = make_transcoder(kind="jumprelu", skip=True, absent=(3,))
    after = before.to(dtype=torch.float64)
    for old, new in zip(before.layers[:3], after.layers[:3], strict=True):
        assert {name: tensor.dtype for name, tensor in new.tensors().items()} == dict.fromkeys(
            old.tensors(), torch.float64
        )
        assert old.W_enc.dtype == torch.float32
        assert all(torch.equal(tensor, old.tensors()[name].double()) for name, tensor in new.tensors().items())
    assert after.layers[3] is None
    assert after.b_dec.dtype == torch.float64


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"W_enc": torch.zeros(30, 23)}, r"layer 2: W_enc must be \(30, 24\), the file has \(30, 23\)"),
        ({"W_enc": torch.zeros(24, 30)}, r"layer 2: W_enc must be \(24, 24\), the file has \(24, 30\)"),
        ({"b_enc": torch.zeros(29)}, r"layer 2: b_enc must be \(30,\)"),
        ({"W_dec": (torch.zeros(30, 24),) * 4}, "layer 2: W_dec must write to 2 layers, the file has 4"),
        ({"W_dec": (torch.zeros(30, 24), torch.zeros(24, 30))}, r"layer 2: W_dec.1 must be \(30, 24\)"),
        ({"W_skip": torch.zeros(24, 1)}, r"layer 2: W_skip must be \(24, 24\)"),
        ({"activation": Activation("jumprelu", threshold=torch.zeros(3))}, r"layer 2: threshold must be \(30,\)"),
    ],
)
def test_shapes_that_contradict_each_other(make_transcoder: Make, changes: dict, message: str) -> None:
    transcoder = make_transcoder(cross_layer=True)
    layers = [*transcoder.layers[:2], replace(transcoder.layers[2], **changes), transcoder.layers[3]]
    with pytest.raises(WeightsError, match=message):
        replace(transcoder, layers=tuple(layers))


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("b_dec", [torch.zeros(3, 24), torch.zeros(4), torch.zeros(4, 24, 1)])
def test_b_dec_has_one_row_a_layer(make_transcoder: Make, b_dec: torch.Tensor) -> None:
    with pytest.raises(WeightsError, match=r"b_dec .* 4 layers"):
        replace(make_transcoder(), b_dec=b_dec)


@pytest.mark.parametrize("kind", ["relu", "jumprelu", "topk", "batchtopk"])
def test_active_features_are_the_nonzero_ones_whatever_the_size_of_a_part(
    make_transcoder: Make, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    transcoder = make_transcoder(kind=kind, dtype=torch.float64)
    x = torch.randn(7, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    dense = transcoder.encode(1, x)
    monkeypatch.setattr(transcoder_module, "PART_BYTES", 4 * 24 * 4)  # four features at a time
    active = transcoder.active_features(1, x)
    assert torch.equal(torch.stack([active.pos, active.feature_idx], dim=1), dense.nonzero())
    torch.testing.assert_close(active.acts, dense[dense != 0], rtol=1e-12, atol=0)
    torch.testing.assert_close(transcoder.encode(1, x), dense, rtol=1e-12, atol=1e-14)
    late = active.since(3)
    assert len(late.pos) == int((dense[3:] != 0).sum()) > 0
    whole = transcoder.reconstruct({layer: transcoder.active_features(layer, x) for layer in (0, 1)}, 1, x)
    monkeypatch.undo()
    expected = sum(transcoder.encode(layer, x) @ transcoder.layers[layer].W_dec[1 - layer] for layer in (0, 1))
    torch.testing.assert_close(whole, expected + transcoder.b_dec[1], rtol=1e-12, atol=1e-12)


def test_values_are_given_in_another_dtype_without_touching_the_weights(make_transcoder: Make) -> None:
    stored = make_transcoder(kind="jumprelu", skip=True, dtype=torch.bfloat16)
    given, copied = stored.values_in("cpu", torch.float32), stored.to(dtype=torch.float32)
    assert given.layers[0].W_enc is stored.layers[0].W_enc
    x, idx = torch.linspace(-1, 1, 5 * 24).view(5, 24), torch.tensor([3, 1])
    assert torch.equal(given.encode(1, x), copied.encode(1, x))
    assert torch.equal(given.encoder_rows(1, idx), copied.encoder_rows(1, idx))
    assert torch.equal(given.encoder_biases(1, idx), copied.encoder_biases(1, idx))
    assert torch.equal(given.decoder_rows(1, idx, 3), copied.decoder_rows(1, idx, 3))
    assert torch.equal(given.skip(2), copied.skip(2))
    assert torch.equal(given.b_dec, copied.b_dec)


@pytest.mark.parametrize("name", ["W_enc", "b_enc", "W_dec", "W_skip"])
def test_values_that_are_not_finite_are_refused_where_they_are_used(make_transcoder: Make, name: str) -> None:
    transcoder = make_transcoder(skip=True)
    tensor = getattr(transcoder.layers[1], name)
    (tensor[2] if name == "W_dec" else tensor)[3] = torch.inf
    use = {
        "W_dec": lambda: transcoder.decoder_rows(1, torch.tensor([3]), 3),
        "W_skip": lambda: transcoder.skip(1),
    }.get(name, lambda: transcoder.encode(1, torch.ones(2, 24)))
    with pytest.raises(WeightsError, match=f"layer 1: .*{name}.* holds NaN or infinite"):
        use()
