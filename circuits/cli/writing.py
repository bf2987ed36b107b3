"""Writing a circuit in the formats that the command line names."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from circuits.cli.console import say
from circuits.cli.output import OutputFile

if TYPE_CHECKING:
    from circuits import Circuit, GroupedCircuit
    from viz import Annotations

__all__ = ["Additions", "announce", "write_all", "write_site"]


@dataclass(frozen=True, slots=True)
class Additions:
    """What goes into files beside the circuit.

    Attributes:
        annotations: the page has all of them, graph JSON their supernodes and pins, every format their labels.
        features: evidence, for the page.
    """

    annotations: "Annotations | None" = None
    features: Path | None = None


NOTHING = Additions()


def write_all(
    circuit: "Circuit | GroupedCircuit", files: Iterable[OutputFile], added: Additions = NOTHING
) -> tuple[str, ...]:
    """Write every file, name each on stderr, and return their paths.

    Raises:
        InputError: a file cannot be written.
        MissingDependencyError: a picture needs Graphviz.
    """
    written: list[str] = []
    for file in files:
        written += [announce(path) for path in _write(circuit, file, added)]
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


def _write(circuit: "Circuit | GroupedCircuit", file: OutputFile, added: Additions) -> tuple[Path, ...]:
    import viz
    from circuits import save_circuit
    from viz.files import write_files
    from viz.kept import as_circuit

    if file.format == "graph":
        save_circuit(as_circuit(circuit), file.path)
        return (file.path,)
    if file.format == "html":
        write_files({file.path: _page(circuit, file.path.stem, added).encode()})
        return (file.path,)
    circuit = _labelled(circuit, added)
    if file.format == "json":
        return _write_json(circuit, file.path, added)
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


def _page(circuit: "Circuit | GroupedCircuit", slug: str, added: Additions) -> str:
    import viz
    from circuits import Circuit
    from viz.viewer.evidence import FeatureTexts

    # A grouped circuit's supernodes are its annotations.
    notes = [added.annotations] if isinstance(circuit, Circuit) else []
    texts = None if added.features is None else FeatureTexts(added.features)
    return viz.page(circuit, slugs=[slug], annotations=notes, features=texts)


def _labelled(circuit: "Circuit | GroupedCircuit", added: Additions) -> "Circuit | GroupedCircuit":
    from circuits import Circuit

    if added.annotations is None:
        return circuit
    if isinstance(circuit, Circuit):
        return replace(circuit, graph=added.annotations.labelled(circuit.graph))
    inner = circuit.circuit
    return replace(circuit, circuit=replace(inner, graph=added.annotations.labelled(inner.graph)))


def _write_json(circuit: "Circuit | GroupedCircuit", path: Path, added: Additions) -> tuple[Path, ...]:
    import viz
    from circuits import Circuit
    from viz.viewer.annotations import annotated

    notes = added.annotations
    if notes is None:
        return viz.write_graph_json(circuit, path)
    shown = annotated(circuit, notes) if isinstance(circuit, Circuit) else circuit
    return viz.write_graph_json(shown, path, pinned=notes.pinned)


def _size(path: Path) -> str:
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(size / 1e3, 0.1):.1f} kB"
