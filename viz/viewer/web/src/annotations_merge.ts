// Two people changed the same annotations: both changes, applied to what they started from. The same as
// viz/viewer/merging.py, and held to the same cases (tests/viz/merge_cases.json).
import type { Annotations } from "./annotations";

type Rows = Annotations["supernodes"];
type Table<T> = Readonly<Record<string, T>>;
type Names = ReadonlyMap<string, string>;

// Pins, places and labels are merged one by one, supernodes by node. Where both changed the same thing, mine counts.
export function merge(base: Annotations, mine: Annotations, theirs: Annotations): Annotations {
  const [was, now, there] = [base, mine, theirs] as unknown as Table<unknown>[];
  return {
    ...(byKey(was, now, there) as unknown as Annotations),
    supernodes: supernodes(base.supernodes, mine.supernodes, theirs.supernodes),
    pinned: pins(base.pinned, mine.pinned, theirs.pinned),
    positions: byKey(base.positions, mine.positions, theirs.positions),
    labels: byKey(base.labels, mine.labels, theirs.labels),
    revision: theirs.revision,
  };
}

const isSame = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);

function byKey<T>(base: Table<T>, mine: Table<T>, theirs: Table<T>): Record<string, T> {
  const merged: [string, T][] = [];
  for (const key of new Set([...Object.keys(theirs), ...Object.keys(mine)])) {
    const isUnchanged = Object.hasOwn(mine, key) === Object.hasOwn(base, key) && isSame(mine[key], base[key]);
    const side = isUnchanged ? theirs : mine;
    if (Object.hasOwn(side, key)) merged.push([key, side[key]]);
  }
  return Object.fromEntries(merged);
}

function pins(base: readonly string[], mine: readonly string[], theirs: readonly string[]): string[] {
  const kept = theirs.filter((id) => mine.includes(id) || !base.includes(id));
  return [...new Set([...kept, ...mine.filter((id) => !base.includes(id))])];
}

// Each node goes where I moved it, else where they have it; a supernode that one side renamed is renamed.
function supernodes(base: Rows, mine: Rows, theirs: Rows): string[][] {
  const byMe = renamed(base, mine);
  const byThem = renamed(base, theirs);
  const was = membership(base, new Map([...byThem, ...byMe]));
  const heirs = [...byThem].map(([key, heir]) => [heir, byMe.get(key) ?? heir] as const);
  const there = membership(theirs, new Map([...byMe, ...heirs]));
  const now = membership(mine, new Map([...byThem, ...apart(base, mine, theirs, byMe)]));
  const rows = new Map<string, string[]>([...there.values(), ...now.values()].map((key) => [key, []]));
  for (const node of new Set([...there.keys(), ...now.keys()])) {
    const key = was.get(node) === now.get(node) ? there.get(node) : now.get(node);
    if (key !== undefined) rows.get(key)?.push(node);
  }
  return [...rows].filter(([, nodes]) => nodes.length > 0).map(([key, nodes]) => [nameOf(key), ...nodes]);
}

// A supernode's name, and which of this name it is: names need not be unique.
const keyOf = (name: string, time: number) => `${time}/${name}`;
const nameOf = (key: string) => key.slice(key.indexOf("/") + 1);

function keys(rows: Rows): string[] {
  const seen = new Map<string, number>();
  return rows.map(([name]) => {
    const time = seen.get(name) ?? 0;
    seen.set(name, time + 1);
    return keyOf(name, time);
  });
}

function membership(rows: Rows, names: Names = new Map()): Map<string, string> {
  const all = keys(rows);
  return new Map(rows.flatMap((row, k) => row.slice(1).map((node) => [node, names.get(all[k]) ?? all[k]] as const)));
}

// Supernodes whose name is gone: the new one that has most of their nodes.
function renamed(base: Rows, changed: Rows): Map<string, string> {
  const now = membership(changed);
  const old = keys(base);
  const left = new Set(keys(changed));
  const found = new Map<string, string>();
  base.forEach((row, k) => {
    if (left.has(old[k])) return;
    const taken = new Set([...old, ...found.values()]);
    const counts = new Map<string, number>();
    for (const node of row.slice(1)) {
      const key = now.get(node);
      if (key !== undefined && !taken.has(key)) counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    const most = Math.max(...counts.values());
    for (const [key, count] of counts) if (count === most && !found.has(old[k])) found.set(old[k], key);
  });
  return found;
}

// Supernodes that both sides made under one name with other nodes: mine counts as one more of this name.
function apart(base: Rows, mine: Rows, theirs: Rows, byMe: Names): Map<string, string> {
  const before = new Set(keys(base));
  const heirs = new Set(byMe.values());
  const there = new Map(keys(theirs).map((key, k) => [key, theirs[k]] as const));
  const found = new Map<string, string>();
  keys(mine).forEach((key, k) => {
    const other = there.get(key);
    if (other === undefined || before.has(key) || heirs.has(key)) return;
    const isEqual = other.length === mine[k].length && mine[k].every((node) => other.includes(node));
    if (!isEqual) found.set(key, keyOf(nameOf(key), Number.parseInt(key, 10) + theirs.length + mine.length));
  });
  return found;
}
