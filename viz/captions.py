"""The words in and around a picture: its title, its small print, and what a node says when it is pointed at."""

from importlib.metadata import PackageNotFoundError, version

import numpy as np

from circuits.graph import Graph
from circuits.pruning import Circuit
from viz.excerpt import DrawnEdge, Excerpt
from viz.text import text_width, visible, visible_token
from viz.unknown import origin_note, shown

__all__ = ["edge_story", "maker", "node_story", "prompt_title", "small_print"]


def prompt_title(graph: Graph, font_size: float, max_width: float, has_probability: bool = True) -> str:
    """The prompt and the first target; of a prompt wider than `max_width` only its end."""
    prompt = visible(graph.metadata.prompt or "".join(graph.tokens)).strip()
    first = graph.targets[0]
    label = visible_token(first.label) if first.kind == "logit" else visible(first.label)
    has_probability = has_probability and first.kind == "logit"
    answer = f" → {label} (p = {first.weight:.2f})" if has_probability else f" → {label}"
    room = max_width - text_width("… " + answer, font_size)
    words = prompt.split(" ")
    start = len(words)
    while start > 0 and (start == len(words) or text_width(words[start - 1] + " ", font_size) <= room):
        start -= 1
        room -= text_width(words[start] + " ", font_size)
    return ("… " if start else "") + " ".join(words[start:]) + answer


def small_print(circuit: Circuit, part: Excerpt) -> str:
    """What the picture leaves out, how it was pruned, and how far it can be trusted."""
    graph = circuit.graph
    if part.n_drawn < part.n_circuit:
        count = f"{part.n_drawn} of {part.n_circuit} {part.things}"
        nodes = f"Drawn: {count}, {part.node_share:.0%} of their influence"
    else:
        nodes = f"Drawn: all {part.n_circuit} {part.things} of the circuit"
    if len(part.edges) < part.n_circuit_edges:
        edges = f"{len(part.edges)} of {part.n_circuit_edges} edges, {part.edge_share:.0%} of theirs"
    else:
        edges = "all edges"
    fvu = [value for value in graph.fvu if np.isfinite(value)]
    facts = [
        f"{nodes}; {edges}.",
        *([part.note] if part.note else []),
        f"Thresholds: nodes {shown(circuit.node_threshold, 'g')}, edges {shown(circuit.edge_threshold, 'g')}.",
        f"Replacement score {shown(circuit.replacement_score, '.2f')} "
        f"(circuit {circuit.circuit_replacement_score:.2f}),",
        f"completeness {shown(circuit.completeness_score, '.2f')} ({circuit.circuit_completeness_score:.2f}).",
        origin_note(graph) or f"Books close to {graph.books.residual:.1e}.",
        f"FVU {np.mean(fvu):.3f} (mean over layers)." if fvu else "FVU not measured.",
        f"Model {graph.metadata.model_name}, transcoder {graph.metadata.transcoder_name}; {' '.join(maker())}.",
    ]
    return visible(" ".join(facts))


def maker() -> tuple[str, str]:
    """Name and version of this program."""
    try:
        return "Orrery", version("orrery-circuits")
    except PackageNotFoundError:
        return "Orrery", "(not installed)"


def node_story(circuit: Circuit, node: int) -> str:
    """Everything about a node in one line."""
    attributes = circuit.graph.node_attributes(node)
    parts = [visible_token(attributes["label"])]
    if attributes["kind"] == "feature":
        label = circuit.graph.feature_labels[node]
        parts.append(f"feature {attributes['feature_idx']}, activation {shown(attributes['activation'], '.3g')}")
        parts += [f"F1 {label.f1:.2f}"] if label is not None and label.f1 is not None else []
    if attributes["kind"] in ("feature", "error"):
        parts.append(f"layer {attributes['layer']}")
    parts.append(f"position {attributes['pos']}")
    if attributes["kind"] != "target":
        share = circuit.node_influence[node] / circuit.graph.target_weights.sum()
        parts.append(f"{share:.1%} of the influence")
    return " · ".join(parts)


def edge_story(circuit: Circuit, edge: DrawnEdge) -> str:
    """Source, target, direct effect and influence of an edge in one line."""
    source, target = (
        visible_token(circuit.graph.node_attributes(node)["label"]) for node in (edge.source, edge.target)
    )
    return f"{source} → {target}: {edge.weight:+.3g}, {edge.influence:.1%} of the influence"
