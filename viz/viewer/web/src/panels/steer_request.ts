// What the page asks of the model, and what it hears (viz/viewer/steering.py).
import type { Pane } from "../state";

export type Operation = "set" | "scale" | "add" | "ablate";

export interface Edit {
  readonly key: string;
  readonly name: string;
  readonly nodes: readonly number[]; // features
  readonly operation: Operation;
  readonly value: number;
}

export interface TokenValue {
  readonly token_id: number;
  readonly token: string;
  readonly logit: number;
  readonly probability: number;
}

export interface Answer {
  readonly before: readonly TokenValue[];
  readonly after: readonly TokenValue[];
  readonly continuation_before: string | null;
  readonly continuation_after: string | null;
  readonly n_changed_features: number;
  readonly changed_features: readonly {
    readonly layer: number;
    readonly pos: number;
    readonly feature_idx: number;
    readonly before: number;
    readonly after: number;
    readonly label: string | null;
  }[];
}

export const isComplete = (edits: readonly Edit[]) =>
  edits.length > 0 && edits.every(({ operation, value }) => operation === "ablate" || Number.isFinite(value));

export function featuresOf(pane: Pane, ids: readonly string[]): number[] {
  const nodes = ids.flatMap((id) => pane.graph.numberOf.get(id) ?? []);
  return nodes.filter((node) => pane.graph.nodes[node].kind === "feature");
}

export function requestOf(
  pane: Pane,
  edits: readonly Edit[],
  mode: string,
  generate: number,
  goesOn: boolean,
): unknown {
  const name = (node: number) => {
    const { layer, pos, feature_idx: index } = pane.graph.nodes[node];
    return `${layer}/${pos}${goesOn ? ":" : ""}/${index}`;
  };
  const interventions = edits.map(({ nodes, operation, value }) => ({
    operation,
    features: nodes.map(name),
    ...(operation === "ablate" ? {} : { value }),
  }));
  return { slug: pane.graph.facts.slug, interventions, mode, generate };
}
