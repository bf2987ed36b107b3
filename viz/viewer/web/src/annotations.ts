// What people add to a graph: pins, supernodes, labels. Immutable snapshots; every change is an action of one reducer,
// so that undo is the list of earlier snapshots.

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

export type Action =
  | { readonly type: "pin" | "unpin"; readonly id: string }
  | { readonly type: "label"; readonly feature: string; readonly text: string | null }
  | { readonly type: "undo" }
  | { readonly type: "redo" };

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
  const next = changed(present, action);
  return next === present ? history : { past: [...past, present], present: next, future: [] };
}

function changed(present: Annotations, action: Exclude<Action, { type: "undo" } | { type: "redo" }>): Annotations {
  switch (action.type) {
    case "pin":
      return present.pinned.includes(action.id) ? present : { ...present, pinned: [...present.pinned, action.id] };
    case "unpin":
      return { ...present, pinned: present.pinned.filter((id) => id !== action.id) };
    case "label": {
      const { [action.feature]: _, ...others } = present.labels;
      return { ...present, labels: action.text === null ? others : { ...others, [action.feature]: action.text } };
    }
  }
}
