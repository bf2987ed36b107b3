"""Makes the pictures of docs/figures.md with the commands that it shows: `make readme`."""

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMAND = re.compile(r"^ {4}(orrery .*)$", re.MULTILINE)


def commands() -> list[str]:
    """Those of the guide's section "The pictures on this page"."""
    text = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
    return COMMAND.findall(text.split("## The pictures on this page")[1].split("\n## ")[0])


def draw(folder: Path) -> list[Path]:
    """Run the commands in a folder; returns the SVGs that they make."""
    for command in commands():
        call = [sys.executable, "-m", "circuits.cli", *shlex.split(command)[1:]]
        subprocess.run(call, check=True, capture_output=True, cwd=folder)
    return sorted((folder / "figures").glob("*.svg"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for path in draw(Path(folder)):
            shutil.copyfile(path, ROOT / "docs" / "images" / f"figure-{path.name}")
