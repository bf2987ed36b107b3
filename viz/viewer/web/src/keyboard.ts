// Keys that work anywhere on the page, unless something is being typed.
import { isHelpOpen, pane, panes, tab } from "./state";
import { nextTheme } from "./theme";

export function listenToKeys(tabIds: readonly string[]): void {
  document.addEventListener("keydown", (event) => {
    if (isUndo(event)) return;
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || panes.value.length === 0) return;
    const digit = Number(event.key);
    if (event.key === "/") openSearch();
    else if (event.key === "g") document.querySelector<HTMLElement>(".graph.active .node-list, .node-list")?.focus();
    else if (event.key === "t") nextTheme();
    else if (event.key === "p") togglePin();
    else if (event.key === "?") isHelpOpen.value = true;
    else if (digit >= 1 && digit <= tabIds.length) tab.value = tabIds[digit - 1];
    else return;
    event.preventDefault();
  });
}

// Ctrl+Z and Ctrl+Shift+Z (or Ctrl+Y) on annotations; in a text field they are the field's own.
function isUndo(event: KeyboardEvent): boolean {
  const key = event.key.toLowerCase();
  if (!(event.ctrlKey || event.metaKey) || event.altKey || isTyping(event.target)) return false;
  if (key !== "z" && key !== "y") return false;
  pane.value?.dispatch({ type: key === "y" || event.shiftKey ? "redo" : "undo" });
  event.preventDefault();
  return true;
}

function togglePin(): void {
  const one = pane.value;
  const node = one?.selected.value ?? null;
  if (one === null || node === null) return;
  const { id } = one.graph.nodes[node];
  one.dispatch({ type: one.annotations.value.pinned.includes(id) ? "unpin" : "pin", id });
}

function openSearch(): void {
  tab.value = "search";
  requestAnimationFrame(() => document.getElementById("search")?.focus());
}

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    target.matches("input:not([type=range], [type=checkbox]), textarea, select, [contenteditable]")
  );
}
