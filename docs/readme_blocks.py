"""Puts what the program prints into README.md: `make readme`. A test runs the same and compares.

The blocks are found by their markers, `<!-- block: NAME -->` before a fenced block.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README, EXAMPLE = ROOT / "README.md", ROOT / "examples" / "dallas.py"
BLOCK = re.compile(r"(?<=<!-- block: )(\w+)( -->\n```\w+\n)(.*?)(\n```)", re.DOTALL)


def run(*arguments: str | Path, folder: str | Path = ROOT) -> str:
    """Standard output of Python with these arguments, 100 columns wide."""
    environment = os.environ | {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, env=environment)
    return "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())


def blocks() -> dict[str, str]:
    """The text of every block."""
    with tempfile.TemporaryDirectory() as folder:
        output = run(EXAMPLE, folder=folder)
    return {
        "example": EXAMPLE.read_text(encoding="utf-8").strip("\n"),
        "output": output,
        "help": run("-m", "circuits.cli", "--help").strip("\n"),
        "large": run("-m", "benchmarks.gemma_table"),
    }


def updated(text: str) -> str:
    """The README with every block as it is now."""
    now = blocks()
    return BLOCK.sub(lambda match: f"{match[1]}{match[2]}{now[match[1]]}{match[4]}", text)


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
