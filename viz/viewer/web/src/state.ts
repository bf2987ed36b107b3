// The page's state: one `Pane` per graph on show. What can be computed is computed from the few values that are set.
import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import { type Action, type Annotations, begin, type History, reduce } from "./annotations";
import { keptNodes, type Pruned, type Scored, scoreEdges, selectEdges } from "./masks";
import type { Graph } from "./payload";
import { type Placement, place } from "./placement";

export class Pane {
  readonly nodeThreshold: Signal<number>;
  readonly edgeThreshold: Signal<number>;
  readonly selected = signal<number | null>(null);
  readonly hovered = signal<number | null>(null);
  readonly size = signal<readonly [number, number]>([900, 600]);
  readonly history: Signal<History>;
  readonly annotations: ReadonlySignal<Annotations>;
  readonly scored: ReadonlySignal<Scored>;
  readonly pruned: ReadonlySignal<Pruned>;
  readonly placement: ReadonlySignal<Placement>;

  constructor(readonly graph: Graph) {
    const { annotations, thresholds } = graph.facts;
    const most = thresholds.node_max;
    this.nodeThreshold = signal(Math.min(annotations.node_threshold ?? thresholds.node, most));
    this.edgeThreshold = signal(annotations.edge_threshold ?? thresholds.edge);
    this.history = signal(begin(annotations));
    this.annotations = computed(() => this.history.value.present);
    this.scored = computed(() => scoreEdges(graph, keptNodes(graph, this.nodeThreshold.value)));
    this.pruned = computed(() => selectEdges(graph, this.scored.value, this.edgeThreshold.value));
    this.placement = computed(() => place(graph, this.pruned.value.nodes, this.size.value));
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
    if (facts.kind === "feature") return own ?? facts.label ?? `L${facts.layer} #${facts.feature_idx}`;
    if (facts.kind === "error") return `error, layer ${facts.layer}`;
    return facts.token ?? facts.id;
  }
}

export type Theme = "system" | "light" | "dark";

export const panes = signal<readonly Pane[]>([]); // one, or two that are compared
export const activePane = signal(0);
export const pane = computed(() => panes.value[activePane.value] ?? null);
export const theme = signal<Theme>("system");
export const tab = signal("node");
export const problem = signal<string | null>(null);
