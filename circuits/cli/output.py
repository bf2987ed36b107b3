"""Which files a command writes, decided and checked before anything is computed."""

import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from replacement_model.errors import InputError, MissingDependencyError

__all__ = ["FORMATS", "OutputFile", "check_output", "format_of", "parse_formats", "plan_files", "slug"]

FORMATS = {
    "graph": ".safetensors",
    "json": ".json",
    "svg": ".svg",
    "pdf": ".pdf",
    "png": ".png",
    "tikz": ".tex",
    "dot": ".dot",
    "graphml": ".graphml",
    "csv": ".csv",
    "html": ".html",
}
DRAWN_BY_DOT = frozenset({"svg", "pdf", "png"})
DEFAULT_FORMATS = ("svg", "json", "graph")
MAX_SLUG = 60


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file to write: `format` is a key of `FORMATS`."""

    format: str
    path: Path


def slug(text: str) -> str:
    """A file name made of `text`: lower-case letters, digits and hyphens, at most 60."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return words[:MAX_SLUG].rstrip("-") or "graph"


def format_of(path: Path) -> str | None:
    """The format that a file name's suffix stands for, None where it stands for none."""
    return next((name for name, suffix in FORMATS.items() if suffix == path.suffix.lower()), None)


def parse_formats(text: str) -> tuple[str, ...]:
    """Formats from a comma-separated list.

    Raises:
        InputError: one of them is unknown.
    """
    names = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        raise InputError(f"unknown format {', '.join(unknown) or text!r}; choose from {', '.join(FORMATS)}")
    return names


def plan_files(output: Path, formats: str | None, stem: str, has_graphs: bool = True) -> tuple[OutputFile, ...]:
    """What to write for `--output` and `--format`: one file where the name has a known suffix, else files in a folder.

    Args:
        output: a file such as `dallas.svg`, or a folder.
        formats: comma-separated, None for svg, json and graph in a folder (dot in place of svg without Graphviz).
        stem: name of the files in a folder, without suffix.
        has_graphs: whether pictures are of graphs, which Graphviz draws.

    Raises:
        InputError: the two contradict each other, or a format is unknown.
        MissingDependencyError: a picture is asked for by name and Graphviz is not installed.
    """
    named = None if output.is_dir() else format_of(output)
    if named and formats and parse_formats(formats) != (named,):
        raise InputError(
            f"--output {output} is one {named} file, --format asks for {formats}; name a folder, or drop one"
        )
    if named:
        return _drawable((OutputFile(named, output),), has_graphs)
    if formats:
        return _drawable(_in_folder(output, parse_formats(formats), stem), has_graphs)
    names = DEFAULT_FORMATS if shutil.which("dot") else tuple("dot" if n == "svg" else n for n in DEFAULT_FORMATS)
    return _in_folder(output, names, stem)


def _in_folder(folder: Path, names: Iterable[str], stem: str) -> tuple[OutputFile, ...]:
    return tuple(OutputFile(name, folder / f"{stem}{FORMATS[name]}") for name in names)


def _drawable(files: tuple[OutputFile, ...], has_graphs: bool) -> tuple[OutputFile, ...]:
    drawn = [file.format for file in files if file.format in DRAWN_BY_DOT]
    if drawn and has_graphs and not shutil.which("dot"):
        raise MissingDependencyError(f"{drawn[0]} needs Graphviz's program dot: install graphviz, or use --format dot")
    return files


def check_output(files: Iterable[OutputFile]) -> None:
    """Find out now, not after the computation, whether the files can be written.

    Raises:
        InputError: a folder cannot be made or written, or a path is a folder.
    """
    for folder in {file.path.parent: None for file in files}:
        place = folder
        while not place.exists():
            place = place.parent
        try:
            tempfile.TemporaryFile(dir=place).close()
        except OSError as error:
            raise InputError(f"cannot write to {folder} ({error.strerror}); choose another --output") from error
    for file in files:
        if file.path.is_dir():
            raise InputError(f"{file.path} is a folder; name a file, or a folder without the suffix {file.path.suffix}")
