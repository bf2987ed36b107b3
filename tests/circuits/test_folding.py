"""Each folded map is the adjoint of the map that the frozen model applies: <A^T g, x> = <g, A x>."""

import pytest
import torch
from tiny_models import ARCHITECTURES, PROMPT, SITES, TAPS, tiny_model, tiny_transcoder
from torch import Tensor

from circuits.folding import FoldedLayer, fold, tap_adjoint
from replacement_model import Transcoder
from replacement_model.capture import Capture

SHAPE = (len(PROMPT), 16)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def captured(request: pytest.FixtureRequest) -> Capture:
    model = tiny_model(request.param)
    return model.capture(model.read_prompt(PROMPT))


def two_random() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(7)
    return torch.randn(SHAPE, generator=rng).double(), torch.randn(SHAPE, generator=rng).double()


def attention_adjoint(layer: FoldedLayer, grad: Tensor) -> Tensor:
    n_groups, group = layer.mix.shape[:2]
    heads = (grad @ layer.W_O).unflatten(-1, (n_groups, group, -1))  # [pos, kv head, head of its group, d_head]
    values = torch.einsum("dkgh,kgds->skh", heads, layer.mix)
    return values.flatten(1) @ layer.W_V


def assert_adjoint(forward: Tensor, grad: Tensor, backward: Tensor, x: Tensor) -> None:
    torch.testing.assert_close((backward * x).sum(), (grad * forward).sum(), rtol=1e-11, atol=1e-11)


def test_attention(captured: Capture) -> None:
    grad, x = two_random()
    for frozen in captured.frozen.blocks:
        layer = fold(frozen, None, tiny_transcoder())
        assert layer.skip is None
        assert_adjoint(frozen.attn_write(x, bias=False), grad, attention_adjoint(layer, grad), x)


@pytest.mark.parametrize("tap", TAPS)
def test_encoder_taps(captured: Capture, tap: object) -> None:
    grad, x = two_random()
    frozen = captured.frozen.blocks[1]
    backward = tap_adjoint(frozen.block.mlp_norm, frozen.mlp_scale, tap, grad)
    assert_adjoint(frozen.tap(x, tap, bias=False), grad, backward, x)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("tap", TAPS)
def test_skips(captured: Capture, tap: object, site: object) -> None:
    grad, x = two_random()
    transcoder: Transcoder = tiny_transcoder(skip=True, tap=tap, site=site)
    for index, frozen in enumerate(captured.frozen.blocks):
        skip = fold(frozen, transcoder.skip(index), transcoder).skip
        forward = frozen.site_write(frozen.tap(x, tap, bias=False) @ transcoder.skip(index).T, site, bias=False)
        assert_adjoint(forward, grad, skip.scale * (grad @ skip.matrix), x)
