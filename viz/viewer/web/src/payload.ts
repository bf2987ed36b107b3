// What Python writes into the page (viz/viewer/payload.py says what each part means), and the typed arrays made of it.
import type { Annotations } from "./annotations";

export const KINDS = ["feature", "error", "token", "logit"] as const;
export type NodeKind = (typeof KINDS)[number];
export const [FEATURE, ERROR, TOKEN, LOGIT] = [0, 1, 2, 3];

export interface NodeFacts {
  readonly id: string;
  readonly kind: NodeKind;
  readonly target_kind: "logit" | "difference" | "direction" | "feature" | null; // what a node of kind "logit" is
  readonly layer: number;
  readonly pos: number;
  readonly feature_idx: number | null;
  readonly activation: number | null;
  readonly probability: number | null; // a logit's; the weight of another target
  readonly influence: number | null;
  readonly rank: number | null;
  readonly cumulative: number | null;
  readonly always_kept: boolean;
  readonly label: string | null;
  readonly label_source: string | null;
  readonly label_score: number | null;
  readonly token: string | null;
}

export interface Example {
  readonly tokens: readonly string[];
  readonly acts: readonly number[];
  readonly train_token_ind: number;
}

export interface FeatureFacts {
  readonly label?: string | null;
  readonly label_source?: string | null;
  readonly label_score?: number | null;
  readonly activation_frequency?: number | null;
  readonly act_min?: number | null;
  readonly act_max?: number | null;
  readonly histogram?: readonly number[];
  readonly histogram_edges?: readonly number[];
  readonly top_logits?: readonly string[];
  readonly bottom_logits?: readonly string[];
  readonly top_logit_effects?: readonly number[];
  readonly bottom_logit_effects?: readonly number[];
  readonly examples?: readonly Example[];
}

type ArrayName = "source" | "n_into" | "weight";

export interface Payload {
  readonly schema_version: number;
  readonly kind: "graph";
  readonly slug: string;
  readonly title: string;
  readonly prompt: string;
  readonly tokens: readonly string[];
  readonly n_layers: number;
  readonly nodes: readonly NodeFacts[];
  readonly edges: { readonly n: number; readonly dtype: Readonly<Record<ArrayName, string>> } & Readonly<
    Record<ArrayName, string>
  >;
  readonly target_weights: Readonly<Record<string, number>>;
  readonly influence_total: number;
  readonly smallest: number;
  readonly min_row_sum: number;
  readonly thresholds: { readonly node: number; readonly edge: number; readonly node_max: number };
  readonly left_out: { readonly nodes: number; readonly edges: number; readonly influence_share: number };
  readonly scores: Readonly<Record<string, number>>;
  readonly books: Readonly<Record<string, unknown>>;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly features: Readonly<Record<string, FeatureFacts>>;
  readonly annotations: Annotations;
  readonly hash: string;
  readonly served?: { readonly steer: boolean; readonly features: boolean }; // by a server
}

// Edges are sorted by target: those into node n are rowStart[n] to rowStart[n + 1]. Those out of node n are the edges
// outEdges[outStart[n]] to outEdges[outStart[n + 1]].
export interface Graph {
  readonly facts: Payload;
  readonly nodes: readonly NodeFacts[];
  readonly nNodes: number;
  readonly nEdges: number;
  readonly source: Uint32Array;
  readonly target: Uint32Array;
  readonly weight: Float64Array;
  readonly rowStart: Uint32Array;
  readonly outStart: Uint32Array;
  readonly outEdges: Uint32Array;
  readonly influence: Float64Array;
  readonly targetWeight: Float64Array;
  readonly strength: Int16Array; // of edges, in eighths of an octave
  readonly kind: Uint8Array; // place in KINDS
  readonly rank: Int32Array; // -1 for logits
  readonly numberOf: ReadonlyMap<string, number>;
  readonly tokenNodes: Int32Array; // per position
}

export const SCHEMA_VERSION = 1;

export class PayloadError extends Error {}

export function decode(facts: Payload): Graph {
  if (facts?.schema_version !== SCHEMA_VERSION || facts.kind !== "graph") {
    const found = `${facts?.kind} of schema ${facts?.schema_version}`;
    throw new PayloadError(
      `This page reads graphs of schema ${SCHEMA_VERSION}, and found a ${found}. Export it again.`,
    );
  }
  const nodes = facts.nodes;
  const source = Uint32Array.from(numbers(facts, "source", facts.edges.n));
  const weight = Float64Array.from(numbers(facts, "weight", facts.edges.n));
  const rowStart = new Uint32Array(nodes.length + 1);
  numbers(facts, "n_into", nodes.length).forEach((n, node) => {
    rowStart[node + 1] = rowStart[node] + n;
  });
  const target = new Uint32Array(facts.edges.n);
  for (let node = 0; node < nodes.length; node++) target.fill(node, rowStart[node], rowStart[node + 1]);
  checkEdges(nodes, source, target, weight);
  const targetWeight = new Float64Array(nodes.length);
  for (const [node, value] of Object.entries(facts.target_weights)) targetWeight[Number(node)] = value;
  const outStart = starts(source, nodes.length);
  return {
    facts,
    nodes,
    nNodes: nodes.length,
    nEdges: source.length,
    source,
    target,
    weight,
    rowStart,
    outStart,
    outEdges: groupedEdges(source, outStart),
    influence: Float64Array.from(nodes, (node) => node.influence ?? 0),
    targetWeight,
    strength: Int16Array.from(weight, (value) => (value === 0 ? -32768 : Math.floor(8 * Math.log2(Math.abs(value))))),
    kind: Uint8Array.from(nodes, (node) => KINDS.indexOf(node.kind)),
    rank: Int32Array.from(nodes, (node) => node.rank ?? -1),
    numberOf: new Map(nodes.map((node, number) => [node.id, number])),
    tokenNodes: tokenNodes(facts),
  };
}

function tokenNodes({ nodes, tokens }: Payload): Int32Array {
  const result = new Int32Array(tokens.length).fill(-1);
  nodes.forEach(({ kind, pos }, node) => {
    if (kind === "token") result[pos] = node;
  });
  return result;
}

const ARRAYS = { uint16: Uint16Array, uint32: Uint32Array, float32: Float32Array, float64: Float64Array } as const;

type Numbers = Uint16Array | Uint32Array | Float32Array | Float64Array;

function numbers(facts: Payload, name: ArrayName, length: number): Numbers {
  const type = ARRAYS[facts.edges.dtype[name] as keyof typeof ARRAYS];
  if (type === undefined) throw new PayloadError(`The edges have an unknown type, ${facts.edges.dtype[name]}.`);
  const text = atob(facts.edges[name]);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  if (bytes.length !== length * type.BYTES_PER_ELEMENT) {
    throw new PayloadError(
      `Expected ${length} numbers in ${name}, found ${bytes.length} bytes. Export the graph again.`,
    );
  }
  return new type(bytes.buffer);
}

// Edges lead from lower layers to higher ones, and only features and logits have any that lead to them.
function checkEdges(nodes: readonly NodeFacts[], source: Uint32Array, target: Uint32Array, weight: Float64Array): void {
  for (let i = 0; i < source.length; i++) {
    const [from, to] = [nodes[source[i]], nodes[target[i]]];
    const isUpward = from !== undefined && (to?.kind === "logit" || (to?.kind === "feature" && from.layer < to.layer));
    if (!isUpward || !Number.isFinite(weight[i])) {
      throw new PayloadError(`Edge ${i} of this graph leads nowhere. Export the graph again.`);
    }
  }
}

function starts(ends: Uint32Array, nNodes: number): Uint32Array {
  const result = new Uint32Array(nNodes + 1);
  for (const node of ends) result[node + 1] += 1;
  for (let node = 0; node < nNodes; node++) result[node + 1] += result[node];
  return result;
}

function groupedEdges(ends: Uint32Array, start: Uint32Array): Uint32Array {
  const next = start.slice();
  const result = new Uint32Array(ends.length);
  for (let edge = 0; edge < ends.length; edge++) result[next[ends[edge]]++] = edge;
  return result;
}
