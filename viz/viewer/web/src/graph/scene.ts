// What the drawing code is given: the visible nodes and edges as arrays that can be sent to a worker.
import type { Pruned } from "../masks";
import type { Graph } from "../payload";
import type { Placement } from "../placement";

export const LEVELS = 8; // strengths, an octave each
export const PINNED = 1;
export const ONLY_HERE = 2;

export interface Scene {
  readonly version: number;
  readonly x: Float32Array; // of all nodes, visible or not
  readonly y: Float32Array;
  readonly kind: Uint8Array;
  readonly marks: Uint8Array; // PINNED | ONLY_HERE
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

let version = 0;

export function makeScene(graph: Graph, pruned: Pruned, placement: Placement, marks: Uint8Array): Scene {
  version += 1;
  return {
    version,
    ...styledEdges(graph, pruned.edges),
    x: placement.x,
    y: placement.y,
    kind: graph.kind,
    marks,
    visible: visibleNodes(graph, pruned),
    columns: placement.columns,
    rows: placement.rows,
    width: placement.width,
    height: placement.height,
    labelWidth: placement.labelWidth,
  };
}

function visibleNodes({ rank }: Graph, pruned: Pruned): Uint32Array {
  const visible = new Uint32Array(pruned.nNodes);
  let n = 0;
  for (let node = 0; node < rank.length; node++) if (pruned.nodes[node]) visible[n++] = node;
  return visible.sort((a, b) => rank[a] - rank[b] || a - b);
}

function styledEdges(graph: Graph, kept: Uint8Array): Pick<Scene, "source" | "target" | "styleStart"> {
  const { strength, weight } = graph;
  const strongest = reference(strength, kept);
  const style = new Uint8Array(graph.nEdges);
  const start = new Uint32Array(2 * LEVELS + 1);
  for (let i = 0; i < kept.length; i++) {
    if (!kept[i]) continue;
    const octaves = (strongest - strength[i]) >> 3;
    style[i] = 2 * Math.min(Math.max(octaves, 0), LEVELS - 1) + (weight[i] < 0 ? 1 : 0);
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

const BINS = 4096;

// The strength that a hundredth of the edges exceed: a few outliers shall not make all others faint.
function reference(strength: Int16Array, kept: Uint8Array): number {
  const counts = new Uint32Array(BINS);
  let total = 0;
  for (let i = 0; i < kept.length; i++) {
    if (!kept[i]) continue;
    counts[Math.min(Math.max(strength[i] + BINS / 2, 0), BINS - 1)] += 1;
    total += 1;
  }
  let bin = BINS - 1;
  for (let seen = counts[bin]; bin > 0 && seen * 100 <= total; seen += counts[bin]) bin -= 1;
  return bin - BINS / 2;
}
