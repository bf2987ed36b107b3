// What is known of features, fetched when one is looked at and kept.
import { type Signal, signal } from "@preact/signals";
import type { FeatureFacts } from "./payload";
import { type Pane, source } from "./state";

export type Evidence = FeatureFacts | "loading" | "unknown";

const known = new WeakMap<Pane, Map<string, Signal<Evidence>>>();

export function evidenceOf(pane: Pane, layer: number, index: number): Signal<Evidence> {
  const ofPane = known.get(pane) ?? new Map<string, Signal<Evidence>>();
  known.set(pane, ofPane);
  const key = `${layer}/${index}`;
  const found = ofPane.get(key) ?? signal<Evidence>("loading");
  if (!ofPane.has(key)) {
    ofPane.set(key, found);
    load(pane, layer, index, found);
  }
  return found;
}

async function load(pane: Pane, layer: number, index: number, into: Signal<Evidence>): Promise<void> {
  const embedded = pane.graph.facts.features[`${layer}/${index}`];
  try {
    const facts = await source.value?.feature(pane.graph.facts, layer, index);
    into.value = facts ?? embedded ?? "unknown";
  } catch {
    into.value = embedded ?? "unknown"; // the panel says that nothing is known
  }
}
