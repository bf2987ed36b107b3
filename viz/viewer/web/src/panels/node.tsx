import type { Pane } from "../state";

// What is known of the selected node.
export function NodePanel({ pane }: { pane: Pane }) {
  const node = pane.selected.value;
  if (node === null) return <p class="hint">Select a node to see what it is, what feeds it and what it feeds.</p>;
  return <h2>{pane.label(node)}</h2>;
}
