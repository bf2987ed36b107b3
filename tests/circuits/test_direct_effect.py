"""The key invariant: the effect that the graph predicts of a finite change is the one measured on the frozen model."""

import numpy as np
import pytest
import torch
from tiny_models import ACTIVATIONS, ARCHITECTURES, PROMPT, SITES, TAPS, tiny_host, tiny_transcoder, written_by
from torch import Tensor

from circuits import DifferenceTarget, Graph, TokenTarget, attribute
from replacement_model import ReplacementModel
from replacement_model.capture import Capture
from replacement_model.decomposition import Decomposition

TARGETS = [TokenTarget(3), TokenTarget(8, pos=4), DifferenceTarget(3, 5)]


class Frozen:
    """The frozen model on one prompt, run with one thing changed."""

    def __init__(self, model: ReplacementModel, graph: Graph) -> None:
        self.model, self.graph = model, graph
        read = model.read_prompt(PROMPT)
        self.capture: Capture = model.capture(read)
        self.parts: Decomposition = model.decompose(self.capture, read.n_ignored_pos)
        transcoder = model.transcoder
        self.skips = tuple(transcoder.skip(layer) for layer in range(transcoder.n_layers))
        self.writes = self.parts.errors + self.parts.constants
        for (layer, pos, idx), act in zip(self.parts.features.tolist(), self.parts.feature_acts, strict=True):
            self.writes[layer:, pos][: transcoder.n_out(layer)] += act * written_by(transcoder, layer, idx)
        self.resid = self.capture.embed + self.capture.pos_embed

    def values(self, resid: Tensor, writes: Tensor) -> Tensor:
        """Value of every row of the graph: pre-activations, then the targets."""
        transcoder, frozen = self.model.transcoder, self.capture.frozen
        tap, site = transcoder.encoder_tap, transcoder.decoder_site
        resid_mids, final = frozen.run(resid, writes, self.skips, tap, site)
        pre_acts = [transcoder.pre_acts(layer, frozen.blocks[layer].tap(x, tap)) for layer, x in enumerate(resid_mids)]
        found = [pre_acts[layer][pos, idx] for layer, pos, idx in self.graph.features.tolist()]
        logits = frozen.unembed(final, list(range(self.capture.n_pos)))
        logits = logits - logits.mean(-1, keepdim=True)
        return torch.stack([*found, logits[-1, 3], logits[4, 8], logits[-1, 3] - logits[-1, 5]])

    def changed(self, node: int, factor: float) -> Tensor:
        """The values when what `node` writes is multiplied by `factor`."""
        attributes = self.graph.node_attributes(node)
        layer, pos = attributes["layer"], attributes["pos"]
        resid, writes = self.resid.clone(), self.writes.clone()
        if attributes["kind"] == "token":
            resid[pos] += (factor - 1) * self.capture.embed[pos]
        elif attributes["kind"] == "error":
            writes[layer, pos] += (factor - 1) * self.parts.errors[layer, pos]
        else:
            decoder = written_by(self.model.transcoder, layer, attributes["feature_idx"])
            writes[layer:, pos][: len(decoder)] += (factor - 1) * attributes["activation"] * decoder
        return self.values(resid, writes)


def kinds() -> list[tuple]:
    """Every architecture with both reaches; taps, sites, skips and activations take turns."""
    found = []
    for index in range(2 * len(ARCHITECTURES)):
        kind = (bool(index % 2), ACTIVATIONS[index % 4], index % 3 != 0, TAPS[index % 3], SITES[(index // 2) % 2])
        found.append((ARCHITECTURES[index // 2], kind))
    return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(("architecture", "kind"), kinds())
def test_predicted_effects_are_measured_ones(architecture: str, kind: tuple, dtype: torch.dtype) -> None:
    model = ReplacementModel(tiny_host(architecture, dtype), None, tiny_transcoder(*kind))
    graph = attribute(model, PROMPT, TARGETS)
    frozen = Frozen(model, graph)
    before = frozen.values(frozen.resid, frozen.writes)
    np.testing.assert_allclose(before, graph.books.pre_act, rtol=1e-4, atol=1e-4 if dtype == torch.float32 else 1e-10)

    dense = graph.adjacency.toarray().astype(np.float64)
    terms = np.abs(dense).sum(1) + np.abs(graph.books.constant)
    relative, absolute = (1e-3, 1e-6) if dtype == torch.float32 else (1e-7, 1e-14)
    rng = np.random.default_rng(0)
    layout = graph.layout
    felt = np.flatnonzero(np.abs(dense[:, layout.feature_nodes]).max(0) > 1e-2)
    nodes = [*rng.choice(felt, 8, replace=False), layout.error_node(1, 2), layout.token_node(0), layout.token_node(3)]
    for node in map(int, nodes):
        factor = float(rng.choice([0.0, -1.0, 2.5]))
        measured = (frozen.changed(node, factor) - before).double().numpy()
        predicted = (factor - 1) * dense[:, node]
        allowed = relative * np.abs(predicted) + abs(factor - 1) * absolute * terms
        assert (np.abs(measured - predicted) <= allowed).all(), np.abs(measured - predicted).max()


def test_effects_add_up_because_the_frozen_model_is_affine() -> None:
    model = ReplacementModel(tiny_host("gemma2"), None, tiny_transcoder(True, "topk", True))
    graph = attribute(model, PROMPT, TARGETS)
    frozen = Frozen(model, graph)
    before = frozen.values(frozen.resid, frozen.writes)
    without_errors = frozen.values(frozen.resid, frozen.writes - frozen.parts.errors)
    predicted = graph.adjacency.toarray()[:, graph.layout.error_nodes].sum(1)
    np.testing.assert_allclose((before - without_errors).numpy(), predicted, rtol=1e-7, atol=1e-10)
