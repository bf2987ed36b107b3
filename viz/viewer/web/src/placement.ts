// Where nodes are drawn: positions of the prompt are columns, layers are rows, embeddings at the bottom, logits on top.
// Nodes of one position and layer fill a small grid, the most influential first.
import type { Graph } from "./payload";

export interface Band {
  readonly start: number;
  readonly size: number;
}

export interface Placement {
  readonly x: Float32Array;
  readonly y: Float32Array;
  readonly columns: readonly Band[]; // per position
  readonly rows: readonly Band[]; // per layer, from the embeddings (0) to the logits (n_layers + 1)
  readonly width: number;
  readonly height: number;
}

export const STEP = 24;
const EMPTY = 10;
const GAP_X = 22;
const GAP_Y = 18;
const MIN_COLUMN = 46;
const LOGIT_STEP = 3; // a logit shows its token beside it

export function place(graph: Graph, kept: Uint8Array, size: readonly [number, number]): Placement {
  const cells = cellsOf(graph, kept);
  let best: Placement | null = null;
  let bestScale = 0;
  for (const perLine of [2, 3, 4, 6, 8, 11, 15, 20, 28, 40]) {
    const placement = placed(graph, cells, perLine);
    const scale = Math.min(size[0] / placement.width, size[1] / placement.height);
    if (scale > bestScale) [best, bestScale] = [placement, scale];
  }
  return best as Placement;
}

type Cells = readonly (readonly (readonly number[])[])[]; // [row][position] -> nodes

function cellsOf(graph: Graph, kept: Uint8Array): Cells {
  const { tokens, n_layers: nLayers } = graph.facts;
  const cells: number[][][] = Array.from({ length: nLayers + 2 }, () => tokens.map(() => []));
  for (let node = 0; node < graph.nNodes; node++) {
    if (kept[node]) cells[graph.nodes[node].layer + 1][graph.nodes[node].pos].push(node);
  }
  const order = (node: number) => (graph.nodes[node].kind === "error" ? 1e9 : 0) + (graph.nodes[node].rank ?? 0);
  for (const row of cells) for (const cell of row) cell.sort((a, b) => order(a) - order(b) || a - b);
  return cells;
}

function placed(graph: Graph, cells: Cells, perLine: number): Placement {
  const top = cells.length - 1;
  const steps = (row: number) => (row === top ? LOGIT_STEP : 1);
  const lineOf = (row: number) => Math.max(1, Math.floor(perLine / steps(row)));
  const widths = graph.facts.tokens.map((_, pos) => {
    const widest = Math.max(...cells.map((row, r) => Math.min(row[pos].length, lineOf(r)) * steps(r)));
    return Math.max(widest * STEP, MIN_COLUMN);
  });
  const heights = cells.map((row, r) => {
    const lines = Math.max(...row.map((cell) => Math.ceil(cell.length / lineOf(r))));
    return lines === 0 ? EMPTY : lines * STEP;
  });
  const columns = bands(widths, GAP_X);
  const rows = bands([...heights].reverse(), GAP_Y).reverse();
  const x = new Float32Array(graph.nNodes);
  const y = new Float32Array(graph.nNodes);
  cells.forEach((row, r) => {
    row.forEach((cell, pos) => {
      const perRow = Math.min(lineOf(r), cell.length);
      cell.forEach((node, i) => {
        const [line, place] = [Math.floor(i / perRow), i % perRow];
        const inLine = Math.min(perRow, cell.length - line * perRow);
        const lines = Math.ceil(cell.length / perRow);
        x[node] = columns[pos].start + columns[pos].size / 2 + (place - (inLine - 1) / 2) * STEP * steps(r);
        y[node] = rows[r].start + rows[r].size / 2 + (line - (lines - 1) / 2) * STEP;
      });
    });
  });
  const end = (all: readonly Band[]) => Math.max(...all.map((band) => band.start + band.size));
  return { x, y, columns, rows, width: end(columns), height: end(rows) };
}

function bands(sizes: readonly number[], gap: number): Band[] {
  let start = 0;
  return sizes.map((size) => {
    const band = { start, size };
    start += size + gap;
    return band;
  });
}
