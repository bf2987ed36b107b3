"""Help and version answer at once, without loading anything that computes."""

import functools
import json
import resource
import subprocess
import sys

import pytest

COMMANDS = (
    "trace",
    "prune",
    "export",
    "intervene",
    "replay",
    "info",
    "convert",
    "validate",
    "view",
    "features",
    "study",
    "pocket",
)
HEAVY = ("torch", "transformers", "numba", "scipy", "networkx", "graphviz", "safetensors", "huggingface_hub", "numpy")

PROBE = """
import json, sys
sys.argv = ["orrery", *json.loads(sys.argv[1])]
from circuits.cli.app import app
try:
    app(prog_name="orrery")
except SystemExit as stop:
    print("exit", stop.code, file=sys.stderr)
print(json.dumps(sorted(name.partition(".")[0] for name in sys.modules)), file=sys.stderr)
"""


@functools.cache
def run_probe(*arguments: str) -> tuple[str, str, set[str]]:
    command = [sys.executable, "-c", PROBE, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    *_, exit_line, modules = done.stderr.splitlines()
    return done.stdout, exit_line, set(json.loads(modules))


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), *((name, "--help") for name in COMMANDS)])
def test_help_and_version_load_nothing_heavy(arguments: tuple[str, ...]) -> None:
    output, exit_line, modules = run_probe(*arguments)
    assert exit_line == "exit 0"
    assert output.strip()
    assert modules.isdisjoint(HEAVY)


def test_help_names_every_command_and_each_help_has_an_example() -> None:
    overview, _, _ = run_probe("--help")
    for name in COMMANDS:
        assert name in overview
        assert f"orrery {name}" in run_probe(name, "--help")[0]


def test_help_takes_under_a_second() -> None:
    def cpu_seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "circuits.cli", "--help"], check=True, capture_output=True, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Time on the processor: on a clock, other work on the machine would count too.
    assert min(cpu_seconds() for _ in range(2)) < 1.0
