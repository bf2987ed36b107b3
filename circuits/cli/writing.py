"""Writing a circuit in the formats that the command line names."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from circuits.cli.console import say
from circuits.cli.output import OutputFile

if TYPE_CHECKING:
    from circuits import Circuit, GroupedCircuit

__all__ = ["announce", "write_all", "write_site"]


def write_all(circuit: "Circuit | GroupedCircuit", files: Iterable[OutputFile]) -> tuple[str, ...]:
    """Write every file, name each on stderr, and return their paths.

    Raises:
        InputError: a file cannot be written.
        MissingDependencyError: a picture needs Graphviz.
    """
    written: list[str] = []
    for file in files:
        written += [announce(path) for path in _write(circuit, file)]
    return tuple(written)


def announce(path: Path) -> str:
    """Name a written file and its size on stderr; returns its path as text."""
    say(f"wrote {path} ({_size(path)})")
    return str(path)


def write_site(circuit: "Circuit", folder: Path, features: Path | None) -> tuple[str, ...]:
    """Add a circuit to a folder to serve, with what is known of its features; returns the paths.

    Raises:
        InputError: something else is in the way, or the evidence is of another transcoder.
        WeightsError: the evidence is damaged.
    """
    import viz
    from replacement_model.evidence.folder import EvidenceFolder

    evidence = None if features is None else EvidenceFolder(features)
    paths = viz.write_graph_json(circuit, folder, features=evidence)
    n_features = sum("features" in path.relative_to(folder).parts for path in paths)
    say(f"wrote {paths[0]} ({_size(paths[0])}), its entry in {folder / 'graph-metadata.json'}, {n_features} features")
    return tuple(map(str, paths))


def _write(circuit: "Circuit | GroupedCircuit", file: OutputFile) -> tuple[Path, ...]:
    import viz
    from circuits import save_circuit
    from viz.files import write_files
    from viz.kept import as_circuit

    if file.format == "graph":
        save_circuit(as_circuit(circuit), file.path)
    elif file.format == "json":
        return viz.write_graph_json(circuit, file.path)
    elif file.format == "graphml":
        viz.graphml(circuit, file.path)
    elif file.format == "csv":
        return viz.tables(circuit, file.path)
    elif file.format == "tikz":
        from viz.figures import graph_figure, tikz

        write_files({file.path: tikz(graph_figure(circuit)).encode()})
    else:
        write_files({file.path: viz.graphviz(circuit).pipe(file.format)})
    return (file.path,)


def _size(path: Path) -> str:
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(size / 1e3, 0.1):.1f} kB"
