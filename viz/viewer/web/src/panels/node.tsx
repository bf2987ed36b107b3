import { useState } from "preact/hooks";
import { evidenceOf } from "../features";
import { KindIcon } from "../graph/legend";
import { strongest } from "../order";
import type { NodeKind } from "../payload";
import type { Pane } from "../state";
import { number, percent, plural, signed } from "../text";
import { EvidenceView } from "./evidence";
import { NodeActions } from "./labels";
import { Facts, NodeButton, Section } from "./parts";

const KIND_NAMES: Readonly<Record<NodeKind, string>> = {
  feature: "Feature",
  error: "Error",
  token: "Embedding",
  logit: "Logit",
};

// What is known of the selected node.
export function NodePanel({ pane }: { pane: Pane }) {
  const node = pane.selected.value;
  if (node === null) return <Welcome pane={pane} />;
  const { kind, target_kind: target, layer, feature_idx: index } = pane.graph.nodes[node];
  return (
    <article class="node-panel">
      <header>
        <p class="kind-line">
          <KindIcon kind={kind} /> {target === null || target === "logit" ? KIND_NAMES[kind] : `Target: ${target}`}
          {kind === "feature" && ` ${layer}/${index}`}
          {!pane.pruned.value.nodes[node] && <em> · not in the pruned graph</em>}
        </p>
        <h2>{pane.label(node)}</h2>
        <NodeActions pane={pane} node={node} />
      </header>
      <Facts rows={factRows(pane, node)} />
      <Edges pane={pane} node={node} way="inputs" />
      <Edges pane={pane} node={node} way="outputs" />
      {kind === "feature" && index !== null && <EvidenceView evidence={evidenceOf(pane, layer, index).value} />}
    </article>
  );
}

function Welcome({ pane }: { pane: Pane }) {
  const logits = pane.graph.nodes.flatMap(({ kind }, node) => (kind === "logit" ? [node] : []));
  const isOfLogits = logits.every((node) => pane.graph.nodes[node].target_kind === "logit");
  return (
    <>
      <p class="hint">
        Select a node to see what it is, what feeds it and what it feeds. Press <kbd>?</kbd> for the keyboard.
      </p>
      <Section title={isOfLogits ? "What the model says next" : "What this graph explains"}>
        <ul class="nodes">
          {logits.map((node) => (
            <li key={node}>
              <NodeButton pane={pane} node={node}>
                <span class="value">{probabilityOf(pane, node)}</span>
              </NodeButton>
            </li>
          ))}
        </ul>
      </Section>
    </>
  );
}

function probabilityOf(pane: Pane, node: number): string {
  const { target_kind: target, probability } = pane.graph.nodes[node];
  return target === "logit" ? percent(probability) : "";
}

function factRows(pane: Pane, node: number) {
  const facts = pane.graph.nodes[node];
  const { influence_total: total, n_layers: nLayers } = pane.graph.facts;
  const rows: [string, string][] = [];
  if (facts.target_kind === "logit") rows.push(["Probability", percent(facts.probability)]);
  else if (facts.target_kind !== null) rows.push(["Weight", number(facts.probability)]);
  if (facts.activation !== null) rows.push(["Activation", number(facts.activation)]);
  if (facts.influence !== null) rows.push(["Influence", percent(facts.influence / total)]);
  if (facts.rank !== null) rows.push(["Rank", (facts.rank + 1).toLocaleString("en")]);
  if (facts.layer >= 0 && facts.layer < nLayers) rows.push(["Layer", String(facts.layer)]);
  rows.push(["Position", `${facts.pos} · ${pane.token(node)}`]);
  if (facts.label_score !== null) rows.push(["Label’s F1", number(facts.label_score, 2)]);
  if (facts.label_source !== null) rows.push(["Label from", facts.label_source]);
  rows.push(["Id", facts.id]);
  return rows;
}

const SHOWN = 8;

function Edges({ pane, node, way }: { pane: Pane; node: number; way: "inputs" | "outputs" }) {
  const [isAll, setAll] = useState(false);
  const edges = strongest(pane, node, way);
  const { source, target, weight } = pane.graph;
  const most = edges.length === 0 ? 1 : Math.abs(weight[edges[0]]);
  const { kind } = pane.graph.nodes[node];
  if (edges.length === 0 && (way === "inputs" ? kind === "token" || kind === "error" : kind === "logit")) return null;
  return (
    <Section title={way === "inputs" ? "Strongest inputs" : "Strongest outputs"}>
      {edges.length === 0 && <p class="hint">No edges at these thresholds.</p>}
      <ul class="nodes">
        {edges.slice(0, isAll ? 200 : SHOWN).map((edge) => (
          <li key={edge}>
            <NodeButton pane={pane} node={way === "inputs" ? source[edge] : target[edge]}>
              <WeightBar weight={weight[edge]} most={most} />
            </NodeButton>
          </li>
        ))}
      </ul>
      {edges.length > SHOWN && (
        <button type="button" class="quiet" aria-expanded={isAll} onClick={() => setAll(!isAll)}>
          {isAll ? "Show fewer" : `Show all ${plural(edges.length, "edge")}`}
        </button>
      )}
    </Section>
  );
}

function WeightBar({ weight, most }: { weight: number; most: number }) {
  const width = `${Math.max(2, 100 * Math.min(1, Math.abs(weight) / most))}%`;
  return (
    <span class="weight">
      <span class="track" aria-hidden="true">
        <span class={weight < 0 ? "fill negative" : "fill positive"} style={{ width }} />
      </span>
      <span class="value">{signed(weight)}</span>
    </span>
  );
}
