// Small pieces that several panels share.
import type { ComponentChildren } from "preact";
import { KindIcon } from "../graph/legend";
import type { Pane } from "../state";

export function Section({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <section class="block">
      <h3>{title}</h3>
      {children}
    </section>
  );
}

type Row = readonly [string, ComponentChildren];

export function Facts({ rows, wide = false }: { rows: readonly Row[]; wide?: boolean }) {
  return (
    <dl class={wide ? "facts wide" : "facts"}>
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

// A node that can be selected: its kind, label and place.
export function NodeButton({ pane, node, children }: { pane: Pane; node: number; children?: ComponentChildren }) {
  const { kind, layer } = pane.graph.nodes[node];
  const place = kind === "feature" || kind === "error" ? `L${layer} · ${pane.token(node)}` : "";
  return (
    <button
      type="button"
      class={pane.pruned.value.nodes[node] ? "node" : "node hidden"}
      aria-current={pane.selected.value === node}
      onClick={() => pane.select(node)}
      onPointerEnter={() => {
        pane.hovered.value = node;
      }}
      onPointerLeave={() => {
        pane.hovered.value = null;
      }}
    >
      <KindIcon kind={kind} />
      <span class="name" title={pane.label(node)}>
        {pane.name(node)}
      </span>
      <span class="place">{place}</span>
      {children}
    </button>
  );
}
