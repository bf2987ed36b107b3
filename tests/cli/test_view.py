"""`orrery view`: says where it listens, serves, and ends cleanly on Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request

import pytest


@pytest.mark.slow
def test_it_serves_until_ctrl_c(graph_file):
    command = [sys.executable, "-m", "circuits.cli", "view", str(graph_file.parent), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ) as view:
        url = view.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{url}api/graphs") as answer:
            assert [one["slug"] for one in json.load(answer)["graphs"]] == ["graph"]
        view.send_signal(signal.SIGINT)
        _, said = view.communicate(timeout=60)
    assert view.returncode == 0, said
    assert said.splitlines() == [f"1 graph of {graph_file.parent}; Ctrl-C ends it", "stopped"]


def test_what_is_refused(refuse, tmp_path, graph_file):
    refuse("view", tmp_path / "missing", says="found nothing; check the path")
    empty = tmp_path / "empty"
    empty.mkdir()
    refuse("view", empty, says="holds no graphs; write some with `orrery trace")
    refuse("view", graph_file, "--transcoder", "x", says="add --model")
    refuse("view", graph_file, "--features", empty, says="has no index.json.gz")
    (empty / "notes.txt").write_text("no graph")
    refuse("view", empty / "notes.txt", says="cannot be read as a graph|not a graph")


def test_it_opens_the_browser_and_says_where(orrery, graph_file, monkeypatch):
    opened, seen = [], threading.Event()
    monkeypatch.setattr("webbrowser.open", lambda url: (opened.append(url), seen.set()))

    def run(server):
        assert seen.wait(timeout=20)
        raise KeyboardInterrupt

    monkeypatch.setattr("viz.viewer.server.ViewerServer.run", run)
    outcome = orrery("view", graph_file, "--port", "0")
    assert (outcome.code, outcome.stdout.strip()) == (0, opened[0])
    assert outcome.stderr.splitlines()[-1] == "stopped"
