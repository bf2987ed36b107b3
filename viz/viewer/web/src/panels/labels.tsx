// What can be done with the selected node: pin it, and give its feature another label.
import { useEffect, useRef, useState } from "preact/hooks";
import type { Pane } from "../state";

export function NodeActions({ pane, node }: { pane: Pane; node: number }) {
  const { id, kind } = pane.graph.nodes[node];
  const [isEditing, setEditing] = useState(false);
  const supernode = pane.annotations.value.supernodes.find((row) => row.indexOf(id, 1) > 0);
  const isPinned = pane.annotations.value.pinned.includes(id);
  useEffect(() => setEditing(false), [node]);
  return (
    <div class="node-actions">
      <button
        type="button"
        aria-pressed={isPinned}
        title="Pin to the subgraph (p)"
        onClick={() => pane.dispatch({ type: isPinned ? "unpin" : "pin", id })}
      >
        {isPinned ? "Pinned" : "Pin"}
      </button>
      {kind === "feature" && !isEditing && (
        <button type="button" onClick={() => setEditing(true)}>
          Edit label
        </button>
      )}
      {supernode !== undefined && <p class="hint">in supernode {supernode[0]}</p>}
      {isEditing && <LabelEditor pane={pane} node={node} close={() => setEditing(false)} />}
    </div>
  );
}

// Enter keeps the text, Escape the old one; an empty text gives the graph's own label back.
function LabelEditor({ pane, node, close }: { pane: Pane; node: number; close: () => void }) {
  const input = useRef<HTMLInputElement>(null);
  const { layer, feature_idx: index } = pane.graph.nodes[node];
  const feature = `${layer}/${index}`;
  const own = pane.annotations.value.labels[feature];
  useEffect(() => input.current?.select(), []);
  const keep = (text: string | null) => {
    pane.dispatch({ type: "label", feature, text: text === null || text.trim() === "" ? null : text.trim() });
    close();
  };
  return (
    <form
      class="label-editor"
      onSubmit={(event) => {
        event.preventDefault();
        keep(input.current?.value ?? null);
      }}
    >
      <input
        ref={input}
        type="text"
        aria-label={`Label of feature ${feature}`}
        defaultValue={own ?? pane.label(node)}
        maxLength={500}
        onKeyDown={(event) => event.key === "Escape" && close()}
      />
      <button type="submit">Keep</button>
      {own !== undefined && (
        <button type="button" class="quiet" onClick={() => keep(null)}>
          Original label
        </button>
      )}
    </form>
  );
}
