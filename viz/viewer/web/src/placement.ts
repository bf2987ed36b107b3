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
  readonly labelWidth: number; // room for a label below a node; 0 where nodes are packed
}

interface Spacing {
  readonly x: number;
  readonly y: number;
  readonly logit: number; // steps that a logit takes, whose token is shown beside it
  readonly label: number; // room for a label below a node
}

const EMPTY = 8;
const GAP_X = 22;
const GAP_Y = 16;
const LETTER = 6.5;
const READABLE = 0.85; // scale above which labels can be read
export const LARGEST = 1.4; // scale to which a small graph is enlarged
const DENSE: Spacing = { x: 22, y: 22, logit: 3, label: 0 };
const LABELLED: readonly Spacing[] = [210, 170, 140, 112, 90].map((x) => ({ x, y: 40, logit: 1, label: x - 8 }));
const PER_LINE = [1, 2, 3, 4, 6, 8, 11, 15, 20, 28, 40];

// Few nodes get room for their labels; many are packed.
export function place(graph: Graph, kept: Uint8Array, size: readonly [number, number]): Placement {
  const cells = cellsOf(graph, kept);
  for (const spacing of LABELLED) {
    const [placement, scale] = largest(graph, cells, size, spacing);
    if (scale >= READABLE) return stretched(graph, placement, size);
  }
  return stretched(graph, largest(graph, cells, size, DENSE)[0], size);
}

// The same with wider gaps, so that the graph fills the place that it has.
function stretched(graph: Graph, placement: Placement, size: readonly [number, number]): Placement {
  const { columns, rows, width, height } = placement;
  const scale = Math.min(size[0] / width, size[1] / height, LARGEST);
  const [extraX, extraY] = [Math.max(0, size[0] / scale - width), Math.max(0, size[1] / scale - height)];
  const [wider, higher] = [widened(columns, extraX), widened([...rows].reverse(), extraY).reverse()];
  return {
    ...placement,
    x: placement.x.map((x, node) => x + shift(columns, wider, graph.nodes[node].pos)),
    y: placement.y.map((y, node) => y + shift(rows, higher, graph.nodes[node].layer + 1)),
    columns: wider,
    rows: higher,
    width: width + extraX,
    height: height + extraY,
  };
}

const shift = (from: readonly Band[], to: readonly Band[], i: number) =>
  to[i].start + to[i].size / 2 - from[i].start - from[i].size / 2;

function widened(all: readonly Band[], extra: number): Band[] {
  const each = extra / all.length;
  return all.map(({ start, size }, i) => ({ start: start + i * each, size: size + each }));
}

function largest(
  graph: Graph,
  cells: Cells,
  size: readonly [number, number],
  spacing: Spacing,
): readonly [Placement, number] {
  const all = PER_LINE.map((perLine) => {
    const placement = placed(graph, cells, perLine, spacing);
    return [placement, Math.min(size[0] / placement.width, size[1] / placement.height)] as const;
  });
  return all.reduce((best, one) => (one[1] > best[1] ? one : best));
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

function placed(graph: Graph, cells: Cells, perLine: number, spacing: Spacing): Placement {
  const top = cells.length - 1;
  const steps = (row: number) => (row === top ? spacing.logit : 1);
  const lineOf = (row: number) => Math.max(1, Math.floor(perLine / steps(row)));
  const widths = graph.facts.tokens.map((token, pos) => {
    const widest = Math.max(...cells.map((row, r) => (r === 0 ? 0 : Math.min(row[pos].length, lineOf(r)) * steps(r))));
    const name = Math.min(Math.max(LETTER * token.trim().length, 24), Math.max(spacing.label, 40));
    return Math.max(widest * spacing.x, name);
  });
  const heights = cells.map((row, r) => {
    const lines = Math.max(...row.map((cell) => Math.ceil(cell.length / lineOf(r))));
    return lines === 0 ? EMPTY : lines * spacing.y;
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
        x[node] = columns[pos].start + columns[pos].size / 2 + (place - (inLine - 1) / 2) * spacing.x * steps(r);
        y[node] = rows[r].start + rows[r].size / 2 + (line - (lines - 1) / 2) * spacing.y;
      });
    });
  });
  const end = (all: readonly Band[]) => Math.max(...all.map((band) => band.start + band.size));
  return { x, y, columns, rows, width: end(columns), height: end(rows), labelWidth: spacing.label };
}

function bands(sizes: readonly number[], gap: number): Band[] {
  let start = 0;
  return sizes.map((size) => {
    const band = { start, size };
    start += size + gap;
    return band;
  });
}
