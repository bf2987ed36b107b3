import type { Pane } from "../state";

export function GraphView({ pane }: { pane: Pane }) {
  const { nNodes, nEdges } = pane.pruned.value;
  return (
    <section class="graph" aria-label={`Graph of ${pane.graph.facts.title}`}>
      <p>
        {nNodes} nodes, {nEdges} edges
      </p>
    </section>
  );
}
