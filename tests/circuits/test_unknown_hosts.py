"""Graphs of models that no adapter describes: their books close as those of the others do."""

import altered_hosts
import pytest
import torch
from altered_hosts import altered_host
from tiny_models import PROMPT, SITES, TAPS, tiny_transcoder
from unknown_hosts import unknown_host

from circuits import attribute
from replacement_model import CaptureError, ReplacementModel, UnsupportedModelError

RESIDUAL = {torch.float64: 1e-9, torch.float32: 1e-5}


@pytest.mark.parametrize("dtype", RESIDUAL, ids=str)
@pytest.mark.parametrize("name", ["Falcon", "Olmo3", "Phi", "Starcoder2"])
def test_books_of_models_found_by_structure_close(name: str, dtype: torch.dtype) -> None:
    for index, skip in enumerate((True, False)):
        transcoder = tiny_transcoder(not skip, "relu", skip, TAPS[index], SITES[index])
        graph = attribute(ReplacementModel(unknown_host(name, dtype), None, transcoder), PROMPT)
        assert graph.books.residual <= RESIDUAL[dtype]
        assert len(graph.features) > 10


@pytest.mark.parametrize("layer", ["MovedLayer", "TupleLayer", "ParallelLayer", "BareLayer"])
def test_books_of_a_model_whose_parts_moved_close(layer: str) -> None:
    model = ReplacementModel(altered_host(getattr(altered_hosts, layer)), None, tiny_transcoder(skip=True))
    assert attribute(model, PROMPT).books.residual <= 1e-9


def test_a_path_that_appears_after_loading_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ReplacementModel(altered_host(altered_hosts.SilentLayer), None, tiny_transcoder())
    monkeypatch.setattr(altered_hosts.SilentLayer, "threshold", -100.0)
    with pytest.raises(CaptureError, match="layer 0: resid_post"):
        attribute(model, PROMPT)
    with pytest.raises(UnsupportedModelError, match="but there is more to this model"):
        ReplacementModel(altered_host(altered_hosts.SilentLayer), None, tiny_transcoder())
