// The order in which the keyboard and a screen reader go through the drawn nodes: from the logits down, each line from
// left to right.
import type { Pane } from "./state";

export type Direction = "left" | "right" | "up" | "down";

export function readingOrder(pane: Pane): number[] {
  const { x, y } = pane.placement.value;
  const kept = pane.pruned.value.nodes;
  const nodes: number[] = [];
  for (let node = 0; node < kept.length; node++) if (kept[node]) nodes.push(node);
  return nodes.sort((a, b) => y[a] - y[b] || x[a] - x[b]);
}

// The nearest node in a direction: on the same line, or on the next line that has one.
export function neighbour(pane: Pane, order: readonly number[], node: number, direction: Direction): number | null {
  const { x, y } = pane.placement.value;
  const isSame = (other: number) => Math.abs(y[other] - y[node]) < 0.5;
  if (direction === "left" || direction === "right") {
    const line = order.filter(isSame);
    return line[line.indexOf(node) + (direction === "right" ? 1 : -1)] ?? null;
  }
  const beyond = order.filter((other) => !isSame(other) && y[other] < y[node] === (direction === "up"));
  if (beyond.length === 0) return null;
  const next = direction === "up" ? y[beyond[beyond.length - 1]] : y[beyond[0]];
  const line = beyond.filter((other) => Math.abs(y[other] - next) < 0.5);
  return line.reduce((best, other) => (Math.abs(x[other] - x[node]) < Math.abs(x[best] - x[node]) ? other : best));
}

// Kept edges into or out of a node, the strongest first.
export function strongest(pane: Pane, node: number, way: "inputs" | "outputs"): readonly number[] {
  const { rowStart, outStart, outEdges, weight } = pane.graph;
  const kept = pane.pruned.value.edges;
  const found: number[] = [];
  if (way === "inputs") for (let i = rowStart[node]; i < rowStart[node + 1]; i++) found.push(i);
  else for (let i = outStart[node]; i < outStart[node + 1]; i++) found.push(outEdges[i]);
  return found.filter((i) => kept[i]).sort((a, b) => Math.abs(weight[b]) - Math.abs(weight[a]) || a - b);
}
