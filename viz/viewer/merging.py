"""Two people changed the same annotations: both changes, applied to what they started from.

The page does the same in TypeScript (`web/src/merging.ts`); `tests/viewer` holds both to the same cases.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from viz.viewer.annotations import Annotations

__all__ = ["merge_annotations"]

V = TypeVar("V")
Rows = Sequence[tuple[str, ...]]
Key = tuple[str, int]
"""A supernode's name, and which of this name it is: names need not be unique."""


def merge_annotations(base: Annotations, mine: Annotations, theirs: Annotations) -> Annotations:
    """Their annotations with my changes.

    Pins, places and labels are merged one by one, supernodes by node: what only one side changed is as that side has
    it. Where both changed the same thing in different ways, mine counts.

    Args:
        base: what both started from.
        mine: my changes of it.
        theirs: what was saved meanwhile.

    Returns:
        Both, with their revision, so that it can be saved next.
    """
    return Annotations(
        supernodes=_supernodes(base.supernodes, mine.supernodes, theirs.supernodes),
        pinned=_pins(base.pinned, mine.pinned, theirs.pinned),
        positions=_by_key(base.positions, mine.positions, theirs.positions),
        labels=_by_key(base.labels, mine.labels, theirs.labels),
        node_threshold=_one(base.node_threshold, mine.node_threshold, theirs.node_threshold),
        edge_threshold=_one(base.edge_threshold, mine.edge_threshold, theirs.edge_threshold),
        revision=theirs.revision,
        others=_by_key(base.others, mine.others, theirs.others),
    )


def _one(base: V, mine: V, theirs: V) -> V:
    return theirs if mine == base else mine


def _by_key(base: Mapping[str, V], mine: Mapping[str, V], theirs: Mapping[str, V]) -> dict[str, V]:
    merged = {}
    for key in dict.fromkeys([*theirs, *mine]):
        is_unchanged = (key in mine) == (key in base) and mine.get(key) == base.get(key)
        side = theirs if is_unchanged else mine
        if key in side:
            merged[key] = side[key]
    return merged


def _pins(base: Sequence[str], mine: Sequence[str], theirs: Sequence[str]) -> tuple[str, ...]:
    gone, added = set(base) - set(mine), [name for name in mine if name not in set(base)]
    return tuple(dict.fromkeys([*(name for name in theirs if name not in gone), *added]))


def _supernodes(base: Rows, mine: Rows, theirs: Rows) -> tuple[tuple[str, ...], ...]:
    """Each node goes where I moved it, else where they have it; a supernode that one side renamed is renamed."""
    by_me, by_them = _renamed(base, mine), _renamed(base, theirs)
    was = _membership(base, by_them | by_me)
    there = _membership(theirs, by_me | {heir: by_me.get(key, heir) for key, heir in by_them.items()})
    now = _membership(mine, by_them | _apart(base, mine, theirs, by_me))
    merged = {node: there.get(node) if was.get(node) == now.get(node) else now.get(node) for node in [*there, *now]}
    rows: dict[Key, list[str]] = {key: [] for key in [*there.values(), *now.values()]}
    for node, key in merged.items():
        if key is not None:
            rows[key].append(node)
    return tuple((name, *nodes) for (name, _), nodes in rows.items() if nodes)


def _keys(rows: Rows) -> list[Key]:
    seen: dict[str, int] = {}
    found = []
    for name, *_ in rows:
        seen[name] = seen.get(name, -1) + 1
        found.append((name, seen[name]))
    return found


def _membership(rows: Rows, names: Mapping[Key, Key] = MappingProxyType({})) -> dict[str, Key]:
    """The supernode of every node, under its new name."""
    return {node: names.get(key, key) for key, (_, *nodes) in zip(_keys(rows), rows, strict=True) for node in nodes}


def _renamed(base: Rows, changed: Rows) -> dict[Key, Key]:
    """Supernodes whose name is gone: the new one that has most of their nodes."""
    now, old, new = _membership(changed), _keys(base), _keys(changed)
    found: dict[Key, Key] = {}
    for key, (_, *nodes) in zip(old, base, strict=True):
        heirs = [now[node] for node in nodes if node in now and now[node] not in [*old, *found.values()]]
        if key not in new and heirs:
            found[key] = max(dict.fromkeys(heirs), key=heirs.count)
    return found


def _apart(base: Rows, mine: Rows, theirs: Rows, by_me: Mapping[Key, Key]) -> dict[Key, Key]:
    """Supernodes that both sides made under one name with other nodes: mine counts as one more of this name."""
    before, there = set(_keys(base)), dict(zip(_keys(theirs), theirs, strict=True))
    found = {}
    for key, row in zip(_keys(mine), mine, strict=True):
        if key in there and key not in before and key not in by_me.values() and set(row) != set(there[key]):
            found[key] = (key[0], key[1] + len(theirs) + len(mine))
    return found
