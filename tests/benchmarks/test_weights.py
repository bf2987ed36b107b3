import pytest
import torch

from benchmarks.shapes import QUICK
from benchmarks.weights import Reference, write_reference
from replacement_model import ReplacementModel

MAX_MISSING = 10  # thresholds are put into a gap near the wanted rank


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return write_reference(QUICK.model, ("clt", "plt"), tmp_path_factory.mktemp("reference"))


@pytest.mark.parametrize("kind", ["clt", "plt"])
def test_the_files_load_and_have_the_active_features_that_were_asked_for(reference: Reference, kind: str) -> None:
    model = ReplacementModel.from_pretrained(reference.model, reference.transcoders[kind], dtype=torch.float32)
    prompt = model.read_prompt(reference.token_ids)
    found = model.decompose(model.capture(prompt), n_ignored_pos=1)
    assert len(found.features) == len(reference.active[kind].layer)
    assert abs(len(found.features) - QUICK.model.n_active) <= MAX_MISSING * QUICK.model.n_layers
