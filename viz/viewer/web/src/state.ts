// The page's state: one `Pane` per graph on show. What can be computed is computed from the few values that are set.
import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import { type Action, type Annotations, begin, type History, reduce } from "./annotations";
import { ONLY_HERE, PINNED } from "./graph/scene";
import { keptNodes, type Pruned, type Scored, scoreEdges, selectEdges } from "./masks";
import type { Graph } from "./payload";
import { type Placement, place } from "./placement";
import type { GraphSummary, Source } from "./source";
import { percent, tokenText } from "./text";

export class Pane {
  readonly nodeThreshold: Signal<number>;
  readonly edgeThreshold: Signal<number>;
  readonly selected = signal<number | null>(null);
  readonly hovered = signal<number | null>(null);
  readonly size = signal<readonly [number, number]>([900, 600]);
  readonly unmatched = signal<Uint8Array | null>(null); // while comparing: nodes that the other graph lacks
  readonly history: Signal<History>;
  readonly annotations: ReadonlySignal<Annotations>;
  readonly scored: ReadonlySignal<Scored>;
  readonly pruned: ReadonlySignal<Pruned>;
  readonly placement: ReadonlySignal<Placement>;
  readonly marks: ReadonlySignal<Uint8Array>;
  readonly shortLabels: ReadonlySignal<readonly string[]>;

  constructor(readonly graph: Graph) {
    const { annotations, thresholds } = graph.facts;
    const most = thresholds.node_max;
    this.nodeThreshold = signal(Math.min(annotations.node_threshold ?? thresholds.node, most));
    this.edgeThreshold = signal(annotations.edge_threshold ?? thresholds.edge);
    this.history = signal(begin(annotations));
    this.annotations = computed(() => this.history.value.present);
    this.scored = computed(() => scoreEdges(graph, keptNodes(graph, this.nodeThreshold.value)));
    this.pruned = computed(() => selectEdges(graph, this.scored.value, this.edgeThreshold.value));
    this.placement = computed(() => place(graph, this.pruned.value, this.size.value));
    this.shortLabels = computed(() => graph.nodes.map((_, node) => this.shortLabel(node)));
    this.marks = computed(() => this.marked());
  }

  // Every change of annotations goes through here.
  dispatch(action: Action): void {
    this.history.value = reduce(this.history.value, action);
  }

  select(node: number | null): void {
    this.selected.value = node;
  }

  // The text that people read: their own label, that of the graph, or what the node is.
  label(node: number): string {
    const facts = this.graph.nodes[node];
    const own = this.annotations.value.labels[`${facts.layer}/${facts.feature_idx}`];
    if (facts.kind === "feature") return own ?? facts.label ?? `feature ${facts.layer}/${facts.feature_idx}`;
    if (facts.kind === "error") return `error of layer ${facts.layer}`;
    return tokenText(facts.token ?? facts.id);
  }

  // The label without what all labels of features without a concept begin with.
  name(node: number): string {
    return this.label(node).replace(/^no match; /, "");
  }

  // The text beside a node of the drawn graph.
  shortLabel(node: number): string {
    const { kind, target_kind: target, probability } = this.graph.nodes[node];
    if (kind === "error" || kind === "token") return ""; // tokens are named below
    if (kind === "logit" && target === "logit") return `${this.label(node)} ${percent(probability)}`;
    return this.label(node).replace(/^no match; /, ""); // what a label without a concept begins with
  }

  token(node: number): string {
    return tokenText(this.graph.facts.tokens[this.graph.nodes[node].pos] ?? "");
  }

  // One sentence for a screen reader.
  description(node: number): string {
    const { kind, target_kind: target, layer, pos, influence, probability } = this.graph.nodes[node];
    const share = influence === null ? "" : `, influence ${percent(influence / this.graph.facts.influence_total)}`;
    if (kind === "token") return `embedding of ${this.label(node)}, position ${pos}${share}`;
    if (kind === "logit" && target !== "logit") return `target ${this.label(node)}, a ${target}, position ${pos}`;
    if (kind === "logit") return `logit ${this.label(node)}, probability ${percent(probability)}`;
    if (kind === "error") return `error, layer ${layer}, position ${pos} ${this.token(node)}${share}`;
    return `feature ${this.label(node)}, layer ${layer}, position ${pos} ${this.token(node)}${share}`;
  }

  private marked(): Uint8Array {
    const marks = new Uint8Array(this.graph.nNodes);
    for (const id of this.annotations.value.pinned) {
      const node = this.graph.numberOf.get(id);
      if (node !== undefined) marks[node] |= PINNED;
    }
    this.unmatched.value?.forEach((value, node) => {
      if (value) marks[node] |= ONLY_HERE;
    });
    return marks;
  }
}

export type Theme = "system" | "light" | "dark";

export const panes = signal<readonly Pane[]>([]); // one, or two that are compared
export const activePane = signal(0);
export const pane = computed(() => panes.value[activePane.value] ?? panes.value[0] ?? null);
export const theme = signal<Theme>("system");
export const tab = signal("node");
export const problem = signal<string | null>(null);
export const notice = signal(""); // read out by screen readers
export const source = signal<Source | null>(null);
export const summaries = signal<readonly GraphSummary[]>([]);
export const isHelpOpen = signal(false);
