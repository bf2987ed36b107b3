"""The books close for every architecture and transcoder, and only for the right pieces: a corrupted one is an error."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from tiny_models import ACTIVATIONS, ARCHITECTURES, PROMPT, SITES, TAPS, tiny_host, tiny_model, tiny_transcoder

import circuits.sweep as sweep_module
from circuits import DirectionTarget, FeatureTarget, TokenTarget, attribute
from circuits.folding import FoldedLayer
from replacement_model import BooksError, ReplacementModel
from replacement_model.capture import Capture
from replacement_model.decomposition import Decomposition
from replacement_model.frozen import FrozenBlock
from replacement_model.host import Block

RESIDUAL = {torch.float64: 1e-9, torch.float32: 1e-5}


@pytest.fixture(scope="module")
def hosts() -> Callable[[str, torch.dtype], torch.nn.Module]:
    made = {}

    def get(architecture: str, dtype: torch.dtype) -> torch.nn.Module:
        if (architecture, dtype) not in made:
            made[architecture, dtype] = tiny_host(architecture, dtype)
        return made[architecture, dtype]

    return get


def assert_closed(model: ReplacementModel, max_feature_nodes: int | None) -> None:
    graph = attribute(model, PROMPT, [3, TokenTarget(4, pos=2)], max_feature_nodes=max_feature_nodes)
    books, allowed = graph.books, RESIDUAL[model.dtype]
    edges = graph.adjacency.sum(axis=1, dtype=np.float64)
    np.testing.assert_allclose(edges + books.omitted + books.constant, books.pre_act, rtol=0, atol=100 * allowed)
    assert books.residual <= allowed
    assert len(graph.features) > 10
    assert not books.rounding.any()
    assert (max_feature_nodes is None) == (not np.abs(books.omitted).max() > 1e-3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("skip", [False, True], ids=["plain", "skip"])
@pytest.mark.parametrize("cross_layer", [True, False], ids=["clt", "plt"])
def test_books_close_in_float64(hosts: Callable, architecture: str, cross_layer: bool, skip: bool) -> None:
    # Half of the taps and sites with this reach and skip, the other half with the opposite skip.
    for index, (tap, site) in list(enumerate(product(TAPS, SITES)))[int(cross_layer ^ skip) :: 2]:
        activation = ACTIVATIONS[(index // 2 + cross_layer + 2 * skip) % len(ACTIVATIONS)]
        transcoder = tiny_transcoder(cross_layer, activation, skip, tap, site)
        model = ReplacementModel(hosts(architecture, torch.float64), None, transcoder)
        assert_closed(model, None if index // 2 % 2 else 20)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_books_close_in_float32(hosts: Callable, architecture: str) -> None:
    for index, activation in enumerate(ACTIVATIONS):
        transcoder = tiny_transcoder(bool(index % 2), activation, index >= 2, TAPS[index % 3], SITES[index // 2])
        model = ReplacementModel(hosts(architecture, torch.float32), None, transcoder)
        assert_closed(model, 20 if index % 3 else None)


@pytest.mark.parametrize("cross_layer", [True, False], ids=["clt", "plt"])
def test_layers_without_transcoder_are_errors(cross_layer: bool) -> None:
    transcoder = tiny_transcoder(cross_layer, skip=True, missing=(1,))
    model = tiny_model("gemma2", transcoder=transcoder)
    graph = attribute(model, PROMPT)
    assert graph.books.residual <= 1e-9
    assert set(graph.features[:, 0]) == {0, 2}
    assert np.isnan(graph.fvu).tolist() == [False, not cross_layer, False]
    errors = graph.adjacency.toarray()[-1, graph.layout.error_nodes].reshape(graph.n_layers, -1)
    assert np.abs(errors[1]).max() > 0


def test_books_of_targets_of_every_kind_close() -> None:
    vector = torch.linspace(-1, 1, 16)
    targets = [
        DirectionTarget(vector, "final norm", pos=3),
        DirectionTarget(vector, "middle", layer=1),
        FeatureTarget(2, 5, pos=1),
        FeatureTarget(1, 7, pos=0),
    ]
    assert attribute(tiny_model("gpt2"), PROMPT, targets).books.residual <= 1e-9


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("architecture", ["gemma3", "gpt2", "llama"])
def test_rounding_of_a_half_precision_host_is_a_measured_term(architecture: str, dtype: torch.dtype) -> None:
    books = attribute(tiny_model(architecture, dtype), PROMPT).books
    assert books.residual <= 1e-5
    share = np.abs(books.rounding) / np.abs(books.pre_act).max()
    eps = torch.finfo(dtype).eps
    assert eps / 100 < share.max() < 20 * eps


# Corruptions between capture and sweep. Each changes one tensor of one layer a little, as a wrong adapter would.
def fold_with(change: Callable[[FoldedLayer], FoldedLayer], original: Callable, block: Block) -> Callable:
    def fold(frozen: FrozenBlock, *args: object) -> FoldedLayer:
        folded = original(frozen, *args)
        return change(folded) if frozen.block is block else folded

    return fold


def scale_row(tensor: torch.Tensor, row: int = 0) -> torch.Tensor:
    changed = tensor.clone()
    changed[row] *= 1.05
    return changed


FOLDED = {
    "W_V row (one gain of the attention norm)": lambda layer: replace(
        layer, W_V=scale_row(layer.W_V.T, 3).T.contiguous()
    ),
    "W_O row (one gain of the post-norm)": lambda layer: replace(layer, W_O=scale_row(layer.W_O, 3)),
    "head groups swapped": lambda layer: replace(layer, mix=layer.mix.flip(0).contiguous()),
    "heads of a group swapped": lambda layer: replace(layer, mix=layer.mix.flip(1).contiguous()),
    "one pattern entry": lambda layer: replace(layer, mix=with_entry(layer.mix)),
    "skip matrix": lambda layer: replace(layer, skip=replace(layer.skip, matrix=scale_row(layer.skip.matrix))),
    "skip denominator": lambda layer: replace(layer, skip=replace(layer.skip, scale=scale_row(layer.skip.scale, 2))),
    "skip left out": lambda layer: replace(layer, skip=None),
}


def with_entry(mix: torch.Tensor) -> torch.Tensor:
    changed = mix.clone()
    changed[0, 1, 4, 2] += 0.01
    return changed


@pytest.mark.parametrize("name", FOLDED)
def test_a_corrupted_matrix_opens_the_books(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    model = tiny_model("gemma3", torch.float32)
    monkeypatch.setattr(sweep_module, "fold", fold_with(FOLDED[name], sweep_module.fold, model.host.blocks[0]))
    with pytest.raises(BooksError, match="do not close"):
        attribute(model, PROMPT)


@pytest.mark.parametrize("name", ["errors", "constants", "feature_acts", "pre_acts"])
def test_a_corrupted_write_opens_the_books(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    original = ReplacementModel.decompose

    def decompose(self: ReplacementModel, captured: Capture, n_ignored_pos: int) -> Decomposition:
        parts = original(self, captured, n_ignored_pos)
        changed = getattr(parts, name).clone()
        changed[(0, 3) if changed.ndim == 3 else 7] *= 1.05  # one position, or one feature
        return replace(parts, **{name: changed})

    monkeypatch.setattr(ReplacementModel, "decompose", decompose)
    with pytest.raises(BooksError, match="do not close"):
        attribute(tiny_model("gemma3", torch.float32), PROMPT)


@pytest.mark.parametrize("what", ["b_V", "b_O", "attn_norm", "mlp_norm", "final_norm", "pos_embed", "b_enc"])
def test_a_bias_changed_after_the_capture_opens_the_books(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    model = tiny_model("gpt2", torch.float32)
    original = ReplacementModel.decompose

    def decompose(self: ReplacementModel, captured: Capture, n_ignored_pos: int) -> Decomposition:
        parts = original(self, captured, n_ignored_pos)
        block = self.host.blocks[1]
        bias = {
            "b_V": block.b_V,
            "b_O": block.b_O,
            "attn_norm": block.attn_norm.module.bias,
            "mlp_norm": block.mlp_norm.module.bias,
            "final_norm": self.host.final_norm.module.bias,
            "pos_embed": captured.pos_embed[3],
            "b_enc": self.transcoder.layers[1].b_enc,
        }[what]
        with torch.no_grad():
            bias += 0.05 * torch.linspace(-1, 1, len(bias))
        return parts

    monkeypatch.setattr(ReplacementModel, "decompose", decompose)
    with pytest.raises(BooksError, match="do not close"):
        attribute(model, PROMPT)
