"""The explicit adjoint against autograd: through the Hugging Face model, and through the frozen model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from host_gradients import HostGraph, host_graph
from tiny_models import ARCHITECTURES, N_LAYERS, PROMPT, SITES, TAPS, tiny_host, tiny_model, tiny_transcoder, written_by
from torch import Tensor

from circuits import DirectionTarget, Graph, TokenTarget, attribute
from circuits.cone import Cone
from circuits.sweep import SourceRows, Sweep, mlp_depth, resid_mid_depth, resid_post_depth
from circuits.targets import feature_rows
from circuits.writes import Writes
from replacement_model import ReplacementModel, Transcoder
from replacement_model.capture import Capture
from replacement_model.decomposition import Decomposition

EXACT = {"rtol": 1e-9, "atol": 1e-11}


def expected_row(
    graph: Graph, transcoder: Transcoder, embed: Tensor, by_embed: Tensor, by_write: list[Tensor]
) -> np.ndarray:
    """One row of the graph from gradients; errors are left at 0."""
    row = np.zeros(graph.layout.n_cols)
    for col, (layer, pos, idx) in enumerate(graph.features.tolist()):
        decoder = written_by(transcoder, layer, idx)  # [n_out, d_model]
        row[col] = graph.feature_acts[col] * sum(
            float(by_write[layer + j][pos] @ decoder[j]) for j in range(len(decoder))
        )
    row[graph.layout.token_nodes] = (by_embed * embed).sum(-1).detach().numpy()
    return row


def error_part(graph: Graph, transcoder: Transcoder, host: HostGraph, by_write: list[Tensor]) -> np.ndarray:
    """Effects of errors, layer-major: what the host writes minus what the features and b_dec write."""
    left = [leaf.detach() - transcoder.b_dec[layer] for layer, leaf in enumerate(host.writes)]
    for act, (layer, pos, idx) in zip(graph.feature_acts, graph.features.tolist(), strict=True):
        for j, decoder in enumerate(written_by(transcoder, layer, idx)):
            left[layer + j][pos] -= act * decoder
    effects = [(gradient * error).sum(-1) for gradient, error in zip(by_write, left, strict=True)]
    return (
        torch.stack([effect.index_fill(0, torch.arange(graph.n_ignored_pos), 0) for effect in effects])
        .flatten()
        .numpy()
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("variant", range(3))
def test_rows_are_gradients_of_the_hugging_face_model(architecture: str, variant: int) -> None:
    cross_layer, skip, site = variant != 1, variant != 2, SITES[variant % 2]
    transcoder = tiny_transcoder(cross_layer, "relu", skip, TAPS[variant], site)
    model = ReplacementModel(tiny_host(architecture), None, transcoder)
    vector = torch.linspace(-1, 2, 16, dtype=torch.float64)
    targets = [TokenTarget(9, pos=4), TokenTarget(3), DirectionTarget(vector, "v", pos=5, layer=1)]
    graph = attribute(model, PROMPT, targets)
    host = host_graph(model.host.model, PROMPT, transcoder)

    values = [host.logits[4, 9] - host.logits[4].mean(), host.logits[-1, 3] - host.logits[-1].mean()]
    values.append(host.resid_posts[1][5] @ vector)
    rows = list(range(len(graph.features), graph.layout.n_rows))
    for row in range(0, len(graph.features), 9):
        layer, pos, idx = graph.features[row].tolist()
        weights = transcoder.layers[layer]
        values.append(host.taps[layer][pos] @ weights.W_enc[idx] + weights.b_enc[idx])
        rows.append(row)
    dense = graph.adjacency.toarray()
    for row, value in zip(rows, values, strict=True):
        by_embed, by_write = host.gradients(value)
        expected = expected_row(graph, transcoder, host.embed, by_embed, by_write)
        expected[graph.layout.error_nodes] = error_part(graph, transcoder, host, by_write)
        np.testing.assert_allclose(graph.books.pre_act[row], value.item(), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(dense[row], expected, rtol=1e-9, atol=1e-9)


def frozen_pieces(architecture: str, transcoder: Transcoder) -> tuple[ReplacementModel, Capture, Decomposition]:
    model = tiny_model(architecture, transcoder=transcoder)
    captured = model.capture(model.read_prompt(PROMPT))
    return model, captured, model.decompose(captured, 1)


def random_rows(n: int, n_pos: int, seed: int = 5) -> SourceRows:
    rng = torch.Generator().manual_seed(seed)
    return SourceRows(
        depth=torch.randint(1, resid_post_depth(N_LAYERS - 1) + 1, (n,), generator=rng),
        pos=torch.randint(0, n_pos, (n,), generator=rng),
        direction=torch.randn(n, 16, generator=rng, dtype=torch.float64),
    )


def swept(
    model: ReplacementModel,
    captured: Capture,
    parts: Decomposition,
    rows: SourceRows,
    block_size: int,
    cache: bool = True,
    part_bytes: int = 2**20,
):
    """All rows in the order of `rows`, features as in `parts.features` | errors | tokens, and constants."""
    cone = Cone.of(parts.features.numpy(), N_LAYERS, captured.n_pos)
    writes = Writes(captured, model.transcoder, parts, cone, cache, part_bytes)
    sweep = Sweep(captured, model.transcoder, writes, block_size)
    n_active, n_pos = len(parts.features), captured.n_pos
    dense, constants, seen = (
        torch.zeros(len(rows), n_active + 4 * n_pos).double(),
        torch.zeros(len(rows)).double(),
        [],
    )
    for block in sweep.rows(rows):
        assert len(block.index) <= block_size
        seen += block.index.tolist()
        index, n_seen = block.index[:, None], block.tokens.shape[1]
        assert n_seen == rows.pos[block.index].max() + 1
        dense[index, writes.by_pos[: block.features.shape[1]]] = block.features
        for layer in range(N_LAYERS):
            dense[index, n_active + layer * n_pos + torch.arange(n_seen)] = block.errors[:, layer]
        dense[index, n_active + N_LAYERS * n_pos + torch.arange(n_seen)] = block.tokens
        constants[block.index] = block.constant
    assert sorted(seen) == list(range(len(rows)))
    return dense, constants


def made_parallel(captured: Capture, layers: tuple[int, ...]) -> Capture:
    """The same frozen pieces with parallel blocks: no model computes this, but it is as linear as one that does."""
    blocks = list(captured.frozen.blocks)
    for layer in layers:
        blocks[layer] = replace(blocks[layer], block=replace(blocks[layer].block, parallel=True))
    return replace(captured, frozen=replace(captured.frozen, blocks=tuple(blocks)))


def run_frozen(captured: Capture, transcoder: Transcoder, resid: Tensor, writes: list[Tensor]) -> dict[int, Tensor]:
    """The residual stream by depth, from given outputs at the decoder's site."""
    streams = {}
    for layer, (frozen, write) in enumerate(zip(captured.frozen.blocks, writes, strict=True)):
        attended = resid + frozen.attn_write(resid)
        read = resid if frozen.block.parallel else attended
        streams[mlp_depth(layer, frozen.block.parallel)] = read
        write = write + frozen.tap(read, transcoder.encoder_tap) @ transcoder.skip(layer).T
        resid = attended + frozen.site_write(write, transcoder.decoder_site)
        streams[resid_post_depth(layer)] = resid
    return streams


CASES = [*((architecture, ()) for architecture in ARCHITECTURES), ("gemma2", (1,)), ("gpt2", (0, 1, 2))]


@pytest.mark.parametrize(("architecture", "changed"), CASES, ids=str)
def test_every_depth_and_position_against_autograd_through_the_frozen_model(
    architecture: str, changed: tuple[int, ...]
) -> None:
    transcoder = tiny_transcoder(True, "relu", True, TAPS[2], SITES[0])
    model, captured, parts = frozen_pieces(architecture, transcoder)
    captured = made_parallel(captured, changed)
    parallel = [layer for layer, frozen in enumerate(captured.frozen.blocks) if frozen.block.parallel]
    rows = random_rows(60, captured.n_pos)
    for layer in parallel:  # nothing reads between attention and MLP there
        rows.depth[rows.depth == resid_mid_depth(layer)] = mlp_depth(layer, True)
    rows.depth.clamp_(min=mlp_depth(0, 0 in parallel))
    dense, constants = swept(model, captured, parts, rows, block_size=7)

    tokens = captured.embed.clone().requires_grad_()
    scales = torch.ones(len(parts.features), dtype=torch.float64, requires_grad=True)
    error_scales = torch.ones(N_LAYERS, captured.n_pos, 1, dtype=torch.float64, requires_grad=True)
    writes = [parts.constants[layer] + error_scales[layer] * parts.errors[layer] for layer in range(N_LAYERS)]
    for col, (source, pos, idx) in enumerate(parts.features.tolist()):
        one_pos = torch.zeros(captured.n_pos, 1, dtype=torch.float64).index_fill(0, torch.tensor(pos), 1.0)
        for layer in range(source, N_LAYERS):
            decoder = transcoder.decoder_rows(source, torch.tensor([idx]), layer)
            writes[layer] = writes[layer] + scales[col] * parts.feature_acts[col] * one_pos * decoder
    streams = run_frozen(captured, transcoder, tokens + captured.pos_embed, writes)
    if not changed:
        for layer in range(N_LAYERS):
            torch.testing.assert_close(streams[mlp_depth(layer, layer in parallel)], captured.resid_mid[layer], **EXACT)
            torch.testing.assert_close(streams[resid_post_depth(layer)], captured.resid_post(layer), **EXACT)
    assert set(rows.depth.tolist()) <= {0, *streams}
    for row in range(len(rows)):
        depth, pos, direction = int(rows.depth[row]), int(rows.pos[row]), rows.direction[row]
        value = (streams[depth] if depth else tokens + captured.pos_embed)[pos] @ direction
        by_scale, by_error, by_token = torch.autograd.grad(
            value, [scales, error_scales, tokens], retain_graph=True, materialize_grads=True, allow_unused=True
        )
        expected = torch.cat([by_scale, by_error.flatten(), (by_token * tokens).sum(-1)])
        torch.testing.assert_close(dense[row], expected.detach(), **EXACT)
        torch.testing.assert_close(constants[row], (value - expected.sum()).detach(), rtol=1e-9, atol=1e-9)


def test_features_of_a_parallel_layer_read_below_its_attention() -> None:
    model, captured, parts = frozen_pieces("gemma2", tiny_transcoder(True, "relu", True))
    rows, _, _ = feature_rows(model, made_parallel(captured, (1,)), parts.features)
    read = torch.tensor([resid_mid_depth(0), resid_post_depth(0), resid_mid_depth(2)])
    torch.testing.assert_close(rows.depth, read[parts.features[:, 0]])


@pytest.mark.parametrize("block_size", [1, 2, 7, 32])
@pytest.mark.parametrize("cache", [True, False], ids=["cached", "gathered"])
@pytest.mark.parametrize("part_bytes", [1, 5000])
def test_blocks_caches_and_parts_do_not_change_rows(block_size: int, cache: bool, part_bytes: int) -> None:
    transcoder = tiny_transcoder(True, "relu", True)
    model, captured, parts = frozen_pieces("gemma2", transcoder)
    rows = random_rows(33, captured.n_pos)
    expected, expected_constants = swept(model, captured, parts, rows, block_size=33)
    dense, constants = swept(model, captured, parts, rows, block_size, cache, part_bytes)
    torch.testing.assert_close(dense, expected, **EXACT)
    torch.testing.assert_close(constants, expected_constants, **EXACT)


def test_exactly_the_causal_cone_reaches_a_target() -> None:
    model, captured, parts = frozen_pieces("llama", tiny_transcoder(True, "relu", True))
    rows = random_rows(40, captured.n_pos)
    dense, _ = swept(model, captured, parts, rows, block_size=32)
    layer, pos, _ = parts.features.T
    error_layer = torch.arange(N_LAYERS).repeat_interleave(captured.n_pos)
    all_pos = torch.arange(captured.n_pos)
    source_depth = torch.cat([resid_post_depth(layer), resid_post_depth(error_layer), torch.zeros(captured.n_pos)])
    source_pos = torch.cat([pos, all_pos.repeat(N_LAYERS), all_pos])
    same_pos = (source_pos[None] == rows.pos[:, None]) & (source_depth[None] <= rows.depth[:, None])
    # From an earlier position an attention must lie between, which adds its output one depth higher.
    earlier = (source_pos[None] < rows.pos[:, None]) & (source_depth[None] < rows.depth[:, None])
    ignored = torch.zeros(len(source_pos), dtype=torch.bool)
    ignored[len(layer) : -captured.n_pos] = source_pos[len(layer) : -captured.n_pos] == 0
    torch.testing.assert_close(dense != 0, (same_pos | earlier) & ~ignored)


def test_depths_are_in_the_order_of_the_forward_pass() -> None:
    depths = [depth(layer) for layer in range(3) for depth in (resid_mid_depth, resid_post_depth)]
    assert depths == sorted(set(depths))
