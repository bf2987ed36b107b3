// Pruning with the semantics of circuits.prune (Python), in float64: which nodes and edges are kept at two thresholds.
// In three steps, so that moving one slider repeats only what depends on it. A threshold keeps ties, and what has no
// influence at all is never kept.
import { FEATURE, type Graph, LOGIT, TOKEN } from "./payload";

export interface Scored {
  readonly kept: Uint8Array; // nodes that pass the node threshold
  readonly scores: Float64Array; // per edge: what its target hands on, times its share of the target's input; else 0
  readonly mass: Float64Array; // sums of the scores that agree in their exponent and the first bits of their mantissa
  readonly total: number;
}

export interface Pruned {
  readonly nodes: Uint8Array;
  readonly edges: Uint8Array;
  readonly nNodes: number;
  readonly nEdges: number;
}

export function prune(graph: Graph, nodeThreshold: number, edgeThreshold: number): Pruned {
  return selectEdges(graph, scoreEdges(graph, keptNodes(graph, nodeThreshold)), edgeThreshold);
}

export function keptNodes(graph: Graph, share: number): Uint8Array {
  const cut = nodeCut(graph, share);
  return Uint8Array.from(graph.nodes, (node, number) => (node.always_kept || graph.influence[number] >= cut ? 1 : 0));
}

function nodeCut(graph: Graph, share: number): number {
  const { smallest, influence_total: total } = graph.facts;
  if (share >= 1) return smallest;
  let cut = Number.POSITIVE_INFINITY;
  let lowest = Number.POSITIVE_INFINITY;
  let best = Number.POSITIVE_INFINITY;
  for (const node of graph.nodes) {
    if (node.rank === null || node.cumulative === null || node.influence === null) continue;
    lowest = Math.min(lowest, node.influence);
    if (node.cumulative >= share * total && node.rank < best) {
      best = node.rank;
      cut = node.influence;
    }
  }
  return Math.max(Number.isFinite(cut) ? cut : lowest, smallest);
}

export function scoreEdges(graph: Graph, kept: Uint8Array): Scored {
  const { source, weight, rowStart, kind, targetWeight } = graph;
  const influence = new Float64Array(graph.nNodes);
  const scores = new Float64Array(graph.nEdges);
  for (let row = graph.nNodes - 1; row >= 0; row--) {
    const first = rowStart[row];
    const last = rowStart[row + 1];
    if (first === last || !kept[row]) continue;
    let sum = 0;
    for (let i = first; i < last; i++) if (kept[source[i]]) sum += Math.abs(weight[i]);
    const factor =
      (kind[row] === FEATURE ? influence[row] : targetWeight[row]) / Math.max(sum, graph.facts.min_row_sum);
    for (let i = first; i < last; i++) {
      if (!kept[source[i]]) continue;
      const score = Math.abs(weight[i]) * factor;
      influence[source[i]] += score;
      scores[i] = score;
    }
  }
  const mass = new Float64Array(N_BINS);
  const bits = new Uint32Array(scores.buffer);
  for (let i = 0; i < scores.length; i++) mass[bits[2 * i + 1] >>> DROPPED_BITS] += scores[i];
  let total = 0;
  for (let bin = N_BINS - 1; bin >= 0; bin--) total += mass[bin];
  return { kept, scores, mass, total };
}

// Of the upper half of a float64, which holds sign, exponent and the first 20 bits of the mantissa: 256 bins for a
// factor of two.
const DROPPED_BITS = 12;
const N_BINS = 1 << 19;

export function selectEdges(graph: Graph, scored: Scored, share: number): Pruned {
  const cut = edgeCut(scored, share, graph.facts.smallest);
  const { source, target } = graph;
  const edges = new Uint8Array(graph.nEdges);
  for (let i = 0; i < edges.length; i++) edges[i] = scored.scores[i] >= cut ? 1 : 0;
  const connected = connectedNodes(graph, edges);
  let nNodes = 0;
  let nEdges = 0;
  for (let i = 0; i < edges.length; i++) {
    edges[i] &= connected[source[i]] & connected[target[i]];
    nEdges += edges[i];
  }
  const nodes = connected.map((value, node) => value & scored.kept[node]);
  for (const value of nodes) nNodes += value;
  return { nodes, edges, nNodes, nEdges };
}

// The largest score such that all scores from there up add up to the share: found in a narrow bin, which alone is sorted.
function edgeCut({ scores, mass, total }: Scored, share: number, smallest: number): number {
  if (share >= 1 || total === 0) return smallest;
  const goal = share * total;
  let bin = N_BINS - 1;
  let above = 0;
  while (bin > 0 && above + mass[bin] < Math.max(goal, smallest)) {
    above += mass[bin];
    bin -= 1;
  }
  const bits = new Uint32Array(scores.buffer);
  const ordered = scores.filter((_, i) => bits[2 * i + 1] >>> DROPPED_BITS === bin).sort();
  let place = ordered.length - 1;
  for (let sum = above + ordered[place]; place > 0 && sum < goal; sum += ordered[place]) place -= 1;
  return Math.max(ordered[place], smallest);
}

// On a way from a token or an error to a logit; tokens and logits always. An edge's source has the smaller number, or
// is no feature, so that one sweep in each direction is enough.
function connectedNodes(graph: Graph, edges: Uint8Array): Uint8Array {
  const { source, rowStart, kind } = graph;
  const reached = kind.map((one) => (one === FEATURE ? 0 : 1));
  const used = kind.map((one) => (one === LOGIT ? 1 : 0));
  for (let row = 0; row < graph.nNodes; row++) {
    for (let i = rowStart[row]; i < rowStart[row + 1] && !reached[row]; i++) {
      if (edges[i] && reached[source[i]]) reached[row] = 1;
    }
  }
  for (let row = graph.nNodes - 1; row >= 0; row--) {
    if (!used[row]) continue;
    for (let i = rowStart[row]; i < rowStart[row + 1]; i++) if (edges[i]) used[source[i]] = 1;
  }
  return reached.map((value, node) => (kind[node] === TOKEN ? 1 : value & used[node]));
}
