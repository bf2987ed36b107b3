import type { Signal } from "@preact/signals";
import { useId } from "preact/hooks";
import type { Pane } from "../state";
import { percent, plural } from "../text";

// The pruning sliders, and how much they leave.
export function Controls({ pane }: { pane: Pane }) {
  const { nNodes, nEdges } = pane.pruned.value;
  const { facts } = pane.graph;
  const missing = facts.left_out.nodes;
  return (
    <div class="controls">
      <Slider
        name="Nodes"
        hint="share of all influence to keep"
        value={pane.nodeThreshold}
        most={facts.thresholds.node_max}
      />
      <Slider name="Edges" hint="share of all edge scores to keep" value={pane.edgeThreshold} most={1} />
      <button
        type="button"
        class="quiet"
        title="The thresholds that the graph came with"
        onClick={() => {
          pane.nodeThreshold.value = facts.thresholds.node;
          pane.edgeThreshold.value = facts.thresholds.edge;
        }}
      >
        Reset
      </button>
      <p class="counts" role="status">
        {plural(nNodes, "node")}, {plural(nEdges, "edge")}
        {missing > 0 && (
          <small title="The page holds the most influential nodes; the others are in the graph's file.">
            {" "}
            ({plural(missing, "faint node")} not in this page)
          </small>
        )}
      </p>
    </div>
  );
}

const STEPS = 1000;

function Slider({ name, hint, value, most }: { name: string; hint: string; value: Signal<number>; most: number }) {
  const id = useId();
  return (
    <div class="slider">
      <label for={id} title={hint}>
        {name}
      </label>
      <input
        id={id}
        type="range"
        min={0}
        max={Math.ceil(most * STEPS)}
        step={5}
        value={Math.round(value.value * STEPS)}
        aria-valuetext={`${percent(value.value)}, ${hint}`}
        onInput={(event) => {
          value.value = Math.min(Number(event.currentTarget.value) / STEPS, most);
        }}
      />
      <output for={id}>{`${(100 * value.value).toFixed(1)} %`}</output>
    </div>
  );
}
