from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from replacement_model.activation import Activation
from replacement_model.errors import WeightsError
from replacement_model.transcoder import DecoderSite, EncoderTap, Transcoder, TranscoderLayer

Make = Callable[..., Transcoder]


def by_hand(cross_layer: bool) -> Transcoder:
    """Two layers, d_model 2, one feature a layer that reads the first coordinate."""

    def layer(index: int) -> TranscoderLayer:
        n_out = 2 - index if cross_layer else 1
        return TranscoderLayer(
            W_enc=torch.tensor([[1.0, 0.0]]),
            b_enc=torch.tensor([0.5]),
            W_dec=torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])[:, :n_out] * (index + 1),
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
    acts = {0: torch.tensor([[1.5], [0.0]]), 1: torch.tensor([[3.0], [3.0]])}
    assert by_hand(cross_layer).reconstruct(acts, 1, X).tolist() == expected


def test_decoder_rows_count_from_their_own_layer(make_transcoder: Make) -> None:
    transcoder, idx = make_transcoder(cross_layer=True), torch.tensor([4, 0])
    for source in range(4):
        for write in range(source, 4):
            rows = transcoder.decoder_rows(source, idx, write)
            assert torch.equal(rows, transcoder.layers[source].W_dec[idx][:, write - source])
    per_layer = make_transcoder(cross_layer=False)
    assert torch.equal(per_layer.decoder_rows(2, idx, 2), per_layer.layers[2].W_dec[idx, 0])


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
            ("W_enc", "b_enc", "W_dec", "W_skip", "threshold"), torch.float64
        )
        assert old.W_enc.dtype == torch.float32
        assert torch.equal(new.W_dec, old.W_dec.double())
    assert after.layers[3] is None
    assert after.b_dec.dtype == torch.float64


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"W_enc": torch.zeros(30, 23)}, r"layer 2: W_enc must be \(30, 24\), the file has \(30, 23\)"),
        ({"W_enc": torch.zeros(24, 30)}, r"layer 2: W_enc must be \(24, 24\), the file has \(24, 30\)"),
        ({"b_enc": torch.zeros(29)}, r"layer 2: b_enc must be \(30,\)"),
        ({"W_dec": torch.zeros(30, 4, 24)}, r"layer 2: W_dec must be \(30, 2, 24\), the file has \(30, 4, 24\)"),
        ({"W_dec": torch.zeros(30, 24)}, r"layer 2: W_dec must be \(30, 2, 24\)"),
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
