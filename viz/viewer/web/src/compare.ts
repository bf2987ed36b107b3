// What two graphs have in common: features of the same layer and index (and position), errors of the same layer and
// position, tokens of the same text and position, logits of the same text.
import { computed, effect, signal } from "@preact/signals";
import { type Pane, panes } from "./state";

export interface Comparison {
  readonly common: readonly (readonly [number, number])[]; // the same node in both graphs
  readonly only: readonly [readonly number[], readonly number[]];
  readonly edges: { readonly common: number; readonly only: readonly [number, number]; readonly turned: number };
}

export const ignorePositions = signal(false);
export const isComparing = computed(() => panes.value.length === 2);

export const comparison = computed<Comparison | null>(() => {
  const [a, b] = panes.value;
  return a === undefined || b === undefined ? null : compared(a, b, ignorePositions.value);
});

export function compared(a: Pane, b: Pane, anywhere: boolean): Comparison {
  const [inA, inB] = [keyed(a, anywhere), keyed(b, anywhere)];
  const common: (readonly [number, number])[] = [];
  for (const [key, node] of inA) if (inB.has(key)) common.push([node, inB.get(key) as number]);
  const only = [unshared(inA, inB), unshared(inB, inA)] as const;
  return { common, only, edges: comparedEdges(a, b, common) };
}

// Where positions do not count, the nth occurrence of a feature in one graph is that in the other.
function keyed(pane: Pane, anywhere: boolean): Map<string, number> {
  const result = new Map<string, number>();
  const times = new Map<string, number>();
  const kept = pane.pruned.value.nodes;
  pane.graph.nodes.forEach(({ kind, layer, pos, feature_idx, token }, node) => {
    if (!kept[node]) return;
    const place = anywhere || kind === "logit" ? "" : pos;
    const what = kind === "feature" ? feature_idx : kind === "error" ? "" : token;
    const key = [kind, kind === "logit" ? "" : layer, place, what].join("/");
    const time = times.get(key) ?? 0;
    times.set(key, time + 1);
    result.set(`${key}/${time}`, node);
  });
  return result;
}

const unshared = (mine: Map<string, number>, other: Map<string, number>) =>
  [...mine].filter(([key]) => !other.has(key)).map(([, node]) => node);

function comparedEdges(a: Pane, b: Pane, common: Comparison["common"]): Comparison["edges"] {
  const counterpart = new Map(common);
  const inB = new Map<number, number>();
  const { graph, pruned } = b;
  for (let i = 0; i < graph.nEdges; i++) {
    if (pruned.value.edges[i]) inB.set(graph.source[i] * graph.nNodes + graph.target[i], graph.weight[i]);
  }
  let shared = 0;
  let turned = 0;
  for (let i = 0; i < a.graph.nEdges; i++) {
    if (!a.pruned.value.edges[i]) continue;
    const source = counterpart.get(a.graph.source[i]);
    const target = counterpart.get(a.graph.target[i]);
    const weight = source === undefined || target === undefined ? undefined : inB.get(source * graph.nNodes + target);
    if (weight === undefined) continue;
    shared += 1;
    if (weight > 0 !== a.graph.weight[i] > 0) turned += 1;
  }
  return { common: shared, only: [a.pruned.value.nEdges - shared, inB.size - shared], turned };
}

// Marks what only one graph has, and selects in both what is selected in one.
export function followComparison(): void {
  effect(() => {
    const result = comparison.value;
    panes.value.forEach((pane, side) => {
      pane.unmatched.value = result === null ? null : mask(pane, result.only[side]);
    });
  });
  for (const side of [0, 1]) {
    effect(() => {
      const node = panes.value[side]?.selected.value ?? null;
      const result = comparison.peek();
      const other = panes.peek()[1 - side];
      if (node === null || result === null || other === undefined) return;
      const pair = result.common.find((one) => one[side] === node);
      if (pair !== undefined) other.selected.value = pair[1 - side];
    });
  }
}

function mask(pane: Pane, nodes: readonly number[]): Uint8Array {
  const result = new Uint8Array(pane.graph.nNodes);
  for (const node of nodes) result[node] = 1;
  return result;
}
