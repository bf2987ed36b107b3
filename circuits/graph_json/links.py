"""The links of a graph file, and which node each of them means where two nodes have one id.

circuit-tracer names the error at layer l and position p `0_{l}_{p}`, as it names feature l of layer 0 at position p. A
link's target is then the feature, since nothing runs into errors. Of a source, the target's layer may decide (an error
acts above its own layer only), two links between the same ids are the feature's and the error's, and the order of the
file decides most others: it lists the links into a target in the order of its nodes, features before errors. The last
open link of an id belongs to that of the two nodes which has none yet, since none is kept without a link.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from circuits.graph_json.kinds import EMBEDDING, ERROR, FEATURE, LOGIT, is_number
from circuits.graph_json.nodes import FileNode

__all__ = ["FileLinks", "read_links"]

N_NAMED = 5


@dataclass(frozen=True, slots=True)
class FileLinks:
    """Source and target of every link as places in the file's nodes, and the weights; `n_resolved` had two readings."""

    sources: list[int]
    targets: list[int]
    weights: list[float]
    n_resolved: int


def read_links(rows: Sequence[Mapping[str, Any]], nodes: Sequence[FileNode]) -> FileLinks:
    """The links in the file's order.

    Raises:
        ValueError: a link is not what a link must be, is there twice, or may mean two nodes.
    """
    named = _by_name(nodes)
    sources, targets, weights = [], [], []
    for i, row in enumerate(rows):
        source, target = (_found(named, row.get(end), f"/links/{i}/{end}") for end in ("source", "target"))
        if not is_number(row.get("weight")):
            raise ValueError(f"expected a finite number at /links/{i}/weight, got {str(row.get('weight'))[:60]!r}")
        targets.append(_target(target, f"/links/{i}/target"))
        sources.append([node.place for node in source if _acts(node, nodes[targets[-1]])])
        weights.append(float(row["weight"]))
        if not sources[-1]:
            ends = f"{row['source']!r} to {row['target']!r}"
            raise ValueError(f"expected links from lower layers to higher ones, got {ends} at /links/{i}")
    n_open = sum(len(source) > 1 for source in sources)
    chosen = _resolved(sources, targets, nodes) if n_open else [source[0] for source in sources]
    if len(set(zip(chosen, targets, strict=True))) < len(chosen):
        raise ValueError("expected each link once, got two between the same nodes")
    return FileLinks(chosen, targets, weights, n_open)


def _by_name(nodes: Sequence[FileNode]) -> dict[str, list[FileNode]]:
    named: dict[str, list[FileNode]] = {}
    for node in nodes:
        named.setdefault(node.name, []).append(node)
    for name, twins in named.items():
        kinds = sorted(node.kind for node in twins)
        if len(twins) > 1 and kinds != sorted((FEATURE, ERROR)):
            raise ValueError(f"expected a node_id of its own for each node, got {name!r} for {', '.join(kinds)}")
    return named


def _found(named: Mapping[str, list[FileNode]], name: object, where: str) -> list[FileNode]:
    if not isinstance(name, str) or name not in named:
        raise ValueError(f"expected the node_id of a node at {where}, got {str(name)[:60]!r}")
    return named[name]


def _target(twins: Sequence[FileNode], where: str) -> int:
    fits = [node.place for node in twins if node.kind in (FEATURE, LOGIT)]
    if not fits:
        raise ValueError(f"expected a feature or a logit at {where}, got {twins[0].kind} {twins[0].name!r}")
    return fits[0]


def _acts(source: FileNode, target: FileNode) -> bool:
    """Whether a node can act on another, by kinds and layers."""
    if source.kind == LOGIT:
        return False
    return source.kind == EMBEDDING or target.kind == LOGIT or (source.layer or 0) < (target.layer or 0)


def _resolved(sources: list[list[int]], targets: Sequence[int], nodes: Sequence[FileNode]) -> list[int]:
    """One source for every link.

    Raises:
        ValueError: a link may mean two nodes.
    """
    into: dict[int, list[int]] = {}
    for k, target in enumerate(targets):
        into.setdefault(target, []).append(k)
    chosen = [source[0] if len(source) == 1 else -1 for source in sources]
    for links in into.values():
        _pair_up(links, sources, chosen)
    if all(_in_order(links, chosen) for links in into.values()):
        for links in into.values():
            _place(links, sources, chosen)
    _give_to_idle(sources, chosen)
    unclear = [k for k, place in enumerate(chosen) if place < 0]
    if unclear:
        names = [f"{nodes[sources[k][0]].name!r} to {nodes[targets[k]].name!r}" for k in unclear[:N_NAMED]]
        raise ValueError(
            f"{len(unclear)} links may come from a feature of layer 0 or from an error, which have the same id (as "
            f"circuit-tracer writes them): {', '.join(names)}; nothing else in the file decides, so give the errors "
            "other ids and write the file again"
        )
    return chosen


def _pair_up(links: Sequence[int], sources: list[list[int]], chosen: list[int]) -> None:
    """Two links between the same ids: the first is from the node that the file has first."""
    seen: dict[tuple[int, ...], int] = {}
    for k in links:
        if chosen[k] < 0:
            first = seen.setdefault(tuple(sources[k]), k)
            if first != k:
                chosen[first], chosen[k] = min(sources[k]), max(sources[k])


def _in_order(links: Sequence[int], chosen: Sequence[int]) -> bool:
    places = [chosen[k] for k in links if chosen[k] >= 0]
    return all(a < b for a, b in pairwise(places))


def _place(links: Sequence[int], sources: list[list[int]], chosen: list[int]) -> None:
    """Choose where only one source lies between those of the links before and after."""
    sure = [k for k in links if chosen[k] >= 0]
    for k in links:
        if chosen[k] < 0:
            at = bisect_left(sure, k)
            low = chosen[sure[at - 1]] if at > 0 else -1
            high = chosen[sure[at]] if at < len(sure) else max(sources[k]) + 1
            fits = [place for place in sources[k] if low < place < high]
            chosen[k] = fits[0] if len(fits) == 1 else -1


def _give_to_idle(sources: list[list[int]], chosen: list[int]) -> None:
    """Where one link of an id is open and one of its nodes has no link, it is that node's."""
    busy = set(chosen)
    count = Counter(tuple(sources[k]) for k, place in enumerate(chosen) if place < 0)
    for k, place in enumerate(chosen):
        idle = [one for one in sources[k] if one not in busy]
        if place < 0 and count[tuple(sources[k])] == 1 and len(idle) == 1:
            chosen[k] = idle[0]
