// Keys that work anywhere on the page, unless something is being typed.
import { isHelpOpen, panes, tab } from "./state";
import { nextTheme } from "./theme";

export function listenToKeys(tabIds: readonly string[]): void {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || panes.value.length === 0) return;
    const digit = Number(event.key);
    if (event.key === "/") openSearch();
    else if (event.key === "g") document.querySelector<HTMLElement>(".graph.active .node-list, .node-list")?.focus();
    else if (event.key === "t") nextTheme();
    else if (event.key === "?") isHelpOpen.value = true;
    else if (digit >= 1 && digit <= tabIds.length) tab.value = tabIds[digit - 1];
    else return;
    event.preventDefault();
  });
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
