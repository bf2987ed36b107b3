"""What is written to the residual stream adds up to what the host writes."""

import pytest
import torch
from tiny_models import N_LAYERS, PROMPT, SITES, TAPS, tiny_model, tiny_transcoder

from circuits.writes import Writes
from replacement_model import ReplacementModel
from replacement_model.capture import Capture
from replacement_model.decomposition import Decomposition


def pieces(model: ReplacementModel) -> tuple[Capture, Decomposition]:
    captured = model.capture(model.read_prompt(PROMPT))
    return captured, model.decompose(captured, 1)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("tap", TAPS)
@pytest.mark.parametrize("cross_layer", [True, False], ids=["clt", "plt"])
@pytest.mark.parametrize("architecture", ["gemma2", "gpt2"])
def test_all_writes_of_a_layer_are_the_hosts(architecture: str, cross_layer: bool, tap: object, site: object) -> None:
    transcoder = tiny_transcoder(cross_layer, "topk", True, tap, site)
    model = tiny_model(architecture, transcoder=transcoder)
    captured, parts = pieces(model)
    writes = Writes(captured, model.transcoder, parts, cache=True)
    for layer, frozen in enumerate(captured.frozen.blocks):
        at = writes.at(layer)
        total = at.errors + at.constants
        for pos in range(captured.n_pos):
            total[pos] += at.rows[at.row_bounds[pos] : at.row_bounds[pos + 1]].sum(0)
        linear = frozen.tap(captured.resid_mid[layer], tap, bias=False) @ transcoder.skip(layer).T
        total += frozen.site_write(linear, site, bias=False)
        torch.testing.assert_close(total, captured.mlp_write[layer], rtol=1e-10, atol=1e-10)
        constants, rounding = writes.attention(layer)
        linear = frozen.attn_write(captured.resid_pre[layer], bias=False)
        torch.testing.assert_close(linear + constants, captured.resid_mid[layer] - captured.resid_pre[layer])
        assert rounding is None
        assert at.rounding is None


@pytest.mark.parametrize("missing", [(), (1,)], ids=["whole", "one layer missing"])
@pytest.mark.parametrize("cross_layer", [True, False], ids=["clt", "plt"])
def test_rows_are_grouped_by_position_and_belong_to_their_columns(cross_layer: bool, missing: tuple[int, ...]) -> None:
    transcoder = tiny_transcoder(cross_layer, missing=missing)
    model = tiny_model("llama", transcoder=transcoder)
    captured, parts = pieces(model)
    writes = Writes(captured, model.transcoder, parts, cache=False)
    in_order = parts.features[writes.by_pos]
    assert [(pos, layer, idx) for layer, pos, idx in in_order.tolist()] == sorted(
        (pos, layer, idx) for layer, pos, idx in parts.features.tolist()
    )
    n_bytes = 0
    for layer in range(N_LAYERS):
        at = writes.at(layer)
        n_bytes += at.rows.numel() * at.rows.element_size()
        seen = []
        for pos in range(captured.n_pos):
            start, stop = at.row_bounds[pos : pos + 2]
            for row in range(start, stop):
                col = at.first_col[pos] + row - start
                source, source_pos, idx = in_order[col].tolist()
                assert source_pos == pos
                decoder = transcoder.layers[source].W_dec[layer - source][idx]
                torch.testing.assert_close(at.rows[row], parts.feature_acts[writes.by_pos[col]] * decoder)
                seen.append(col)
        writers = [
            col for col, (source, _, _) in enumerate(in_order.tolist()) if source in transcoder.source_layers(layer)
        ]
        assert seen == writers
    assert Writes.n_row_bytes(transcoder, parts) == n_bytes


def test_a_half_precision_host_brings_its_rounding() -> None:
    model = tiny_model("gemma3", torch.bfloat16)
    captured, parts = pieces(model)
    writes = Writes(captured, model.transcoder, parts, cache=True)
    for layer in range(N_LAYERS):
        attended = captured.resid_pre[layer] + captured.frozen.blocks[layer].attn_write(captured.resid_pre[layer])
        torch.testing.assert_close(attended + writes.attention(layer)[1], captured.resid_mid[layer])
        written = captured.resid_mid[layer] + captured.mlp_write[layer]
        torch.testing.assert_close(written + writes.at(layer).rounding, captured.resid_post(layer))
        assert writes.at(layer).rounding.any()
