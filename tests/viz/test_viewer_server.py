"""The server against everything that a page, another page, or a stranger may send."""

import json
import os
import shutil
import socket
import threading
import urllib.error
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

import viz
from circuits import Group, Grouping, attribute, group, load_graph, prune, save_circuit, save_graph
from circuits.node_names import node_names
from replacement_model import Intervention, ReplacementModel, intervene
from replacement_model.errors import InputError
from replacement_model.evidence.folder import write_index, write_layer
from replacement_model.evidence.record import FeatureEvidence
from replacement_model.labels import FeatureLabel, FeatureLabels, save_labels
from viz.viewer.annotations import load_annotations
from viz.viewer.evidence import FeatureTexts
from viz.viewer.library import Library
from viz.viewer.server import ViewerServer, make_app
from viz.viewer.steering import Steering

TOKEN = "token-of-this-run"
SECRET = "a-secret-outside"
JSON = {"content-type": "application/json", "x-orrery-token": TOKEN}


@pytest.fixture(scope="module")
def pocket():
    return ReplacementModel.from_pretrained("pocket")


@pytest.fixture(scope="module")
def place(tmp_path_factory, make_graph, texas, pocket):
    """A folder with graphs, things that are no graphs, and links that lead out of it."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.txt").write_text(SECRET)
    save_graph(make_graph([(0, 1, SECRET)]), outside / "elsewhere.safetensors")
    folder = outside / "graphs"
    (folder / "more").mkdir(parents=True)
    save_circuit(texas, folder / "texas.safetensors")
    save_circuit(
        prune(attribute(pocket, "the capital of the state containing Dallas is")), folder / "dallas.safetensors"
    )
    save_graph(texas.graph, folder / "more" / "a b%.safetensors")
    (folder / "weights.safetensors").write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    (folder / "link.safetensors").symlink_to(outside / "elsewhere.safetensors")
    (folder / "linked").symlink_to(outside, target_is_directory=True)
    evidence = folder / "evidence"
    write_index(evidence, {0: write_layer(evidence / "layer_0.bin", [FeatureEvidence(0, 0, frequency=0.5), None])})
    first = texas.graph.features[0].tolist()
    save_labels(FeatureLabels({(first[0], first[2]): FeatureLabel("by hand", f1=0.5)}), evidence / "labels.json")
    return folder


@pytest.fixture(scope="module")
def client(place, pocket):
    app = make_app(Library(place), FeatureTexts(place / "evidence"), Steering(load=lambda *_: pocket), TOKEN)
    with TestClient(app, "http://127.0.0.1:8000", client=("127.0.0.1", 9), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def fresh(place):
    """The texas graph without annotations."""
    yield "/api/graphs/texas"
    (place / "texas.annotations.json").unlink(missing_ok=True)


def test_graphs_are_those_of_the_folder_and_its_subfolders(client):
    found = client.get("/api/graphs").json()["graphs"]
    assert [one["slug"] for one in found] == ["dallas", "more%2Fa%20b%25", "texas"]
    assert found[0]["title"] == "the capital of the state containing Dallas is"


def test_a_graph_comes_with_annotations_labels_and_what_can_be_done(client, texas):
    value = client.get("/api/graphs/texas").json()
    assert value["annotations"]["revision"] == 0
    assert value["served"] == {"steer": True, "features": True}
    sources = [node["label_source"] for node in value["nodes"] if node["label"] == "by hand"]
    assert sources
    assert set(sources) == {"evidence"}
    assert value["thresholds"]["node"] == texas.node_threshold


def test_graph_json_of_other_programs_is_listed_and_keeps_its_supernodes(client, place, texas):
    names = node_names(texas.graph)
    kept = [int(node) for node in np.flatnonzero(texas.node_mask)[:2]]
    grouped = group(texas, Grouping((Group("from afar", tuple(kept)),)))
    viz.write_graph_json(grouped, place / "afar.json")
    viz.write_graph_json(grouped, place / "texas.json")  # beside our own file: not listed
    (place / "notes.json").write_text('{"prompt": "no graph"}')
    found = {one["slug"]: one["file"] for one in client.get("/api/graphs").json()["graphs"]}
    assert (found["afar"], found["texas"], "notes" in found) == ("afar.json", "texas.safetensors", False)
    value = client.get("/api/graphs/afar").json()
    rows = [["from afar", *(names[node] for node in kept)]]
    assert (value["annotations"]["supernodes"], value["served"]["steer"]) == (rows, True)
    headers = {**JSON, "if-match": '"0"'}
    client.put("/api/graphs/afar/annotations", headers=headers, json={"schema_version": 1, "pinned": ["a"]})
    assert client.get("/api/graphs/afar").json()["annotations"]["supernodes"] == []
    assert list(Library(place / "afar.json").paths()) == ["afar"]
    for name in ("afar.json", "texas.json", "notes.json", "afar.annotations.json"):
        (place / name).unlink()


def test_file_names_may_be_any_bytes(place, texas):
    folder = place / "names"
    for name in (b"\xff\xfe", "Dallas – é".encode(), b"a;b?c=d&e#f", b" "):
        save_circuit(texas, folder / f"{os.fsdecode(name)}.safetensors")
    library = Library(folder)
    assert list(library.paths()) == ["%20", "%FF%FE", "Dallas%20%E2%80%93%20%C3%A9", "a%3Bb%3Fc%3Dd%26e%23f"]
    assert all(library.open(slug).value["slug"] == slug for slug in library.paths())
    shutil.rmtree(folder)


def test_a_changed_file_is_read_again(client, place, make_graph):
    path = place / "changing.safetensors"
    save_graph(make_graph([(0, 1, "first")]), path)
    assert len(client.get("/api/graphs/changing").json()["tokens"]) == 10
    save_graph(make_graph([(0, 1, "first")], tokens=("<bos>", "two")), path)
    assert len(client.get("/api/graphs/changing").json()["tokens"]) == 2
    path.write_bytes(path.read_bytes()[:-20])
    assert client.get("/api/graphs/changing").status_code in (404, 422)
    path.unlink()
    assert client.get("/api/graphs/changing").status_code == 404


def test_the_page_knows_the_token_and_has_a_policy(client):
    answer = client.get("/")
    assert f'"token":"{TOKEN}"' in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("path", ["/", "/api/graphs", "/nothing", "/api/steer"])
def test_every_answer_keeps_to_itself(client, path):
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers


def test_annotations_are_saved_with_their_revision(client, fresh, place):
    mine = {"schema_version": 1, "pinned": ["1_5_8"], "labels": {"1/5": "<img src=x onerror=alert(1)>"}, "mine": 1}
    saved = client.put(f"{fresh}/annotations", headers={**JSON, "if-match": '"0"'}, content=json.dumps(mine))
    assert (saved.status_code, saved.json()["revision"], saved.headers["etag"]) == (200, 1, '"1"')
    found = client.get(f"{fresh}/annotations")
    assert (found.json(), found.headers["etag"]) == (saved.json(), '"1"')
    assert client.get(fresh).json()["annotations"] == saved.json()
    assert load_annotations(place / "texas.safetensors").labels == mine["labels"]


def test_a_stale_revision_gets_the_current_annotations(client, fresh):
    headers = {**JSON, "if-match": '"0"'}
    first = client.put(f"{fresh}/annotations", headers=headers, json={"schema_version": 1, "pinned": ["a"]})
    second = client.put(f"{fresh}/annotations", headers=headers, json={"schema_version": 1, "pinned": ["b"]})
    assert (first.status_code, second.status_code) == (200, 409)
    assert (second.json()["current"], second.headers["etag"]) == (first.json(), '"1"')
    assert client.get(f"{fresh}/annotations").json()["pinned"] == ["a"]


def test_two_pages_that_save_at_once_lose_nothing(client, fresh):
    """Each adds its pins one by one, merging as the page does when the other was faster."""
    conflicts, start = [], threading.Barrier(2)

    def page(name):
        known = client.get(f"{fresh}/annotations").json()
        start.wait(timeout=20)
        for k in range(10):
            wanted = f"{name}{k}"
            while True:
                headers = {**JSON, "if-match": f'"{known["revision"]}"'}
                answer = client.put(
                    f"{fresh}/annotations", headers=headers, json={**known, "pinned": [*known["pinned"], wanted]}
                )
                known = answer.json() if answer.status_code == 200 else answer.json()["current"]
                if answer.status_code == 200:
                    break
                conflicts.append(wanted)

    threads = [threading.Thread(target=page, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = client.get(f"{fresh}/annotations").json()
    assert sorted(found["pinned"]) == sorted(f"{name}{k}" for name in "ab" for k in range(10))
    assert found["revision"] == 20
    assert conflicts


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"x-orrery-token": "another"}, 403),
        ({"x-orrery-token": ""}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"host": "evil.example:8000"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": ""}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"if-match": "*"}, 400),
        ({"if-match": "-1"}, 400),
        ({"if-match": ""}, 400),
    ],
)
def test_who_may_not_save(client, fresh, place, change, status):
    headers = {**JSON, "if-match": '"0"', "origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}
    answer = client.put(f"{fresh}/annotations", headers={**headers, **change}, content=b'{"schema_version": 1}')
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    assert not (place / "texas.annotations.json").exists()


def test_the_same_request_without_those_changes_saves(client, fresh):
    headers = {**JSON, "if-match": '"0"', "origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}
    answer = client.put(f"{fresh}/annotations", headers=headers, content=b'{"schema_version": 1}')
    assert answer.status_code == 200


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "127.0.0.2:1"])
def test_loopback_has_several_names(client, host):
    assert client.get("/api/graphs", headers={"host": host}).status_code == 200


def test_other_sites_may_link_to_the_page_but_not_read(client):
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200
    assert client.get("/api/graphs", headers=link).status_code == 403
    assert client.get("/", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}).status_code == 403


def test_a_client_elsewhere_is_refused(place):
    app = make_app(Library(place), token=TOKEN)
    far = TestClient(app, "http://127.0.0.1:8000", client=("192.168.0.7", 9))
    assert far.get("/api/graphs").status_code == 403


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"null", 400),
        (b"{", 400),
        (b'{"schema_version": 1, "node_threshold": NaN}', 400),
        (b'{"schema_version": 1, "positions": {"a": [1e999, 0]}}', 400),
        (b'{"schema_version": 1, "labels": {"a": 1' + b"0" * 5000 + b"}}", 400),
        (b'{"schema_version": 2}', 400),
        (b"[" * 200_000, 400),
        (b"\xff\xfe{}", 400),
        (b'{"schema_version": 1, "labels": {"1/2": "\\ud800"}}', 200),
        (b'{"schema_version": 1, "labels": {"\\ud800": 5}}', 400),
        (b'{"schema_version": 1, "of another version": 1e999}', 400),
        (b" " * 4_000_001, 413),
    ],
)
def test_bodies(client, fresh, body, status):
    assert client.put(f"{fresh}/annotations", headers={**JSON, "if-match": '"0"'}, content=body).status_code == status
    assert client.get(f"{fresh}/annotations").status_code == 200


def test_a_body_in_parts_is_counted(client, fresh):
    answer = client.put(
        f"{fresh}/annotations", headers={**JSON, "if-match": '"0"'}, content=(b" " * 10**6 for _ in range(6))
    )
    assert answer.status_code == 413


def test_reading_takes_no_body(client):
    assert client.request("GET", "/api/graphs", content=b"{}").status_code == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_other_methods_are_refused(client, method):
    headers = JSON if method in ("POST", "PUT") else {}
    answer = client.request(method, "/api/graphs", headers=headers, content=b"{}" if headers else None)
    assert (answer.status_code, set(answer.json())) == (405, {"error"})
    assert sorted(answer.headers["allow"].split(", ")) == ["GET", "HEAD"]


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/api/graphs/..%2felsewhere",
        "/api/graphs/%2e%2e%2felsewhere",
        "/api/graphs/link",
        "/api/graphs/linked%2felsewhere",
        "/api/graphs/weights",
        "/api/graphs/texas%00",
        "/api/graphs/texas.safetensors",
        "/features/..%2f..%2f..%2fsecret.txt",
        "/features/labels.json",
        "/features/",
        "/api/features/0/%2e%2e",
        "/api/features/0/" + "9" * 3000,
        "/api/features/-1/0",
        "/texas.safetensors",
        "//etc/passwd",
        "/api/graphs/",
    ],
)
def test_nothing_outside_is_found(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert SECRET not in answer.text


def test_evidence(client, place):
    assert client.get("/api/features/0/0").json()["activation_frequency"] == 0.5
    assert [client.get(f"/api/features/{name}").json() for name in ("0/1", "7/0", "0/999")] == [None, None, None]
    data = (place / "evidence" / "layer_0.bin").read_bytes()
    assert client.get("/features/layer_0.bin").content == data
    part = client.get("/features/layer_0.bin", headers={"range": "bytes=4-9"})
    assert (part.status_code, part.content) == (206, data[4:10])
    assert client.get("/features/layer_0.bin", headers={"range": "bytes=9-4,x"}).status_code in (400, 416)


def steer(client, **value):
    request = {"slug": "dallas", "interventions": [{"operation": "ablate", "features": ["1/-1/1006"]}], **value}
    return client.post("/api/steer", headers=JSON, json=request)


def test_steering_says_what_intervening_says(client, pocket):
    answer = steer(client, generate=2).json()
    prompt = "the capital of the state containing Dallas is"
    expected = intervene(pocket, prompt, Intervention.ablate("1/-1/1006"), generate=2)
    assert answer["before"][0]["token"] == expected.lowered[0].token == "Austin"
    assert answer["after"][0]["token"] == expected.raised[0].token == "Houston"
    assert answer["before"][0]["logit"] == pytest.approx(float(expected.logits_before[-1].max()))
    assert answer["after"][0]["probability"] == pytest.approx(float(expected.probabilities_after[-1].max()))
    assert answer["continuation_after"] == expected.after.text
    values = [{"operation": "scale", "features": ["1/-1/1006"], "value": -1}]
    assert steer(client, interventions=values, mode="direct").json()["conditions"]["mode"] == "direct"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"interventions": []}, "1 to 500 interventions"),
        ({"interventions": [{"operation": "swap", "features": ["1/-1/1"], "value": 1}]}, "operation"),
        ({"interventions": [{"operation": "set", "features": ["1/-1/1006"]}]}, "finite number as value"),
        ({"interventions": [{"operation": "set", "features": ["1/-1/1006"], "value": 1e300}]}, "finite number"),
        ({"interventions": [{"operation": "ablate", "features": ["99/-1/1006"]}]}, "layer"),
        ({"interventions": [{"operation": "ablate", "features": ["1/99/1006"]}]}, "outside the prompt"),
        ({"interventions": [{"operation": "ablate", "features": ["nonsense"]}]}, "LAYER/POSITIONS/INDEX"),
        ({"interventions": [{"operation": "ablate", "features": []}]}, "at least one feature"),
        ({"mode": "fast"}, "mode must be one of"),
        ({"mode": []}, "mode must be one of"),
        ({"generate": 10**9}, "from 0 to 32"),
        ({"more": 1}, "expected an object with slug"),
    ],
)
def test_wrong_steering_is_refused_with_the_reason(client, value, says):
    answer = steer(client, **value)
    assert answer.status_code == 400
    assert says in answer.json()["error"]


def test_steering_needs_the_graph_and_its_model(client, place, texas, pocket):
    assert steer(client, slug="nothing").status_code == 404
    graph = replace(texas.graph, metadata=replace(texas.graph.metadata, transcoder_name="theirs"))
    save_graph(graph, place / "theirs.safetensors")
    assert client.get("/api/graphs/theirs").json()["served"]["steer"] is False
    answer = steer(client, slug="theirs")
    (place / "theirs.safetensors").unlink()
    assert (answer.status_code, "no model is loaded for transcoder theirs" in answer.text) == (400, True)
    metadata = replace(load_graph(place / "dallas.safetensors").metadata, hashes={"transcoder/transcoder.json": "00"})
    save_graph(replace(load_graph(place / "dallas.safetensors"), metadata=metadata), place / "altered.safetensors")
    answer = steer(client, slug="altered")
    (place / "altered.safetensors").unlink()
    assert (answer.status_code, "was traced with another transcoder/transcoder.json" in answer.text) == (400, True)
    with TestClient(make_app(Library(place), token=TOKEN), "http://127.0.0.1", client=("127.0.0.1", 9)) as bare:
        assert "no model is loaded" in steer(bare).json()["error"]


PARTS = [
    "api",
    "graphs",
    "texas",
    "annotations",
    "features",
    "steer",
    "..",
    "%2e%2e",
    "linked",
    "elsewhere",
    "secret.txt",
]
PATHS = st.one_of(
    st.lists(st.sampled_from([*PARTS, "layer_0.bin", "", "%00", "%2f", "0"]), max_size=6).map("/".join),
    st.text(max_size=30).map(lambda text: "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "replace"))),
    st.sampled_from(["api/graphs/texas/annotations", "api/steer", "api/graphs/texas", "api/features/0/0"]),
)
KEYS = [
    "schema_version",
    "supernodes",
    "pinned",
    "positions",
    "labels",
    "slug",
    "interventions",
    "operation",
    "features",
]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["1/-1/1006", "set"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
BODIES = st.one_of(
    st.binary(max_size=40),
    VALUES.map(lambda value: json.dumps(value).encode()),
    VALUES.map(lambda value: json.dumps({"schema_version": 1, "pinned": value, "labels": value}).encode()),
    VALUES.map(lambda value: json.dumps({"slug": "dallas", "interventions": [value], "generate": value}).encode()),
)
METHODS = st.sampled_from(["GET", "HEAD", "PUT", "POST", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "X"])
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "x-orrery-token": st.sampled_from([TOKEN, TOKEN, TOKEN, "wrong"]),
        "content-type": st.sampled_from(["application/json", "application/json", "text/plain", ";"]),
        "if-match": st.sampled_from(['"0"', "1", "x", "9" * 400]),
        "origin": st.sampled_from(["http://127.0.0.1:8000", "http://evil.example", "null"]),
        "range": st.sampled_from(["bytes=0-", "bytes=5-1", "bytes=-9999", "x", "bytes=0-1,3-4", "bytes=" + "9" * 50]),
        "content-length": st.sampled_from(["0", "x", "99999999999999999999"]),
        "host": st.sampled_from(["127.0.0.1:8000", "evil.example"]),
    },
)


def check_answer(client, place, path, method, headers, body):
    before = {name: path.read_bytes() for name in ("texas.safetensors", "secret") if (path := place / name).is_file()}
    answer = client.request(method, f"/{path}", headers=headers, content=body if method in ("PUT", "POST") else None)
    assert answer.status_code < 500, (answer.status_code, answer.text)
    assert SECRET not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    if answer.status_code >= 400 and method != "HEAD" and "range" not in headers:
        assert set(answer.json()) <= {"error", "current"}
    assert all((place / name).read_bytes() == data for name, data in before.items())
    assert not list(place.parent.glob("*.annotations.json"))


@settings(max_examples=60, deadline=None)
@given(path=PATHS, method=METHODS, headers=HEADERS, body=BODIES)
def test_whatever_is_sent_is_answered_and_stays_inside(client, place, path, method, headers, body):
    check_answer(client, place, path, method, headers, body)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(path=PATHS, method=METHODS, headers=HEADERS, body=BODIES)
def test_much_more_of_it_is_answered_too(client, place, path, method, headers, body):
    check_answer(client, place, path, method, headers, body)


@pytest.fixture
def running(place):
    server = ViewerServer(make_app(Library(place), token=TOKEN))
    thread = threading.Thread(target=server.run)
    thread.start()
    yield server
    server.stop()
    thread.join(timeout=20)
    assert not thread.is_alive()


def test_it_listens_on_loopback_alone(running):
    with urllib.request.urlopen(f"{running.url}api/graphs") as answer:
        assert len(json.load(answer)["graphs"]) == 3
        assert "server" not in answer.headers
    with urllib.request.urlopen(f"{running.url}api/graphs/more%252Fa%2520b%2525") as answer:
        assert json.load(answer)["slug"] == "more%2Fa%20b%25"
    addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in addresses - {"127.0.0.1", "127.0.1.1"}:
        with pytest.raises(OSError, match=r"refused|unreachable"):
            socket.create_connection((address, running.port), timeout=5)
    assert running.socket.getsockname()[0] == "127.0.0.1"


def test_a_stranger_on_a_real_connection_is_refused(running):
    request = urllib.request.Request(f"{running.url}api/graphs", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "example.org", "::"])
def test_other_hosts_are_refused(place, host):
    with pytest.raises(InputError, match="listens on this machine alone"):
        ViewerServer(make_app(Library(place)), host=host)


def test_a_taken_port_is_said(running, place):
    with pytest.raises(InputError, match="choose another --port"):
        ViewerServer(make_app(Library(place)), running.port)


def test_a_single_file_is_served_alone(place):
    assert list(Library(place / "texas.safetensors").paths()) == ["texas"]
    with pytest.raises(InputError, match="found nothing"):
        Library(place / "missing")


@pytest.mark.skipif(os.geteuid() == 0, reason="runs where the user is not allowed to write everywhere")
def test_a_folder_that_cannot_be_written(client, fresh, place):
    place.chmod(0o500)
    answer = client.put(f"{fresh}/annotations", headers={**JSON, "if-match": '"0"'}, json={"schema_version": 1})
    place.chmod(0o700)
    assert (answer.status_code, "cannot write" in answer.json()["error"]) == (400, True)
