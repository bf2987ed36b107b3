// Where nodes are drawn: positions of the prompt are columns, layers are rows, embeddings at the bottom, logits on top.
// Nodes of one position and layer fill a small grid, the most influential first.
import type { Pruned } from "./masks";
import { ERROR, type Graph } from "./payload";

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
const LONG_PROMPT = 100; // tokens, above which their names need no room
const READABLE = 0.85; // scale above which labels can be read
export const LARGEST = 1.4; // scale to which a small graph is enlarged
const DENSE: Spacing = { x: 22, y: 22, logit: 3, label: 0 };
const LABELLED: readonly Spacing[] = [210, 170, 140, 112, 90].map((x) => ({ x, y: 40, logit: 1, label: x - 8 }));
const PER_LINE = [1, 2, 3, 4, 6, 8, 11, 15, 20, 28, 40];

const FEW = 600;

// Few nodes get room for their labels; many are packed.
export function place(graph: Graph, pruned: Pruned, size: readonly [number, number]): Placement {
  const cells = cellsOf(graph, pruned.nodes);
  const counts = cells.map((row) => row.map((cell) => cell.length));
  for (const spacing of pruned.nNodes > FEW ? [] : LABELLED) {
    const [grid, scale] = largest(graph, counts, size, spacing);
    if (scale >= READABLE) return filled(graph, cells, stretched(grid, size), spacing);
  }
  return filled(graph, cells, stretched(largest(graph, counts, size, DENSE)[0], size), DENSE);
}

// Columns and rows, and how many nodes of a cell stand side by side.
interface Grid {
  readonly columns: readonly Band[];
  readonly rows: readonly Band[];
  readonly perLine: readonly number[]; // per row
  readonly width: number;
  readonly height: number;
}

// The same with wider columns and rows, so that the graph fills the place that it has.
function stretched(grid: Grid, size: readonly [number, number]): Grid {
  const { columns, rows, width, height } = grid;
  const scale = Math.min(size[0] / width, size[1] / height, LARGEST);
  const [extraX, extraY] = [Math.max(0, size[0] / scale - width), Math.max(0, size[1] / scale - height)];
  return {
    ...grid,
    columns: widened(columns, extraX),
    rows: widened([...rows].reverse(), extraY).reverse(),
    width: width + extraX,
    height: height + extraY,
  };
}

function widened(all: readonly Band[], extra: number): Band[] {
  const each = extra / all.length;
  return all.map(({ start, size }, i) => ({ start: start + i * each, size: size + each }));
}

type Counts = readonly (readonly number[])[]; // [row][position]

function largest(
  graph: Graph,
  counts: Counts,
  size: readonly [number, number],
  spacing: Spacing,
): readonly [Grid, number] {
  const all = PER_LINE.map((perLine) => {
    const grid = gridOf(graph, counts, perLine, spacing);
    return [grid, Math.min(size[0] / grid.width, size[1] / grid.height)] as const;
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
  const order = (node: number) => (graph.kind[node] === ERROR ? 1e9 : 0) + graph.rank[node];
  for (const row of cells) for (const cell of row) cell.sort((a, b) => order(a) - order(b) || a - b);
  return cells;
}

function gridOf(graph: Graph, counts: Counts, most: number, spacing: Spacing): Grid {
  const steps = stepsOf(counts.length, spacing);
  const perLine = steps.map((step) => Math.max(1, Math.floor(most / step)));
  const top = counts.length - 1;
  const isLong = counts[0].length > LONG_PROMPT;
  const isAlone = counts[top].filter((n) => n > 0).length <= 1; // then logits may spread beyond their column
  const widths = graph.facts.tokens.map((token, pos) => {
    const name = isLong ? 6 : Math.min(Math.max(LETTER * token.trim().length, 24), Math.max(spacing.label, 40));
    let widest = 0;
    for (let r = 1; r < (isAlone ? top : top + 1); r++) {
      widest = Math.max(widest, Math.min(counts[r][pos], perLine[r]) * steps[r]);
    }
    return Math.max(widest * spacing.x, name);
  });
  const columns = bands(widths, isLong ? 6 : GAP_X);
  if (isAlone) perLine[top] = Math.max(1, Math.floor(end(columns) / (spacing.x * steps[top])));
  const heights = counts.map((row, r) => {
    const lines = Math.ceil(Math.max(...row) / perLine[r]);
    return lines === 0 ? EMPTY : lines * spacing.y;
  });
  const rows = bands(heights.reverse(), GAP_Y).reverse();
  return { columns, rows, perLine, width: end(columns), height: end(rows) };
}

// How many steps a node of each row takes.
const stepsOf = (nRows: number, spacing: Spacing) =>
  Array.from({ length: nRows }, (_, row) => (row === nRows - 1 ? spacing.logit : 1));

const end = (all: readonly Band[]) => Math.max(...all.map((band) => band.start + band.size));

function filled(graph: Graph, cells: Cells, grid: Grid, spacing: Spacing): Placement {
  const { columns, rows, width, height } = grid;
  const steps = stepsOf(rows.length, spacing);
  const x = new Float32Array(graph.nNodes);
  const y = new Float32Array(graph.nNodes);
  cells.forEach((row, r) => {
    row.forEach((cell, pos) => {
      const perLine = Math.min(grid.perLine[r], cell.length);
      const lines = Math.ceil(cell.length / perLine);
      cell.forEach((node, i) => {
        const [line, place] = [Math.floor(i / perLine), i % perLine];
        const inLine = Math.min(perLine, cell.length - line * perLine);
        const middle = columns[pos].start + columns[pos].size / 2;
        const half = (inLine * spacing.x * steps[r]) / 2;
        // Wider than its column are only logits, which must not go beyond the graph.
        const centre = half <= columns[pos].size / 2 || r !== rows.length - 1 ? middle : Math.min(middle, width - half);
        x[node] = centre + (place - (inLine - 1) / 2) * spacing.x * steps[r];
        y[node] = rows[r].start + rows[r].size / 2 + (line - (lines - 1) / 2) * spacing.y;
      });
    });
  });
  return { x, y, columns, rows, width, height, labelWidth: spacing.label };
}

function bands(sizes: readonly number[], gap: number): Band[] {
  let start = 0;
  return sizes.map((size) => {
    const band = { start, size };
    start += size + gap;
    return band;
  });
}
