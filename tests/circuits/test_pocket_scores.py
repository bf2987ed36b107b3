import pytest

from circuits.pocket_scores import evenly_spaced, score_pocket_graphs
from replacement_model.errors import InputError


def test_prompts_are_spread_over_all():
    assert evenly_spaced(list(range(100)), 4) == [0, 25, 50, 75]
    assert evenly_spaced([1, 2], 5) == [1, 2]


def test_graphs_of_the_shipped_model_meet_the_targets():
    calls = []
    scores = score_pocket_graphs(n_per_task=1, progress=lambda *call: calls.append(call))
    assert [number for _, number, _ in calls] == list(range(1, len(scores) + 1))
    assert {(one.transcoder, one.n_prompts) for one in scores} == {("clt", 1), ("plt", 1)}
    assert all(one.books < 1e-5 for one in scores)
    clt = [one for one in scores if one.transcoder == "clt"]
    assert sum(one.replacement_score for one in clt) / len(clt) >= 0.8
    assert sum(one.completeness_score for one in clt) / len(clt) >= 0.92


def test_no_prompts_are_refused():
    with pytest.raises(InputError, match="at least one"):
        score_pocket_graphs(n_per_task=0)
