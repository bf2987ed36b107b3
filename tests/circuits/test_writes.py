"""What is written to the residual stream adds up to what the host writes."""

import pytest
import torch
from tiny_models import N_LAYERS, PROMPT, SITES, TAPS, tiny_model, tiny_transcoder

from circuits.cone import Cone
from circuits.writes import Writes
from replacement_model import ReplacementModel
from replacement_model.capture import Capture
from replacement_model.decomposition import Decomposition


def pieces(model: ReplacementModel, **settings: int) -> tuple[Capture, Decomposition, Writes]:
    captured = model.capture(model.read_prompt(PROMPT))
    parts = model.decompose(captured, 1)
    cone = Cone.of(parts.features.numpy(), N_LAYERS, captured.n_pos)
    return captured, parts, Writes(captured, model.transcoder, parts, cone, **({"cache": False} | settings))


def sum_by_pos(writes: Writes, layer: int) -> torch.Tensor:
    """What all features write at `layer`."""
    total = torch.zeros(len(PROMPT), 16, dtype=torch.float64)
    for part in writes.rows(layer):
        for i in range(len(part.first_col)):
            total[part.first_pos + i] += part.rows[part.bounds[i] : part.bounds[i + 1]].sum(0)
    return total


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("tap", TAPS)
@pytest.mark.parametrize("cross_layer", [True, False], ids=["clt", "plt"])
@pytest.mark.parametrize("architecture", ["gemma2", "gpt2"])
def test_all_writes_of_a_layer_are_the_hosts(architecture: str, cross_layer: bool, tap: object, site: object) -> None:
    transcoder = tiny_transcoder(cross_layer, "topk", True, tap, site)
    model = tiny_model(architecture, transcoder=transcoder)
    captured, _, writes = pieces(model, cache=True)
    for layer, frozen in enumerate(captured.frozen.blocks):
        at = writes.at(layer)
        total = at.errors + at.constants + sum_by_pos(writes, layer)
        linear = frozen.tap(captured.resid_mid[layer], tap, bias=False) @ transcoder.skip(layer).T
        total += frozen.site_write(linear, site, bias=False)
        torch.testing.assert_close(total, captured.mlp_write[layer], rtol=1e-10, atol=1e-10)
        constants, rounding = writes.attention(layer)
        linear = frozen.attn_write(captured.resid_pre[layer], bias=False)
        attended = linear if constants is None else linear + constants
        torch.testing.assert_close(attended, captured.resid_mid[layer] - captured.resid_pre[layer])
        assert (constants is None) == (architecture == "gemma2")
        assert rounding is None
        assert at.rounding is None


@pytest.mark.parametrize("missing", [(), (1,)], ids=["whole", "one layer missing"])
@pytest.mark.parametrize("cross_layer", [True, False], ids=["clt", "plt"])
@pytest.mark.parametrize("part_bytes", [1, 16 * 8 * 7, 2**20])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["copied", "converted"])
def test_rows_are_grouped_by_position_and_belong_to_their_columns(
    cross_layer: bool, missing: tuple[int, ...], part_bytes: int, dtype: torch.dtype
) -> None:
    transcoder = tiny_transcoder(cross_layer, missing=missing).to(dtype=dtype)
    model = tiny_model("llama", transcoder=transcoder)
    _, parts, writes = pieces(model, part_bytes=part_bytes)
    in_order = parts.features[writes.by_pos]
    assert [(pos, layer, idx) for layer, pos, idx in in_order.tolist()] == sorted(
        (pos, layer, idx) for layer, pos, idx in parts.features.tolist()
    )
    n_bytes, n_parts = 0, 0
    for layer in range(N_LAYERS):
        seen = []
        for part in writes.rows(layer):
            n_bytes += part.rows.numel() * part.rows.element_size()
            n_parts += 1
            assert len(part.rows) <= max(1, part_bytes // 128) or len(part.first_col) == 1
            assert len(part.rows) == part.bounds[-1]
            for i, first_col in enumerate(part.first_col):
                for row in range(part.bounds[i], part.bounds[i + 1]):
                    col = first_col + row - part.bounds[i]
                    source, source_pos, idx = in_order[col].tolist()
                    assert source_pos == part.first_pos + i
                    decoder = transcoder.decoder_rows(source, torch.tensor([idx]), layer)[0].double()
                    torch.testing.assert_close(part.rows[row], parts.feature_acts[writes.by_pos[col]] * decoder)
                    seen.append(col)
        writers = [
            col for col, (source, _, _) in enumerate(in_order.tolist()) if source in transcoder.source_layers(layer)
        ]
        assert seen == writers
    assert Writes.n_row_bytes(transcoder, parts) == n_bytes
    assert (n_parts > N_LAYERS) == (part_bytes < 2**20)


def test_kept_rows_are_the_rows_that_are_read() -> None:
    model = tiny_model("gemma2")
    _, _, kept = pieces(model, cache=True, part_bytes=1000)
    _, _, read = pieces(model, part_bytes=1000)
    for layer in range(N_LAYERS):
        kept_parts = list(kept.rows(layer))
        for part, expected in zip(read.rows(layer), kept_parts, strict=True):
            torch.testing.assert_close(part.rows, expected.rows, rtol=0, atol=0)
            assert (part.first_pos, part.bounds) == (expected.first_pos, expected.bounds)


def test_a_half_precision_host_brings_its_rounding() -> None:
    model = tiny_model("gemma3", torch.bfloat16)
    captured, _, writes = pieces(model)
    for layer in range(N_LAYERS):
        attended = captured.resid_pre[layer] + captured.frozen.blocks[layer].attn_write(captured.resid_pre[layer])
        torch.testing.assert_close(attended + writes.attention(layer)[1], captured.resid_mid[layer])
        written = captured.resid_mid[layer] + captured.mlp_write[layer]
        torch.testing.assert_close(written + writes.at(layer).rounding, captured.resid_post(layer))
        assert writes.at(layer).rounding.any()
