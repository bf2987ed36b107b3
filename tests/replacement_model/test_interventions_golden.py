"""circuit-tracer's interventions on three tiny models, logits and generated tokens."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from replacement_model import ReplacementModel
from replacement_model.interventions import Conditions, Feature, Intervention, intervene, observe

CASES = ("gemma3_clt_relu", "gpt2_clt_relu", "qwen3_plt_jumprelu")
OPTIONS = {
    "default": Conditions("free"),
    "free_attention": Conditions("free", frozen_attention=False),
    "constrained_all": Conditions("direct"),
    "constrained_part": Conditions("direct", layers=(1, 2)),
}
GENERATED = {"gen_default": OPTIONS["default"], "gen_constrained_all": OPTIONS["constrained_all"]}


@pytest.fixture(scope="module", params=CASES)
def folder(request: pytest.FixtureRequest, golden_dir: Path) -> Path:
    return golden_dir / request.param


@pytest.fixture(scope="module")
def golden(folder: Path) -> dict[str, Any]:
    with np.load(folder / "interventions.npz") as archive:
        arrays = dict(archive)
    return arrays | json.loads(str(arrays["spec"]))


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=str)
def model(request: pytest.FixtureRequest, folder: Path) -> ReplacementModel:
    return ReplacementModel.from_pretrained(folder / "model", folder / "transcoder", dtype=request.param)


def interventions(edits: list) -> list[Intervention]:
    found = []
    for layer, place, feature_idx, value in edits:
        positions = place if isinstance(place, int) else slice(*place[1:])
        found.append(Intervention.set(Feature(layer, feature_idx, positions), value))
    return found


def test_logits_are_those_of_the_reference(golden: dict[str, Any], model: ReplacementModel) -> None:
    tokens = golden["tokens"]
    observed = observe(model, tokens, tuple(range(len(tokens))))
    np.testing.assert_allclose(observed.capture.logits, golden["base/logits"], rtol=0, atol=1e-5)
    compared = 0
    for name, edits in golden["cases"].items():
        for option, conditions in OPTIONS.items():
            result = intervene(model, observed, interventions(edits), conditions)
            np.testing.assert_allclose(result.logits_after, golden[f"{name}/{option}/logits"], rtol=0, atol=1e-5)
            compared += 1
    assert compared == 16


def test_pre_activations_are_those_of_the_reference(golden: dict[str, Any], model: ReplacementModel) -> None:
    everywhere = torch.cartesian_prod(torch.arange(4), torch.arange(1, 10), torch.arange(0, 384, 5))
    for name in ("double", "multi"):
        edits = interventions(golden["cases"][name])
        found = intervene(model, golden["tokens"], edits, "direct", watch=everywhere).watched
        expected = golden[f"{name}/constrained_all_preact/acts"][tuple(everywhere.T.numpy())]
        np.testing.assert_allclose(found.pre_acts_after, expected, rtol=0, atol=1e-5)
        assert float((found.pre_acts_after - found.pre_acts_before).abs().max()) > 1e-2


def test_generated_tokens_are_those_of_the_reference(golden: dict[str, Any], model: ReplacementModel) -> None:
    tokens = golden["tokens"]
    for key, text in golden["gen_text"].items():
        name, option = key.split("/")
        edits = interventions(golden["cases"][name])
        for use_cache in (True, False):
            made = intervene(model, tokens, edits, GENERATED[option], generate=5, use_cache=use_cache).after
            assert [*tokens, *made.token_ids] == text
