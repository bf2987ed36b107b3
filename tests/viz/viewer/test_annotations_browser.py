"""Annotations and steering as people make them, in the served page and in the single file."""

import json
import random
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from circuits import Circuit, prune, save_circuit
from replacement_model import Intervention, ReplacementModel, intervene
from replacement_model.evidence.folder import write_index, write_layer
from replacement_model.evidence.record import Example, FeatureEvidence, Quantile
from viz.viewer.annotations import Annotations, load_annotations, parse_annotations, save_annotations
from viz.viewer.evidence import FeatureTexts
from viz.viewer.library import Library
from viz.viewer.merging import merge_annotations
from viz.viewer.page import page as page_of
from viz.viewer.server import ViewerServer, make_app
from viz.viewer.steering import Steering

pytestmark = pytest.mark.browser

HTML = "<img src=x onerror=alert(1)><b>Texas</b>"
STATE = "orrery.panes.value[0].annotations.value"
CASES = json.loads((Path(__file__).parents[1] / "merge_cases.json").read_text())
EMPTY = Annotations().to_dict()


@pytest.fixture(scope="module")
def dallas(pocket_graphs) -> Circuit:
    return prune(pocket_graphs[0])


@pytest.fixture
def folder(tmp_path: Path, dallas: Circuit) -> Path:
    place = tmp_path / "graphs"
    save_circuit(dallas, place / "dallas.safetensors")
    return place


@pytest.fixture
def served(folder: Path) -> Iterator[str]:
    server = ViewerServer(make_app(Library(folder), None, Steering()))
    thread = threading.Thread(target=server.run)
    thread.start()
    yield server.url
    server.stop()
    thread.join(timeout=20)


@pytest.fixture
def single(tmp_path: Path, dallas: Circuit) -> str:
    path = tmp_path / "dallas.html"
    path.write_text(page_of(dallas), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(params=["served", "single"])
def address(request: Any) -> str:
    return request.getfixturevalue(request.param)


def select(page: Any, node_id: str) -> None:
    page.evaluate("id => { const [p] = orrery.panes.value; p.select(p.graph.numberOf.get(id)); }", node_id)


def features(page: Any, n: int) -> list[str]:
    script = """n => { const [p] = orrery.panes.value;
        return p.graph.nodes.filter((one, k) => one.kind === "feature" && p.pruned.value.nodes[k]).slice(-n)
            .map(({id}) => id); }"""
    return page.evaluate(script, n)


def open_tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def saved(page: Any) -> None:
    expect(page.locator(".kept")).to_have_text(re.compile("Saved|Kept in this browser"))


def annotations(page: Any) -> dict[str, Any]:
    return page.evaluate(STATE)


def reloaded(page: Any, wait_until: Callable[..., None]) -> None:
    page.reload()
    wait_until(page, "window.orrery?.panes.value.length > 0")
    page.locator(".kept").wait_for()


def pin(page: Any, ids: list[str]) -> None:
    for node_id in ids:
        select(page, node_id)
        page.get_by_role("button", name="Pin", exact=True).click()


def group(page: Any, n: int, name: str) -> None:
    open_tab(page, "Pins")
    for k in range(n):
        page.locator(".nodes.pinned input[type=checkbox]").nth(k).check()
    page.get_by_label("Name of the supernode").fill(name)
    page.get_by_role("button", name=f"Group {n} nodes").click()


def test_what_is_made_is_there_after_reloading(open_page, wait_until, address):
    page = open_page(address)
    ids = features(page, 3)
    pin(page, ids)
    page.get_by_role("button", name="Edit label").click()
    page.get_by_label(re.compile("^Label of feature")).fill(HTML)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=2)).to_have_text(HTML)
    group(page, 2, "two of them")
    page.get_by_label("Name of supernode two of them").fill(HTML)
    page.keyboard.press("Enter")
    expected = {"pinned": ids, "supernodes": [[HTML, *ids[:2]]], "labels": {label_key(ids[2]): HTML}}
    assert {key: annotations(page)[key] for key in expected} == expected
    saved(page)
    reloaded(page, wait_until)
    assert {key: annotations(page)[key] for key in expected} == expected
    open_tab(page, "Pins")
    expect(page.get_by_role("button", name=f"Supernode {HTML}, 2 nodes")).to_be_visible()
    assert page.locator(".side img, .side b").count() == 0


def label_key(node_id: str) -> str:
    layer, index, _ = node_id.split("_")
    return f"{layer}/{index}"


def test_undo_and_redo(open_page, wait_until, address):
    page = open_page(address)
    ids = features(page, 2)
    pin(page, ids)
    group(page, 2, "both")
    for step, keys in [("one", "Control+z"), ("two", "Control+z"), ("again", "Control+Shift+z")]:
        page.get_by_role("tab", name="Pins").press(keys)
        counts = [len(annotations(page)[key]) for key in ("supernodes", "pinned")]
        assert counts == {"one": [0, 2], "two": [0, 1], "again": [0, 2]}[step]
    page.get_by_role("button", name="Redo").click()
    assert annotations(page)["supernodes"] == [["both", *ids]]
    expect(page.get_by_role("button", name="Redo")).to_be_disabled()
    page.get_by_role("button", name="Undo").click()
    saved(page)
    reloaded(page, wait_until)
    assert (annotations(page)["supernodes"], annotations(page)["pinned"]) == ([], ids)


def settled(block: Any) -> dict[str, float]:
    """Where a block is once the page has stopped laying it out."""
    box = block.bounding_box()
    for _ in range(50):
        block.page.wait_for_timeout(50)
        before, box = box, block.bounding_box()
        if box == before:
            return box
    raise AssertionError("the block does not stand still")


def test_blocks_are_dragged_and_stay(open_page, wait_until, address):
    page = open_page(address)
    [one, _] = ids = features(page, 2)
    pin(page, ids)
    open_tab(page, "Pins")
    page.get_by_role("button", name="Enlarge").click()
    block = page.locator(".pin-block").first
    box = settled(block)
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 110, box["y"] + 70, steps=5)
    page.mouse.up()
    moved = settled(block)
    assert (moved["x"] - box["x"], moved["y"] - box["y"]) == (pytest.approx(100, abs=1), pytest.approx(60, abs=1))
    assert list(annotations(page)["positions"]) == [one]
    saved(page)
    reloaded(page, wait_until)
    open_tab(page, "Pins")
    page.get_by_role("button", name="Enlarge").click()
    again = settled(page.locator(".pin-block").first)
    assert (again["x"], again["y"]) == (pytest.approx(moved["x"], abs=1), pytest.approx(moved["y"], abs=1))
    before = annotations(page)["positions"][one]
    page.locator(".pin-block").first.press("ArrowLeft")
    assert annotations(page)["positions"][one] == [pytest.approx(before[0] - 0.02), before[1]]
    page.get_by_role("button", name="Arrange by layer").click()
    assert annotations(page)["positions"] == {}


def test_sliders_are_where_they_were_and_no_step_of_undo(open_page, wait_until, address):
    page = open_page(address)
    pin(page, features(page, 1))
    page.get_by_label("Nodes", exact=True).fill("600")
    wait_until(page, f"{STATE}.node_threshold === 0.6")
    page.get_by_role("button", name="Undo").click()
    assert (annotations(page)["pinned"], annotations(page)["node_threshold"]) == ([], 0.6)
    saved(page)
    reloaded(page, wait_until)
    assert page.evaluate("orrery.panes.value[0].nodeThreshold.value") == 0.6
    page.get_by_role("button", name="Reset").click()
    wait_until(page, f"{STATE}.node_threshold === null")


def test_a_dissolved_supernode_leaves_its_nodes_pinned(open_page, address):
    page = open_page(address)
    ids = features(page, 3)
    pin(page, ids)
    group(page, 3, "all")
    page.get_by_role("button", name=re.compile("^Take .* out of all$")).first.click()
    assert annotations(page)["supernodes"] == [["all", *ids[1:]]]
    page.get_by_role("button", name="Dissolve").click()
    assert (annotations(page)["supernodes"], annotations(page)["pinned"]) == ([], ids)


def test_edges_of_supernodes_are_those_that_python_sums(open_page, dallas, dallas_page):
    from circuits import Group, Grouping
    from circuits import group as merged
    from circuits.node_names import node_names

    page = open_page(dallas_page)
    names = node_names(dallas.graph)
    nodes = [node for node in range(dallas.graph.layout.n_features) if dallas.node_mask[node]]
    halves = nodes[::2], nodes[1::2]
    for k, half in enumerate(halves):
        ids = [names[node] for node in half]
        page.evaluate(f"ids => orrery.panes.value[0].dispatch({{type: 'group', ids, name: 'half {k}'}})", ids)
    open_tab(page, "Pins")
    grouped = merged(dallas, Grouping(tuple(Group(f"half {k}", tuple(half)) for k, half in enumerate(halves))))
    expected = {(s, t): grouped.edges[t, s] for s, t in ((0, 1), (1, 0)) if grouped.edges[t, s] != 0}
    assert expected
    found = page.locator(".links .link").evaluate_all("all => all.map(one => one.classList.contains('negative'))")
    assert len(found) == len(expected)
    assert sorted(found) == sorted(weight < 0 for weight in expected.values())


def test_python_and_the_page_see_the_same(open_page, wait_until, served, folder):
    page = open_page(served)
    ids = features(page, 2)
    pin(page, ids)
    saved(page)
    found = load_annotations(folder / "dallas.safetensors")
    assert list(found.pinned) == ids
    save_annotations(Annotations((("from Python", *ids),), revision=found.revision), folder / "dallas.safetensors")
    reloaded(page, wait_until)
    assert annotations(page)["supernodes"] == [["from Python", *ids]]


def test_two_tabs_that_save_at_once_lose_nothing(browser, served, folder, wait_until):
    context, said = browser.new_context(), []
    first, second = context.new_page(), context.new_page()
    for page in (first, second):
        page.on("console", lambda message: said.append(message.text))
        page.goto(served)
        wait_until(page, "window.orrery?.panes.value.length > 0")
    ids = features(first, 6)
    for k, node_id in enumerate(ids):  # no waiting: each saves while the other has
        select([first, second][k % 2], node_id)
        [first, second][k % 2].keyboard.press("p")
    second.evaluate(f"orrery.panes.value[0].dispatch({{type: 'group', ids: {json.dumps(ids[:2])}, name: 'theirs'}})")
    first.evaluate("orrery.panes.value[0].dispatch({type: 'label', feature: '0/1', text: 'mine'})")
    for page in (first, second):
        saved(page)
    found = load_annotations(folder / "dallas.safetensors")
    assert set(found.pinned) == set(ids)
    assert (found.supernodes, found.labels) == ((("theirs", *ids[:2]),), {"0/1": "mine"})
    first.evaluate("window.dispatchEvent(new Event('focus'))")
    wait_until(first, f"{STATE}.supernodes.length === 1")
    # What the other tab did is not undone here.
    for _ in range(4):
        first.get_by_role("button", name="Undo").click()
    assert set(annotations(first)["pinned"]) == set(ids[1::2])
    assert len(annotations(first)["supernodes"]) == 1
    context.close()
    # Chromium itself writes to the console that the server said 409; nothing else is there.
    assert said
    assert all("409 (Conflict)" in text for text in said)


def test_a_server_that_is_gone_is_said_and_the_work_kept(browser, folder, wait_until):
    server = ViewerServer(make_app(Library(folder), None, None))
    thread = threading.Thread(target=server.run)
    thread.start()
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.url)
    wait_until(page, "window.orrery?.panes.value.length > 0")
    server.stop()
    thread.join(timeout=20)
    [node_id] = features(page, 1)
    select(page, node_id)
    page.keyboard.press("p")
    expect(page.locator(".kept")).to_contain_text("Not saved")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    assert annotations(page)["pinned"] == [node_id]
    context.close()


def test_a_browser_without_storage_is_said(browser, single):
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('none'); } })")
    page.goto(single)
    page.locator(".kept").wait_for()
    select(page, features(page, 1)[0])
    page.keyboard.press("p")
    expect(page.locator(".kept")).to_contain_text("keeps nothing for this page; save a copy")
    assert len(annotations(page)["pinned"]) == 1
    context.close()


@pytest.mark.parametrize("how", ["served", "single"])
def test_a_saved_copy_holds_the_annotations(open_page, request, tmp_path, how):
    page = open_page(request.getfixturevalue(how))
    ids = features(page, 2)
    pin(page, ids)
    group(page, 2, HTML)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save a copy").click()
    assert download.value.suggested_filename.endswith(".html")
    download.value.save_as(tmp_path / "copy.html")
    copy = open_page((tmp_path / "copy.html").as_uri())
    assert annotations(copy)["supernodes"] == [[HTML, *ids]]
    open_tab(copy, "Pins")
    expect(copy.get_by_role("button", name=f"Supernode {HTML}, 2 nodes")).to_be_visible()
    assert "served" not in copy.evaluate("Object.keys(orrery.panes.value[0].graph.facts)")


def test_a_page_and_its_copy_keep_each_others_work(open_page, wait_until, single, tmp_path):
    page = open_page(single)
    first, second = features(page, 2)
    pin(page, [first])
    saved(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save a copy").click()
    download.value.save_as(tmp_path / "copy.html")
    copy = page.context.new_page()
    copy.goto((tmp_path / "copy.html").as_uri())
    wait_until(copy, "window.orrery?.panes.value.length > 0")
    pin(copy, [second])
    saved(copy)
    copy.close()
    reloaded(page, wait_until)
    assert set(annotations(page)["pinned"]) == {first, second}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_merging_as_in_python(merging_page, case):
    base, mine, theirs, merged = ({**EMPTY, **case[name]} for name in ("base", "mine", "theirs", "merged"))
    found = merging_page.evaluate("([a, b, c]) => orrery.merge(a, b, c)", [base, mine, {**theirs, "revision": 7}])
    assert found == {**merged, "revision": 7}


def test_merging_as_in_python_whatever_was_changed(merging_page):
    draws = random.Random(0)
    triples = [[random_annotations(draws) for _ in range(3)] for _ in range(300)]
    found = merging_page.evaluate("all => all.map(([a, b, c]) => orrery.merge(a, b, c))", triples)
    expected = [merge_annotations(*map(parse_annotations, triple)).to_dict() for triple in triples]
    assert found == expected


def random_annotations(draws: random.Random) -> dict[str, Any]:
    groups: dict[int, list[str]] = {}
    for node in draws.sample("abcdef", draws.randint(0, 6)):
        groups.setdefault(draws.randrange(3), []).append(node)
    labels = {key: draws.choice("12") for key in draws.sample("xyz", draws.randint(0, 3))}
    return {
        **EMPTY,
        "supernodes": [[draws.choice("ABC"), *nodes] for nodes in groups.values()],
        "pinned": draws.sample("abcd", draws.randint(0, 4)),
        "labels": labels,
        "positions": {key: [draws.randrange(2), 0.5] for key in labels},
        "node_threshold": draws.choice([None, 0.5]),
        "revision": draws.randrange(5),
    }


@pytest.fixture(scope="module")
def merging_page(browser, dallas_page, tmp_path_factory):
    path = tmp_path_factory.mktemp("merging") / "page.html"
    path.write_text(dallas_page, encoding="utf-8")
    context = browser.new_context()
    page = context.new_page()
    page.goto(path.as_uri())
    page.locator(".kept").wait_for()
    yield page
    context.close()


def test_steering_shows_what_the_model_says(open_page, served):
    page = open_page(served)
    select(page, "1_1006_8")
    open_tab(page, "Steer")
    page.get_by_role("button", name="Add the selected feature").click()
    page.get_by_label(re.compile("^What to do with")).select_option("ablate")
    page.locator(".steer-run button").click()
    table = page.locator("table.steered")
    table.wait_for()
    model = ReplacementModel.from_pretrained("pocket")
    prompt = "the capital of the state containing Dallas is"
    result = intervene(model, prompt, Intervention.ablate("1/-1/1006"))
    raised = result.raised[0]
    row = table.get_by_role("row", name=re.compile(f"^{raised.token}"))
    expect(row).to_contain_text(f"{100 * raised.probability_after:.0f} %")
    expect(table.locator("tbody tr").first.locator("th")).to_have_text(raised.token)


def test_a_supernode_is_steered_with_a_value(open_page, served):
    page = open_page(served)
    ids = features(page, 2)
    page.evaluate("ids => orrery.panes.value[0].dispatch({type: 'group', ids, name: 'both'})", ids)
    open_tab(page, "Steer")
    page.get_by_role("button", name="Add supernode both").click()
    value = page.get_by_label("Value for both")
    value.fill("")
    expect(page.locator(".steer-run button")).to_be_disabled()
    value.fill("0")
    with page.expect_request("**/api/steer") as sent:
        page.locator(".steer-run button").click()
    [edit] = sent.value.post_data_json["interventions"]
    names = [f"{layer}/{pos}/{index}" for layer, index, pos in (node_id.split("_") for node_id in ids)]
    assert edit == {"operation": "scale", "features": names, "value": 0}
    page.locator("table.steered").wait_for()


def test_the_single_file_says_that_it_cannot_steer(open_page, single):
    page = open_page(single)
    open_tab(page, "Steer")
    expect(page.get_by_text("serve it: orrery view")).to_be_visible()
    assert page.get_by_role("button", name="Add the selected feature").count() == 0


def test_a_served_page_reads_evidence_when_a_feature_is_looked_at(open_page, folder):
    example = Example(("in", " Dallas", " <b>"), (0.0, 1.5, 0.0), 1)
    records = [
        FeatureEvidence(1, 1006, (Quantile("Top", (example,)),), act_max=1.5) if k == 1006 else None
        for k in range(1007)
    ]
    write_index(folder / "evidence", {1: write_layer(folder / "evidence" / "layer_1.bin", records)})
    server = ViewerServer(make_app(Library(folder), FeatureTexts(folder / "evidence")))
    thread = threading.Thread(target=server.run)
    thread.start()
    page = open_page(server.url)
    select(page, "1_1006_8")
    expect(page.locator(".examples mark")).to_have_text(" Dallas")
    expect(page.locator(".examples li")).to_contain_text("<b>")
    select(page, features(page, 1)[0])  # nothing is known of it but its label
    expect(page.locator(".examples")).to_have_count(0)
    server.stop()
    thread.join(timeout=20)


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page, served, colours):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="runs where axe-playwright-python is")
    page = open_page(served, colours=colours)
    pin(page, features(page, 4))
    page.get_by_role("button", name="Edit label").click()
    check_axe(axe, page)
    group(page, 2, "two")
    page.locator(".nodes.pinned input[type=checkbox]").first.check()
    check_axe(axe, page)
    page.get_by_role("button", name="Enlarge").click()
    check_axe(axe, page)
    page.get_by_role("button", name="Back to the graph").click()
    open_tab(page, "Steer")
    page.get_by_role("button", name="Add supernode two").click()
    page.locator(".steer-run button").click()
    page.locator("table.steered").wait_for()
    check_axe(axe, page)


def check_axe(axe, page):
    found = axe.Axe().run(page).response["violations"]
    bad = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"][:160] for node in one["nodes"]][:4]) for one in bad] == []
