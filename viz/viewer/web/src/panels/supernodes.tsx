// Supernodes: made of chosen nodes, named, and dissolved.
import type { Signal } from "@preact/signals";
import { useRef } from "preact/hooks";
import type { Pane } from "../state";
import { plural } from "../text";
import { NodeButton } from "./parts";

type Chosen = Signal<ReadonlySet<string>>;

// A name for what was chosen in the subgraph or in the list below it.
export function GroupForm({ pane, chosen }: { pane: Pane; chosen: Chosen }) {
  const input = useRef<HTMLInputElement>(null);
  const ids = [...chosen.value].filter((id) => pane.graph.numberOf.has(id));
  if (ids.length === 0) return null;
  const [first] = ids;
  const suggested = pane.name(pane.graph.numberOf.get(first) as number);
  return (
    <form
      class="group-form"
      onSubmit={(event) => {
        event.preventDefault();
        pane.dispatch({ type: "group", ids, name: input.current?.value.trim() || suggested });
        chosen.value = new Set();
      }}
    >
      <input ref={input} type="text" aria-label="Name of the supernode" placeholder={suggested} maxLength={500} />
      <button type="submit">Group {plural(ids.length, "node")}</button>
      <button
        type="button"
        class="quiet"
        onClick={() => {
          chosen.value = new Set();
        }}
      >
        Choose none
      </button>
    </form>
  );
}

export function SupernodeList({ pane, chosen }: { pane: Pane; chosen: Chosen }) {
  const { supernodes } = pane.annotations.value;
  if (supernodes.length === 0) return null;
  return (
    <section class="block">
      <h3>Supernodes</h3>
      {supernodes.map((row, k) => (
        <Supernode key={row[1]} pane={pane} chosen={chosen} row={row} supernode={k} />
      ))}
    </section>
  );
}

function Supernode({
  pane,
  chosen,
  row,
  supernode,
}: {
  pane: Pane;
  chosen: Chosen;
  row: readonly string[];
  supernode: number;
}) {
  const [name, ...ids] = row;
  const members = ids.flatMap((id) => pane.graph.numberOf.get(id) ?? []);
  const missing = ids.length - members.length;
  return (
    <fieldset class="supernode-row">
      <legend class="unseen">Supernode {name}</legend>
      <div class="supernode-head">
        <input
          key={name}
          type="text"
          aria-label={`Name of supernode ${name}`}
          defaultValue={name}
          maxLength={500}
          onChange={(event) => {
            const text = event.currentTarget.value.trim();
            if (text === "") event.currentTarget.value = name;
            else pane.dispatch({ type: "rename", supernode, name: text });
          }}
          onKeyDown={(event) => event.key === "Enter" && event.currentTarget.blur()}
        />
        <button
          type="button"
          class="quiet"
          onClick={() => {
            chosen.value = new Set([...chosen.value, ...ids]);
          }}
        >
          Choose
        </button>
        <button type="button" class="quiet" onClick={() => pane.dispatch({ type: "dissolve", supernode })}>
          Dissolve
        </button>
      </div>
      <ul class="nodes pinned">
        {members.map((node) => (
          <li key={node}>
            <NodeButton pane={pane} node={node} />
            <button
              type="button"
              class="quiet remove"
              aria-label={`Take ${pane.label(node)} out of ${name}`}
              title="Take out"
              onClick={() => pane.dispatch({ type: "leave", id: pane.graph.nodes[node].id })}
            >
              ×
            </button>
          </li>
        ))}
      </ul>
      {missing > 0 && <p class="hint">{plural(missing, "node")} of it not in this page.</p>}
    </fieldset>
  );
}
