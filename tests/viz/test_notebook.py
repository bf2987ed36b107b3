import dataclasses
import html as html_module
import json
import re

import pytest

import viz
from circuits import attribute, find_groups, group, prune
from circuits.faithfulness.check import CheckSettings, check_circuits
from replacement_model import Conditions, Intervention, ReplacementModel, intervene
from replacement_model.errors import InputError
from replacement_model.interventions import Case, Specification, replay
from replacement_model.interventions.specification import outcome
from viz import notebook

PROMPT = "the capital of the state containing Dallas is"


def page_in(shown: str) -> str:
    """The page that a browser finds in the frame."""
    (srcdoc,) = re.findall(r"<iframe srcdoc='([^']*)'", shown)
    return html_module.unescape(srcdoc)


def data_in(page: str) -> dict:
    (text,) = re.findall(r'<script type="application/json" id="orrery-data">(.*?)</script>', page)
    return json.loads(text)


def test_a_circuit_is_the_page_in_a_sandbox(texas) -> None:
    shown = notebook.html(texas)
    assert page_in(shown) == viz.page(texas, budget=notebook.Budget(max_bytes=notebook.MAX_BYTES))
    assert 'sandbox="allow-scripts allow-downloads"' in shown
    assert "allow-same-origin" not in shown
    assert shown.count("<iframe") == shown.count("</iframe>") == 1


def test_graphs_and_grouped_circuits_too(texas, texas_graph) -> None:
    grouped = group(texas, find_groups(texas, n_groups=3).grouping)
    assert len(data_in(page_in(notebook.html(grouped)))["annotations"]["supernodes"]) == grouped.n_groups > 1
    assert data_in(page_in(notebook.html(texas_graph)))["thresholds"]["node"] == 1
    assert "supernodes" in notebook.text(grouped).lower()
    assert "Strongest features by position" in notebook.text(texas_graph)


def test_no_text_of_a_graph_ends_the_frame(texas) -> None:
    evil = "'></iframe><script>alert(1)</script>&amp;\""
    graph = dataclasses.replace(texas.graph, tokens=(evil, *texas.graph.tokens[1:]))
    graph = dataclasses.replace(graph, metadata=dataclasses.replace(graph.metadata, prompt=evil))
    shown = notebook.html(dataclasses.replace(texas, graph=graph))
    assert shown.count("</iframe>") == 1
    assert "<script>alert" not in shown
    data = data_in(page_in(shown))
    assert (data["prompt"], data["tokens"][0]) == (evil, evil)


def test_a_large_graph_is_cut_to_size(make_random) -> None:
    circuit = prune(make_random(400), 1.0, 1.0)
    small = viz.show(circuit, max_bytes=60_000)._repr_html_()
    whole = viz.show(circuit)._repr_html_()
    assert len(small) < len(whole) < notebook.MAX_BYTES + 400_000
    assert data_in(page_in(small))["left_out"]["nodes"] > 0


def test_several_are_compared(texas, texas_graph) -> None:
    shown = viz.show(texas, prune(texas_graph, 0.5), height=300)
    data = data_in(page_in(shown._repr_html_()))
    assert len(data["graphs"]) == 2
    assert "height: 300px" in shown._repr_html_()
    assert repr(shown).count("Strongest features") == 2
    with pytest.raises(InputError, match="expected a graph to show"):
        viz.show()


def test_an_intervention_is_bars_and_a_table() -> None:
    result = intervene(ReplacementModel.from_pretrained("pocket"), PROMPT, Intervention.scale("1/-1/1006", -1))
    shown = notebook.html(result)
    assert shown.startswith("<div><svg")
    assert "next token" in shown
    assert "Austin" in notebook.text(result)
    assert "<iframe" not in shown


def test_other_results_are_their_plain_values() -> None:
    class Result:
        def to_dict(self):
            return {"rate": 0.5, "name": "<b>"}

    assert notebook.text(Result()) == 'Result\n{\n  "rate": 0.5,\n  "name": "<b>"\n}'
    assert "&lt;b&gt;" in notebook.html(Result())
    assert notebook.text(3) == "3"


def test_long_results_are_cut() -> None:
    class Result:
        def to_dict(self):
            return {"values": list(range(10_000))}

    told = notebook.text(Result())
    assert len(told) < 4_100
    assert told.endswith("more characters, see to_dict())")


@pytest.mark.slow
def test_a_check_is_its_figure_and_what_was_found() -> None:
    model = ReplacementModel.from_pretrained("pocket")
    found = check_circuits(model, [attribute(model, "the opposite of small is")], settings=CheckSettings(3, 20))
    assert notebook.html(found).startswith("<div><svg")
    assert "Direct effects" in notebook.text(found)


def test_a_replay_is_its_table() -> None:
    model, change = ReplacementModel.from_pretrained("pocket"), Intervention.ablate("1/-1/1006")
    case = Case("one", PROMPT, (change,), Conditions("free"), 0, outcome(model, intervene(model, PROMPT, change)))
    told = notebook.text(replay(model, Specification.of(model, [case])))
    assert "Austin" in told
    assert "Houston" in told
