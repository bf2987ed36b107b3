"""Captions of figures: what is shown and how to read it, and every setting that it takes to make it again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from circuits.graph import Graph
from circuits.node_names import node_name
from circuits.pruning import Circuit
from replacement_model.interventions import InterventionResult
from viz.captions import maker, node_story
from viz.excerpt import Excerpt
from viz.figures.attribution_table import attribution_table
from viz.figures.graph_figure import GraphFigure
from viz.figures.heat_map import shown_positions
from viz.figures.latex import latex
from viz.kept import as_circuit
from viz.text import visible, visible_token

__all__ = ["Caption", "curve_caption", "graph_caption", "heat_map_caption", "intervention_caption"]

Facts = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Caption:
    """Words under a figure.

    Attributes:
        text: what is shown, and how to read it.
        settings: every setting, by name.
        nodes: one line for each node that is drawn.
    """

    text: str
    settings: Facts
    nodes: tuple[str, ...] = ()

    def plain(self) -> str:
        """All of it as text."""
        return "\n".join([self.text, "", *self._details()]) + "\n"

    def latex(self) -> str:
        r"""A `\\caption` to `\\input` in a figure, and the rest as comments below it."""
        return (
            "\n".join([f"\\caption{{{latex(self.text)}}}", *(f"% {line}".rstrip() for line in self._details())]) + "\n"
        )

    def with_settings(self, settings: Facts) -> "Caption":
        """The same with more settings at the end."""
        return replace(self, settings={**self.settings, **settings})

    def _details(self) -> Iterator[str]:
        yield "Settings"
        yield from (f"  {name}: {visible(value)}" for name, value in self.settings.items())
        if self.nodes:
            yield from ("", "Nodes", *(f"  {visible(line)}" for line in self.nodes))


def graph_caption(figure: GraphFigure, kind: str = "graph") -> Caption:
    """Of an attribution graph: `graph`, `supernodes` or `pinned`."""
    circuit, part = figure.source, figure.part
    has_supernodes = bool(part.captions)
    name = {"graph": "Attribution graph", "supernodes": "Attribution graph of supernodes", "pinned": "Chosen nodes"}[
        kind
    ]
    kinds = {box.kind for box in figure.plan.boxes.values()}
    texts = [
        f"{name} of {_subject(circuit.graph)}.",
        _places(figure),
        "Boxes are features of the transcoder, darker with more influence on the output.",
        *(["Boxes with a heavy border are supernodes: several features drawn as one."] if has_supernodes else []),
        *(["Dashed grey boxes (err) are what the transcoder leaves unexplained."] if "error" in kinds else []),
        "Solid blue arrows raise what they lead to, dashed orange arrows lower it; width is the share of the "
        f"influence, up to {max((edge.influence for edge in part.edges), default=0.0):.0%}.",
        _drawn(part, kind),
        *([part.note] if part.note else []),
    ]
    drawing = {
        "figure": f"{kind}, {figure.width:.2f} in wide, {figure.font}, smallest type {figure.smallest_type:.1f} pt",
    }
    nodes = tuple(_node_line(figure, node) for node in part.nodes)
    return Caption(" ".join(texts), {**_settings(circuit), **drawing}, nodes)


def _places(figure: GraphFigure) -> str:
    if figure.plan.is_free:
        return "Nodes stand where they were put by hand; below a label are its layer (L) and its token (@)."
    where = "a column is a position" if figure.has_columns else "below a label is the token (@)"
    return f"Tokens are at the bottom, layers upward, what is explained on top; {where} in the prompt."


def _drawn(part: Excerpt, kind: str) -> str:
    edges = f"{len(part.edges)} of {part.n_circuit_edges} edges, with {part.edge_share:.0%} of"
    if kind == "pinned":
        return (
            f"Drawn are {part.n_drawn} features and errors chosen by hand, and the edges between them in the unpruned "
            f"graph that carry a thousandth of the influence or more: {edges} what all edges carry."
        )
    return (
        f"Drawn are {part.n_drawn} of the {part.n_circuit} {part.things} that were kept, with {part.node_share:.0%} of "
        f"their influence, and {edges} theirs."
    )


def heat_map_caption(circuit: Graph | Circuit, width: float) -> Caption:
    """Of `heat_map` at a width."""
    circuit = as_circuit(circuit)
    shown, n_pos = shown_positions(circuit, width), len(circuit.graph.tokens)
    share = float(attribution_table(circuit).by_position[shown].sum())
    text = (
        f"Where the influence on {_subject(circuit.graph)} comes from, in the unpruned graph. A cell is the share of "
        "the influence, in per cent, that passes through all features of a layer at a token; the two lowest rows are "
        "the tokens' embeddings and the errors of all layers (what the transcoder leaves unexplained), where all paths "
        "begin: together they are 100%. A path through several layers counts on each."
    )
    if len(shown) < n_pos:
        text += f" Drawn are {len(shown)} of {n_pos} tokens, with {share:.0%} of the sum over all cells; dots are gaps."
    return Caption(text, _settings(circuit))


def curve_caption(circuit: Graph | Circuit) -> Caption:
    """Of `influence_curve`."""
    pruned = as_circuit(circuit)
    text = (
        f"What circuits of growing size hold of the graph of {_subject(pruned.graph)}. Influence (solid) is that of "
        "all tokens and of so many features and errors, the most influential first, as a share of all influence. "
        "Completeness (dashed, squares) and replacement score (dotted, triangles) are those of the circuit that "
        f"pruning to this size keeps, with an edge threshold of {pruned.edge_threshold:g}; a small circuit scores high "
        "because it has few errors left. Thin dotted lines are the scores of the whole graph: completeness "
        f"{pruned.completeness_score:.2f}, replacement {pruned.replacement_score:.2f}."
    )
    if isinstance(circuit, Circuit):
        text += f" The vertical line is the circuit at a node threshold of {circuit.node_threshold:g}."
    return Caption(text, _settings(pruned))


def intervention_caption(result: InterventionResult, facts: Facts, prompt: str | None = None) -> Caption:
    """Of `intervention_bars`.

    Args:
        result: what is drawn.
        facts: model, transcoder, hashes and what else is to be said; the result does not know them.
        prompt: its text; the tokens when None.
    """
    prompt = _quoted(" ".join(map(visible_token, result.tokens)) if prompt is None else prompt)
    done = "; ".join(one.text for one in result.interventions)
    at = result.logit_positions[-1]
    text = (
        f"Probability of the next token after {prompt} (position {at}) without (pale, hatched) and with (dark) an "
        f"intervention: {done}. Conditions: {result.conditions.text}. Drawn are the tokens whose probability changes "
        "most, the likeliest before on top."
    )
    settings = {
        "prompt": prompt,
        "tokens": " | ".join(map(visible, result.tokens)),
        "interventions": done,
        "conditions": result.conditions.text,
        **facts,
        "made by": " ".join(maker()),
    }
    return Caption(text, settings)


def _subject(graph: Graph) -> str:
    """The prompt and what is explained."""
    targets = []
    for target in graph.targets[:3]:
        label = visible_token(target.label) if target.kind == "logit" else visible(target.label)
        targets.append(f"{label} (p = {target.weight:.2f})" if target.kind == "logit" else f"{label} ({target.kind})")
    more = len(graph.targets) - len(targets)
    return f"{_quoted(_prompt(graph))} → {', '.join(targets)}{f' and {more} more' if more else ''}"


def _prompt(graph: Graph) -> str:
    return graph.metadata.prompt or "".join(graph.tokens)


def _quoted(text: str) -> str:
    return f"“{visible(text).strip()}”"


def _settings(circuit: Circuit) -> Facts:
    graph, metadata = circuit.graph, circuit.graph.metadata
    inner = int(circuit.node_mask[: graph.layout.token_nodes.start].sum())
    fvu = [f"{value:.3f}" if np.isfinite(value) else "not measured" for value in graph.fvu]
    facts = {
        "prompt": _quoted(_prompt(graph)),
        "tokens": " | ".join(map(visible, graph.tokens)),
        "explained": "; ".join(
            f"{t.kind} {visible(t.label)!r} at {t.pos}, weight {t.weight:.4g}" for t in graph.targets
        ),
        "model": _with_revision(metadata.model_name, metadata.model_revision),
        "transcoder": _with_revision(metadata.transcoder_name, metadata.transcoder_revision),
        "thresholds": f"nodes {circuit.node_threshold:g}, edges {circuit.edge_threshold:g}",
        "kept": f"{inner} features and errors of {graph.layout.token_nodes.start}, {circuit.edges.nnz} edges of "
        f"{graph.adjacency.nnz}",
        "replacement score": f"{circuit.replacement_score:.4f} (circuit {circuit.circuit_replacement_score:.4f})",
        "completeness score": f"{circuit.completeness_score:.4f} (circuit {circuit.circuit_completeness_score:.4f})",
        "books": f"residual {_known(graph.books.residual)}, rounding of the host {_known(graph.rounding_share)}",
        "fraction of variance unexplained, by layer": ", ".join(fvu) or "not measured",
        "trace": _listed(metadata.settings),
        "versions": _listed(metadata.versions),
    }
    hashes = {f"sha256 of {name}": value for name, value in sorted(metadata.hashes.items())}
    return {**facts, **hashes, "made by": " ".join(maker())}


def _known(value: float) -> str:
    return f"{value:.1e}" if np.isfinite(value) else "not known"


def _with_revision(name: str, revision: str | None) -> str:
    return name if revision is None else f"{name} at {revision}"


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(values.items())) or "not recorded"


def _node_line(figure: GraphFigure, node: int) -> str:
    story = figure.stories.get(node) or node_story(figure.circuit, node)
    return story if node in figure.part.captions else f"{node_name(figure.circuit.graph, node)}: {story}"
