// What the subgraph shows: supernodes and single pinned nodes as blocks, with the kept edges between them summed.
import type { Pane } from "../state";

export interface Block {
  readonly key: string;
  readonly name: string;
  readonly nodes: readonly number[];
  readonly supernode: number | null; // its number in the annotations
  readonly anchor: string; // the id under which its place is kept
}

export interface Link {
  readonly source: number; // blocks
  readonly target: number;
  readonly weight: number;
}

export function blocksOf(pane: Pane): Block[] {
  const { supernodes, pinned, positions } = pane.annotations.value;
  const { numberOf } = pane.graph;
  const known = (ids: readonly string[]) => ids.flatMap((id) => numberOf.get(id) ?? []);
  const grouped = new Set(supernodes.flatMap((row) => row.slice(1)));
  const groups = supernodes.map(([name, ...ids], supernode): Block => {
    const anchor = ids.find((id) => id in positions) ?? ids[0];
    return { key: `supernode ${supernode}`, name, nodes: known(ids), supernode, anchor };
  });
  const singles = pinned
    .filter((id) => !grouped.has(id))
    .flatMap((id) => known([id]).map((node) => single(pane, id, node)));
  return [...groups, ...singles].filter(({ nodes }) => nodes.length > 0);
}

const single = (pane: Pane, id: string, node: number): Block => ({
  key: id,
  name: pane.name(node),
  nodes: [node],
  supernode: null,
  anchor: id,
});

// As circuits.group sums them: signed weights of the kept edges from members to members.
export function linksOf(pane: Pane, blocks: readonly Block[]): Link[] {
  const { rowStart, source, weight } = pane.graph;
  const kept = pane.pruned.value.edges;
  const blockOf = new Map(blocks.flatMap(({ nodes }, k) => nodes.map((node) => [node, k] as const)));
  const sums = new Map<number, number>();
  for (const [target, into] of blockOf) {
    for (let i = rowStart[target]; i < rowStart[target + 1]; i++) {
      const from = kept[i] ? blockOf.get(source[i]) : undefined;
      if (from === undefined || from === into) continue;
      const key = from * blocks.length + into;
      sums.set(key, (sums.get(key) ?? 0) + weight[i]);
    }
  }
  const links = [...sums].map(([key, sum]) => ({
    source: Math.floor(key / blocks.length),
    target: key % blocks.length,
    weight: sum,
  }));
  return links.sort((a, b) => Math.abs(a.weight) - Math.abs(b.weight));
}

// Shares of the width and height: where people put a block, else its layer and the order of positions. A layer with more
// than `perLine` blocks gets several lines.
export function placesOf(pane: Pane, blocks: readonly Block[], perLine: number): (readonly [number, number])[] {
  const { nodes } = pane.graph;
  const mean = (block: Block, of: "layer" | "pos") =>
    block.nodes.reduce((sum, node) => sum + nodes[node][of], 0) / block.nodes.length;
  const byLayer = new Map<number, Block[]>();
  for (const block of blocks) {
    const layer = Math.round(mean(block, "layer"));
    byLayer.set(layer, [...(byLayer.get(layer) ?? []), block]);
  }
  const lines = [...byLayer.entries()]
    .sort(([a], [b]) => b - a)
    .flatMap(([, row]) =>
      split(
        [...row].sort((a, b) => mean(a, "pos") - mean(b, "pos") || (a.key < b.key ? -1 : 1)),
        perLine,
      ),
    );
  const positions = pane.annotations.value.positions;
  return blocks.map((block) => {
    const own = positions[block.anchor];
    if (own !== undefined) return own;
    const place = lines.findIndex((line) => line.includes(block));
    const line = lines[place];
    return [(line.indexOf(block) + 0.5) / line.length, (place + 0.5) / lines.length] as const;
  });
}

function split(row: readonly Block[], perLine: number): Block[][] {
  const n = Math.ceil(row.length / Math.max(1, perLine));
  const size = Math.ceil(row.length / n);
  return Array.from({ length: n }, (_, k) => row.slice(k * size, (k + 1) * size));
}
