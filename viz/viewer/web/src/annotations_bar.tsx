// Undo, redo, and whether what was added is kept.
import { saveCopy } from "./annotations_copy";
import { keeperOf } from "./annotations_keeper";
import { isServed } from "./annotations_places";
import type { Pane } from "./state";

export function AnnotationsBar({ pane }: { pane: Pane }) {
  const { past, future } = pane.history.value;
  return (
    <div class="annotations-bar" role="group" aria-label="Annotations">
      <KeptStatus pane={pane} />
      <button
        type="button"
        class="quiet"
        disabled={past.length === 0}
        title="Undo (Ctrl+Z)"
        onClick={() => pane.dispatch({ type: "undo" })}
      >
        Undo
      </button>
      <button
        type="button"
        class="quiet"
        disabled={future.length === 0}
        title="Redo (Ctrl+Shift+Z)"
        onClick={() => pane.dispatch({ type: "redo" })}
      >
        Redo
      </button>
      <button type="button" title="This page with your annotations, as one file" onClick={() => saveCopy(pane)}>
        Save a copy
      </button>
    </div>
  );
}

function KeptStatus({ pane }: { pane: Pane }) {
  const keeper = keeperOf(pane);
  const status = keeper?.status.value ?? null;
  if (keeper === null || status === null) return null;
  if (status.kind === "failed") {
    return (
      <p class="kept failed" role="alert">
        Not saved: {status.reason}
        <button type="button" onClick={() => keeper.save()}>
          Try again
        </button>
      </p>
    );
  }
  const where = isServed(pane.graph.facts) ? "Saved" : "Kept in this browser";
  return (
    <p class="kept" role="status">
      {status.kind === "saved" ? where : "Saving …"}
    </p>
  );
}
