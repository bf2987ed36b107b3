import importlib.util
import re
import shutil
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dot") is None, reason="runs where Graphviz's dot is installed")
def test_the_guide_s_commands_make_its_pictures(repository: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(repository))
    spec = importlib.util.spec_from_file_location("figure_images", repository / "docs" / "figure_images.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shown = set(re.findall(r"\(images/(figure-[\w-]+\.svg)\)", (repository / "docs" / "figures.md").read_text()))
    assert {f"figure-{path.name}" for path in module.draw(tmp_path)} == shown
    assert all((repository / "docs" / "images" / name).is_file() for name in shown)
