"""A finished picture: DOT source that writes itself, or what Graphviz makes of it, to a file."""

import re
from dataclasses import dataclass
from pathlib import Path

import graphviz as gv

from replacement_model.errors import InputError, MissingDependencyError
from viz.files import write_files

__all__ = ["Picture"]

FORMATS = ("svg", "pdf", "png", "dot")
ADVICE = "install it (apt install graphviz, brew install graphviz, conda install graphviz) or ask for format 'dot'"
OPENING = b"digraph circuit {\n"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in DOT with fixed coordinates; it answers to the calls of `graphviz.Digraph` that matter.

    Attributes:
        source: the DOT text. Without this class: `neato -n2 -Tsvg picture.dot`.
        dpi: of a PNG.
    """

    source: str
    dpi: int = 200

    def pipe(self, format: str = "svg") -> bytes:  # noqa: A002 - the name that the graphviz package uses
        """The picture as bytes.

        Args:
            format: `svg`, `pdf`, `png` or `dot`.

        Raises:
            InputError: another format.
            MissingDependencyError: Graphviz is not installed, or was built without this format.
        """
        _check_format(format)
        source = self.source.encode()
        if format == "dot":
            return source
        if format == "png":
            source = source.replace(OPENING, OPENING + f"\tgraph [dpi={self.dpi}]\n".encode(), 1)
        try:
            drawn = gv.pipe("neato", format, source, neato_no_op=2, quiet=True)
        except gv.ExecutableNotFound as error:
            raise MissingDependencyError(f"expected Graphviz's programs for {format}, found none; {ADVICE}") from error
        except gv.CalledProcessError as error:
            lines = (error.stderr or b"").decode(errors="replace").split("\n")
            raise MissingDependencyError(f"expected Graphviz to write {format}, got {lines[0]!r}; {ADVICE}") from error
        # Equal pictures are equal files: a PDF gets a fixed date (of equal length, since the file holds offsets).
        return re.sub(rb"(?<=/CreationDate \(D:)\d{14}", b"19700101000000", drawn) if format == "pdf" else drawn

    def save(self, filename: str | Path) -> str:
        """Write the DOT source to `filename`.

        Raises:
            InputError: the file cannot be written.
        """
        write_files({Path(filename): self.source.encode()})
        return str(filename)

    def render(self, filename: str | Path, format: str | None = None, cleanup: bool = False) -> str:  # noqa: A002
        """Write `<filename>.<format>`, and the source as `<filename>.dot` beside it.

        The source is written first and needs no program, so it is there also where Graphviz is not.

        Args:
            filename: path without or with the ending of a format.
            format: `svg`, `pdf`, `png` or `dot`; the ending of `filename`, else `svg`, when None.
            cleanup: leave the source out.

        Returns:
            Path of the picture.

        Raises:
            InputError: another format, or the file cannot be written.
            MissingDependencyError: Graphviz is not installed, or was built without this format.
        """
        stem, ending = str(filename), Path(filename).suffix.removeprefix(".")
        if ending in FORMATS:
            stem = stem.removesuffix(f".{ending}")
        chosen = format or (ending if ending in FORMATS else "svg")
        _check_format(chosen)
        if not cleanup or chosen == "dot":
            self.save(f"{stem}.dot")
        if chosen != "dot":
            write_files({Path(f"{stem}.{chosen}"): self.pipe(chosen)})
        return f"{stem}.{chosen}"

    def _repr_svg_(self) -> str:
        return self.pipe("svg").decode()


def _check_format(name: str) -> None:
    if name not in FORMATS:
        raise InputError(f"expected a picture format among {', '.join(FORMATS)}, got {name!r}; choose one of them")
