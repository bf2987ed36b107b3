from collections.abc import Callable

import pytest
import torch
from tiny_models import written_by
from torch import nn

from replacement_model.capture import Capture, capture
from replacement_model.decomposition import Decomposition, decompose
from replacement_model.host import adapt
from replacement_model.transcoder import DecoderSite, EncoderTap, Transcoder

IDS = torch.tensor([1, 7, 3, 22, 39, 5])
Make = Callable[..., Transcoder]


@pytest.fixture(scope="module")
def captured(make_model: Callable[..., nn.Module]) -> Capture:
    return capture(adapt(make_model("gemma3", torch.float64)), IDS, (5,))


def explained(captured: Capture, transcoder: Transcoder, parts: Decomposition) -> torch.Tensor:
    """Features, constants, skip and errors, each added up on its own, at every layer and position."""
    total = parts.constants + parts.errors
    for (layer, pos, idx), act in zip(parts.features.tolist(), parts.feature_acts, strict=True):
        decoder = written_by(transcoder, layer, idx)  # [n_out, d_model]
        total[layer : layer + len(decoder), pos] += act * decoder
    for layer, weights in enumerate(transcoder.layers):
        if weights is not None and weights.W_skip is not None:
            x = captured.frozen.blocks[layer].tap(captured.resid_mid[layer], transcoder.encoder_tap)
            total[layer] += x @ weights.W_skip.T
    return total


@pytest.mark.parametrize("absent", [(), (0,), (2,), (0, 1, 3), (0, 1, 2, 3)])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("kind", ["relu", "jumprelu", "topk", "batchtopk"])
@pytest.mark.parametrize("cross_layer", [False, True])
def test_the_parts_are_the_hosts_output(
    captured: Capture, make_transcoder: Make, cross_layer: bool, kind: str, skip: bool, absent: tuple[int, ...]
) -> None:
    transcoder = make_transcoder(cross_layer=cross_layer, kind=kind, skip=skip, absent=absent, dtype=torch.float64)
    parts = decompose(captured, transcoder, 1)
    torch.testing.assert_close(explained(captured, transcoder, parts), captured.mlp_out, rtol=0, atol=1e-12)
    assert len(parts.features) > 0 or len(absent) == 4
    assert not set(parts.features[:, 0].tolist()) & set(absent)


@pytest.mark.parametrize("tap", EncoderTap)
@pytest.mark.parametrize("site", DecoderSite)
@pytest.mark.parametrize("n_ignored_pos", [0, 1, 4, 6])
def test_at_every_tap_and_site(
    captured: Capture, make_transcoder: Make, tap: EncoderTap, site: DecoderSite, n_ignored_pos: int
) -> None:
    transcoder = make_transcoder(skip=True, tap=tap, site=site, dtype=torch.float64)
    parts = decompose(captured, transcoder, n_ignored_pos)
    out = captured.mlp_write if site is DecoderSite.POST_NORM else captured.mlp_out
    torch.testing.assert_close(explained(captured, transcoder, parts), out, rtol=0, atol=1e-12)
    assert parts.errors[:, :n_ignored_pos].count_nonzero() == 0
    assert not (parts.features[:, 1] < n_ignored_pos).any()
    kept = parts.constants[:, n_ignored_pos:]
    assert torch.equal(kept, transcoder.b_dec[:, None].expand_as(kept))


def test_features_are_sorted_active_and_agree_with_the_encoder(captured: Capture, make_transcoder: Make) -> None:
    transcoder = make_transcoder(kind="jumprelu", dtype=torch.float64)
    parts = decompose(captured, transcoder, 1)
    rows = parts.features.tolist()
    assert rows == sorted(rows)
    assert len({tuple(row) for row in rows}) == len(rows)
    for (layer, pos, idx), act, pre_act in zip(rows, parts.feature_acts, parts.pre_acts, strict=True):
        weights = transcoder.layers[layer]
        x = captured.frozen.blocks[layer].tap(captured.resid_mid[layer], transcoder.encoder_tap)[pos]
        assert float(weights.W_enc[idx] @ x + weights.b_enc[idx]) == pytest.approx(float(pre_act), abs=1e-12)
        assert act == pre_act
        assert act > weights.activation.threshold[idx]


def test_no_transcoder_at_all_leaves_everything_to_the_errors(captured: Capture, make_transcoder: Make) -> None:
    parts = decompose(captured, make_transcoder(absent=(0, 1, 2, 3), dtype=torch.float64), 1)
    assert parts.features.shape == (0, 3)
    assert parts.features.dtype == torch.int64
    assert parts.feature_acts.dtype == parts.pre_acts.dtype == torch.float64
    assert torch.equal(parts.errors[:, 1:], captured.mlp_out[:, 1:])
    assert all(torch.tensor(parts.fvu).isnan())


def test_features_that_are_never_active(captured: Capture, make_transcoder: Make) -> None:
    transcoder = make_transcoder(dtype=torch.float64)
    for layer in transcoder.layers:
        layer.b_enc.fill_(-1e3)
    parts = decompose(captured, transcoder, 1)
    assert parts.features.shape == (0, 3)
    torch.testing.assert_close(explained(captured, transcoder, parts), captured.mlp_out, rtol=0, atol=1e-12)


def test_fvu_by_definition(captured: Capture, make_transcoder: Make) -> None:
    parts = decompose(captured, make_transcoder(absent=(1,), cross_layer=False, dtype=torch.float64), 1)
    for layer in (0, 2, 3):
        out = captured.mlp_out[layer, 1:]
        expected = parts.errors[layer, 1:].var(0, correction=0) + parts.errors[layer, 1:].mean(0).square()
        assert parts.fvu[layer] == pytest.approx(float(expected.sum() / out.var(0, correction=0).sum()))
    assert torch.tensor(parts.fvu[1]).isnan()


def test_fvu_of_one_position_is_a_share_of_the_energy(captured: Capture, make_transcoder: Make) -> None:
    parts = decompose(captured, make_transcoder(dtype=torch.float64), 5)
    energy = parts.errors[:, 5].square().sum(-1) / captured.mlp_out[:, 5].square().sum(-1)
    assert parts.fvu == pytest.approx(energy.tolist())


def test_the_capture_is_not_changed(captured: Capture, make_transcoder: Make) -> None:
    before = [captured.mlp_out.clone(), captured.resid_mid.clone()]
    decompose(captured, make_transcoder(skip=True, tap=EncoderTap.RESID_MID, dtype=torch.float64), 2)
    assert torch.equal(before[0], captured.mlp_out)
    assert torch.equal(before[1], captured.resid_mid)
