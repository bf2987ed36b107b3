"""A tool in a process of its own, obeying one JSON line at a time: `Worker` outside, `serve` inside."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "Worker", "WorkerError", "serve"]

ROOT = Path(__file__).resolve().parent.parent


class WorkerError(RuntimeError):
    """A worker ended before it answered; its own error is on stderr."""


class Worker:
    """Starts `python -m module` and sends it commands; ends it on leaving the context."""

    def __init__(self, python: Path, module: str, env: Mapping[str, str]) -> None:
        self._module = module
        self._process = subprocess.Popen(
            [str(python), "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=ROOT,
            env={**os.environ, **env},
        )

    def call(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Runs one command in the worker and waits for its answer.

        Raises:
            WorkerError: the worker failed.
        """
        requests, answers = self._process.stdin, self._process.stdout
        if requests is None or answers is None or self._process.poll() is not None:
            raise WorkerError(f"expected {self._module} to run, but it has ended; see its traceback above")
        requests.write(json.dumps({"command": command, "arguments": arguments}) + "\n")
        answer = answers.readline()
        if not answer:
            raise WorkerError(f"expected {self._module} to answer {command!r}, but it ended; see its traceback above")
        result: dict[str, Any] = json.loads(answer)
        return result

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.communicate()  # closes its stdin, which ends it


def serve(commands: Mapping[str, Callable[..., dict[str, Any]]]) -> None:
    """Answers commands until stdin closes. What the tools print goes to stderr, so that answers stay readable."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        request = json.loads(line)
        answer = commands[request["command"]](**request["arguments"])
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    os._exit(0)  # without destructors, in which the peer's models fail loudly once modules are gone
