// What the drawing code is given: the visible nodes and edges as arrays that can be sent to a worker.
import type { Pruned } from "../masks";
import type { Graph, NodeKind } from "../payload";
import type { Placement } from "../placement";

export const KINDS: readonly NodeKind[] = ["feature", "error", "token", "logit"];
export const LEVELS = 8; // strengths, an octave each
export const PINNED = 1;
export const ONLY_HERE = 2;

export interface Scene {
  readonly version: number;
  readonly x: Float32Array; // of all nodes, visible or not
  readonly y: Float32Array;
  readonly kind: Uint8Array;
  readonly marks: Uint8Array; // PINNED | ONLY_HERE
  readonly labels: readonly string[];
  readonly visible: Uint32Array; // the most important first
  readonly source: Uint32Array; // edges, sorted by style: the strongest first, of each strength the positive first
  readonly target: Uint32Array;
  readonly styleStart: Uint32Array; // 2 * LEVELS + 1: where each style begins
  readonly columns: Placement["columns"];
  readonly rows: Placement["rows"];
  readonly width: number;
  readonly height: number;
  readonly labelWidth: number; // room for a label, in the graph's units; 0 where there is none
}

export interface Marked {
  readonly label: (node: number) => string;
  readonly marks: Uint8Array;
}

let version = 0;

export function makeScene(graph: Graph, pruned: Pruned, placement: Placement, marked: Marked): Scene {
  const visible = visibleNodes(graph, pruned);
  const labels = new Array<string>(graph.nNodes).fill("");
  for (const node of visible) labels[node] = marked.label(node);
  version += 1;
  return {
    version,
    ...styledEdges(graph, pruned.edges),
    x: placement.x,
    y: placement.y,
    kind: Uint8Array.from(graph.nodes, (node) => KINDS.indexOf(node.kind)),
    marks: marked.marks,
    labels,
    visible,
    columns: placement.columns,
    rows: placement.rows,
    width: placement.width,
    height: placement.height,
    labelWidth: placement.labelWidth,
  };
}

function visibleNodes(graph: Graph, pruned: Pruned): Uint32Array {
  const visible: number[] = [];
  for (let node = 0; node < graph.nNodes; node++) if (pruned.nodes[node]) visible.push(node);
  const order = (node: number) => graph.nodes[node].rank ?? -1;
  return Uint32Array.from(visible.sort((a, b) => order(a) - order(b) || a - b));
}

function styledEdges(graph: Graph, kept: Uint8Array): Pick<Scene, "source" | "target" | "styleStart"> {
  const strongest = reference(graph.weight, kept);
  const style = new Uint8Array(graph.nEdges);
  const start = new Uint32Array(2 * LEVELS + 1);
  for (let i = 0; i < kept.length; i++) {
    if (!kept[i]) continue;
    const octaves = Math.floor(Math.log2(strongest / Math.abs(graph.weight[i])));
    style[i] = 2 * Math.min(Math.max(octaves, 0), LEVELS - 1) + (graph.weight[i] < 0 ? 1 : 0);
    start[style[i] + 1] += 1;
  }
  for (let i = 0; i < 2 * LEVELS; i++) start[i + 1] += start[i];
  const next = start.slice();
  const source = new Uint32Array(start[2 * LEVELS]);
  const target = new Uint32Array(start[2 * LEVELS]);
  for (let i = 0; i < kept.length; i++) {
    if (!kept[i]) continue;
    const place = next[style[i]]++;
    source[place] = graph.source[i];
    target[place] = graph.target[i];
  }
  return { source, target, styleStart: start };
}

// The weight that a hundredth of the edges exceed: a few outliers shall not make all others faint.
function reference(weight: Float64Array, kept: Uint8Array): number {
  const counts = new Uint32Array(4096);
  let total = 0;
  for (let i = 0; i < kept.length; i++) {
    if (!kept[i] || weight[i] === 0) continue;
    counts[Math.min(Math.max(Math.floor(2048 + 8 * Math.log2(Math.abs(weight[i]))), 0), 4095)] += 1;
    total += 1;
  }
  let bin = 4095;
  for (let seen = counts[bin]; bin > 0 && seen * 100 <= total; seen += counts[bin]) bin -= 1;
  return 2 ** ((bin + 1 - 2048) / 8);
}
