"""The direct effect of an intervention is what the graph predicts, for features of every kind of transcoder."""

import numpy as np
import pytest
import torch
from tiny_models import ACTIVATIONS, ARCHITECTURES, PROMPT, SITES, TAPS, tiny_host, tiny_transcoder

from circuits import DifferenceTarget, Graph, TokenTarget, attribute
from replacement_model import ReplacementModel
from replacement_model.interventions import Conditions, Intervention, Observation, intervene, observe

TARGETS = [TokenTarget(3), TokenTarget(8, pos=4), DifferenceTarget(3, 5)]
BARS = {torch.float32: (1e-3, 1e-6), torch.float64: (1e-9, 1e-12)}


def kinds() -> list[tuple[str, tuple]]:
    """Every architecture with both reaches; skips, taps, sites and activations take turns."""
    found = []
    for index in range(2 * len(ARCHITECTURES)):
        skip, tap, site = index % 3 != 0, TAPS[index % 3], SITES[(index // 2) % 2]
        found.append((ARCHITECTURES[index // 2], (bool(index % 2), ACTIVATIONS[(index // 2) % 4], skip, tap, site)))
    return found


def measured_change(model: ReplacementModel, graph: Graph, observed: Observation, one: Intervention) -> np.ndarray:
    """Of every row of the graph: pre-activations, then the targets."""
    watch = torch.from_numpy(np.asarray(graph.features)).long()
    result = intervene(model, observed, one, "direct", watch=watch)
    change = result.logits_after - result.logits_before
    change = change - change.mean(-1, keepdim=True)
    targets = torch.stack([change[1, 3], change[0, 8], change[1, 3] - change[1, 5]])
    return torch.cat([result.watched.pre_acts_after - result.watched.pre_acts_before, targets]).double().numpy()


@pytest.mark.parametrize("dtype", BARS, ids=str)
@pytest.mark.parametrize(("architecture", "kind"), kinds())
def test_direct_effects_are_those_of_the_graph(architecture: str, kind: tuple, dtype: torch.dtype) -> None:
    model = ReplacementModel(tiny_host(architecture, dtype), None, tiny_transcoder(*kind))
    graph = attribute(model, PROMPT, TARGETS)
    observed = observe(model, PROMPT, (4, len(PROMPT) - 1))
    dense = graph.adjacency.toarray().astype(np.float64)
    terms = np.abs(dense).sum(1) + np.abs(graph.books.constant)
    felt = np.flatnonzero(np.abs(dense[:, graph.layout.feature_nodes]).max(0) > 1e-2)
    rng = np.random.default_rng(len(architecture))
    relative, absolute = BARS[dtype]
    for node in rng.choice(felt, 5, replace=False):
        layer, pos, idx = map(int, graph.features[node])
        factor = float(rng.choice([0.0, -1.0, 2.5]))
        measured = measured_change(model, graph, observed, Intervention.scale([(layer, pos, idx)], factor))
        predicted = (factor - 1) * dense[:, node]
        allowed = relative * np.abs(predicted) + abs(factor - 1) * absolute * terms
        assert (np.abs(measured - predicted) <= allowed).all(), np.abs(measured - predicted).max()


def test_direct_effects_add_up() -> None:
    model = ReplacementModel(tiny_host("gemma2"), None, tiny_transcoder(True, "topk", True))
    graph = attribute(model, PROMPT, TARGETS)
    observed = observe(model, PROMPT, (4, len(PROMPT) - 1))
    chosen = [tuple(map(int, row)) for row in graph.features[::3]]
    measured = measured_change(model, graph, observed, Intervention.ablate(chosen))
    predicted = -graph.adjacency.toarray()[:, np.arange(len(graph.features))[::3]].sum(1)
    np.testing.assert_allclose(measured, predicted, rtol=1e-6, atol=1e-9)


def test_a_half_precision_host_has_exact_direct_effects_and_measured_ones_of_its_own_rounding() -> None:
    model = ReplacementModel(tiny_host("gemma3", torch.bfloat16), None, tiny_transcoder(skip=True))
    graph = attribute(model, PROMPT, TARGETS)
    observed = observe(model, PROMPT, (4, len(PROMPT) - 1))
    dense = graph.adjacency.toarray().astype(np.float64)
    node = int(np.abs(dense[-3, : len(graph.features)]).argmax())
    ablate = Intervention.ablate([tuple(map(int, graph.features[node]))])
    measured = measured_change(model, graph, observed, ablate)
    terms = np.abs(dense).sum(1) + np.abs(graph.books.constant)
    assert (np.abs(measured + dense[:, node]) <= 1e-3 * np.abs(dense[:, node]) + 1e-6 * terms).all()
    by_hooks = intervene(model, observed, ablate, Conditions("direct", layers=(0, 1, 2), frozen_norms=True))
    exact = intervene(model, observed, ablate, "direct")
    error = float((by_hooks.logits_after - exact.logits_after).abs().max())
    assert 0 < error < 0.1 * float(exact.logits_after.abs().max())
