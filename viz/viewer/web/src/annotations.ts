// What people add to a graph: pins, supernodes, labels, places. Immutable snapshots; every change is an action of one
// reducer, so that undo is the list of earlier snapshots.
import { merge } from "./annotations_merge";

export interface Annotations {
  readonly schema_version: number;
  readonly revision: number;
  readonly supernodes: readonly (readonly string[])[]; // [name, node id, ...]
  readonly pinned: readonly string[];
  readonly positions: Readonly<Record<string, readonly [number, number]>>;
  readonly labels: Readonly<Record<string, string>>; // by "LAYER/INDEX"
  readonly node_threshold: number | null;
  readonly edge_threshold: number | null;
}

export interface History {
  readonly past: readonly Annotations[];
  readonly present: Annotations;
  readonly future: readonly Annotations[];
}

type Change =
  | { readonly type: "pin" | "unpin"; readonly id: string }
  | { readonly type: "place"; readonly id: string; readonly at: readonly [number, number] }
  | { readonly type: "arrange" }
  | { readonly type: "group"; readonly ids: readonly string[]; readonly name: string }
  | { readonly type: "rename"; readonly supernode: number; readonly name: string }
  | { readonly type: "dissolve"; readonly supernode: number }
  | { readonly type: "leave"; readonly id: string }
  | { readonly type: "label"; readonly feature: string; readonly text: string | null };

export type Action =
  | Change
  | { readonly type: "undo" }
  | { readonly type: "redo" }
  // Where the sliders stand; null for where the graph came with. They are no step of undo.
  | { readonly type: "thresholds"; readonly node: number | null; readonly edge: number | null }
  // What somebody else saved, on top of `base`, which both had.
  | { readonly type: "merge"; readonly base: Annotations; readonly theirs: Annotations };

export const begin = (present: Annotations): History => ({ past: [], present, future: [] });

export function reduce(history: History, action: Action): History {
  const { past, present, future } = history;
  if (action.type === "undo") {
    if (past.length === 0) return history;
    return { past: past.slice(0, -1), present: past[past.length - 1], future: [present, ...future] };
  }
  if (action.type === "redo") {
    if (future.length === 0) return history;
    return { past: [...past, present], present: future[0], future: future.slice(1) };
  }
  if (action.type === "merge") {
    // Earlier snapshots get it too, so that undo takes back what was done here and nothing else.
    return everywhere(history, (mine) => merge(action.base, mine, action.theirs));
  }
  if (action.type === "thresholds") {
    const { node, edge } = action;
    if (present.node_threshold === node && present.edge_threshold === edge) return history;
    return everywhere(history, (one) => ({ ...one, node_threshold: node, edge_threshold: edge }));
  }
  const next = changed(present, action);
  return next === present ? history : { past: [...past, present], present: next, future: [] };
}

const everywhere = ({ past, present, future }: History, change: (one: Annotations) => Annotations): History => ({
  past: past.map(change),
  present: change(present),
  future: future.map(change),
});

function changed(present: Annotations, action: Change): Annotations {
  const { supernodes, pinned, positions, labels } = present;
  switch (action.type) {
    case "pin":
      return pinned.includes(action.id) ? present : { ...present, pinned: [...pinned, action.id] };
    case "unpin":
      return pinned.includes(action.id) ? { ...present, pinned: pinned.filter((id) => id !== action.id) } : present;
    case "place":
      return { ...present, positions: { ...positions, [action.id]: action.at } };
    case "arrange":
      return Object.keys(positions).length === 0 ? present : { ...present, positions: {} };
    case "group":
      return { ...present, supernodes: [...without(supernodes, action.ids), [action.name, ...action.ids]] };
    case "rename":
      if (supernodes[action.supernode]?.[0] === action.name) return present;
      return { ...present, supernodes: renamed(supernodes, action.supernode, action.name) };
    case "dissolve":
      return {
        ...present,
        supernodes: supernodes.filter((_, k) => k !== action.supernode),
        pinned: joined(pinned, supernodes[action.supernode].slice(1)),
      };
    case "leave":
      return { ...present, supernodes: without(supernodes, [action.id]), pinned: joined(pinned, [action.id]) };
    case "label": {
      const { [action.feature]: old, ...others } = labels;
      if (old === (action.text ?? undefined)) return present;
      return { ...present, labels: action.text === null ? others : { ...others, [action.feature]: action.text } };
    }
  }
}

type Rows = Annotations["supernodes"];

const joined = (first: readonly string[], second: readonly string[]) => [...new Set([...first, ...second])];

const renamed = (rows: Rows, place: number, name: string): Rows =>
  rows.map((row, k) => (k === place ? [name, ...row.slice(1)] : row));

// A supernode that loses its last node is gone.
function without(rows: Rows, ids: readonly string[]): Rows {
  const gone = new Set(ids);
  return rows.map(([name, ...nodes]) => [name, ...nodes.filter((id) => !gone.has(id))]).filter((row) => row.length > 1);
}

// The same text for equal annotations, whatever the order of their keys and their revision.
export function fingerprint(annotations: Annotations): string {
  const { revision: _, ...content } = annotations;
  return JSON.stringify(content, (__, value) =>
    value !== null && typeof value === "object" && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
}
