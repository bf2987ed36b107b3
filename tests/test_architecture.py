"""Rules for the whole source tree: who may import whom, what never occurs, and that every public name is there."""

import ast
import doctest
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("replacement_model", "circuits", "viz")
ROOT = Path(__file__).resolve().parents[1]
SOURCES = tuple(path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
TOP_MODULES = {package: importlib.import_module(package) for package in PACKAGES}

# What a package may not import; `circuits.cli` stands on top and is judged on its own.
UPWARD = {
    "replacement_model": ("circuits", "viz"),
    "circuits": ("viz", "circuits.cli"),
    "viz": ("circuits.cli",),
    "circuits.cli": (),
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def part_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return "circuits.cli" if parts[:2] == ("circuits", "cli") else parts[0]


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write the whole name of an imported module"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def called(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_point_downward(path: Path) -> None:
    forbidden = UPWARD[part_of(path)]
    names = set(imported(ast.parse(path.read_text(encoding="utf-8"))))
    upward = sorted(n for n in names for f in forbidden if n == f or n.startswith(f + "."))
    assert not upward, f"{name_of(path)} imports {upward}, which stands above it"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_print_no_pickle_no_handlers_that_catch_everything(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    forbidden_calls = {"print", "torch.load", "torch.save", "np.load", "joblib.load"} & set(called(tree))
    forbidden_imports = {"pickle", "dill", "joblib", "cloudpickle", "shelve"} & set(imported(tree))
    broad = [
        handler.lineno
        for handler in ast.walk(tree)
        if isinstance(handler, ast.ExceptHandler)
        and (handler.type is None or ast.unparse(handler.type) in {"Exception", "BaseException"})
    ]
    asserts = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    found = sorted(forbidden_calls | forbidden_imports), broad, asserts
    assert found == ([], [], []), (
        f"{name_of(path)}: calls or imports {found[0]}, broad except {broad}, assert {asserts}"
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_of_a_package_loads(package: str) -> None:
    module = TOP_MODULES[package]
    missing = [name for name in module.__all__ if getattr(module, name, None) is None]
    assert not missing


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_stay_small_enough_to_hold_one_idea(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_examples_in_docstrings_hold(path: Path) -> None:
    if ">>>" not in path.read_text(encoding="utf-8"):
        return
    result = doctest.testmod(importlib.import_module(module_of(path)), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0


def test_the_version_is_written_once() -> None:
    version = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    pattern = re.compile(rf"""__version__|["']{re.escape(version[1])}["']""")
    assert not [name_of(path) for path in SOURCES if pattern.search(path.read_text(encoding="utf-8"))]
