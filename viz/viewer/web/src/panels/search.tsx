import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import type { NodeKind } from "../payload";
import type { Pane } from "../state";
import { percent, plural } from "../text";
import { NodeButton } from "./parts";

export const query = signal("");
const SHOWN = 100;
const KINDS: readonly (readonly [NodeKind | "all", string])[] = [
  ["all", "All kinds"],
  ["feature", "Features"],
  ["error", "Errors"],
  ["token", "Embeddings"],
  ["logit", "Logits"],
];

// Nodes by label, token or id, those of the pruned graph first, the most influential first.
export function SearchPanel({ pane }: { pane: Pane }) {
  const [kind, setKind] = useState<NodeKind | "all">("all");
  const [shown, setShown] = useState(SHOWN);
  const found = matches(pane, query.value, kind);
  return (
    <search>
      <div class="search">
        <input
          id="search"
          type="search"
          aria-label="Search nodes by label, token or id"
          placeholder="Label, token or id"
          autocomplete="off"
          value={query.value}
          onInput={(event) => {
            query.value = event.currentTarget.value;
            setShown(SHOWN);
          }}
          onKeyDown={(event) => {
            if (event.key === "Enter" && found.length > 0) pane.select(found[0]);
          }}
        />
        <select
          aria-label="Kind of node"
          value={kind}
          onChange={(event) => setKind(event.currentTarget.value as NodeKind | "all")}
        >
          {KINDS.map(([value, name]) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </select>
      </div>
      <p class="hint" role="status">
        {plural(found.length, "node")}
        {query.value.trim() === "" ? ", by influence" : ` with “${query.value.trim()}”`}
      </p>
      <ul class="nodes">
        {found.slice(0, shown).map((node) => (
          <li key={node}>
            <NodeButton pane={pane} node={node}>
              <span class="value">{share(pane, node)}</span>
            </NodeButton>
          </li>
        ))}
      </ul>
      {found.length > shown && (
        <button type="button" class="quiet" onClick={() => setShown(shown + 4 * SHOWN)}>
          Show more
        </button>
      )}
    </search>
  );
}

function share(pane: Pane, node: number): string {
  const { influence, probability, target_kind: target } = pane.graph.nodes[node];
  if (target !== null && target !== "logit") return "";
  return percent(influence === null ? probability : influence / pane.graph.facts.influence_total);
}

export function matches(pane: Pane, text: string, kind: NodeKind | "all"): number[] {
  const wanted = text.trim().toLowerCase();
  const kept = pane.pruned.value.nodes;
  const found: number[] = [];
  pane.graph.nodes.forEach((facts, node) => {
    if (kind !== "all" && facts.kind !== kind) return;
    if (wanted === "" ? kept[node] : isMatch(pane, node, wanted)) found.push(node);
  });
  const rank = (node: number) => pane.graph.nodes[node].rank ?? -1;
  return found.sort((a, b) => kept[b] - kept[a] || rank(a) - rank(b) || a - b);
}

function isMatch(pane: Pane, node: number, wanted: string): boolean {
  const { id, layer, feature_idx: index } = pane.graph.nodes[node];
  return (
    pane.label(node).toLowerCase().includes(wanted) ||
    pane.token(node).toLowerCase() === wanted ||
    id.toLowerCase() === wanted ||
    (index !== null && (`${layer}/${index}` === wanted || `#${index}` === wanted))
  );
}
