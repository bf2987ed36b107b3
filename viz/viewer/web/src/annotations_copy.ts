// The page as a file of its own, with the graphs and what was added to them inside.
import { remembered } from "./annotations_places";
import type { Payload } from "./payload";
import { type Pane, panes } from "./state";

export function saveCopy(pane: Pane): void {
  const address = URL.createObjectURL(new Blob([pageText()], { type: "text/html" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = `${decodeURIComponent(pane.graph.facts.slug).split("/").pop()}.html`;
  link.click();
  window.setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

export function pageText(): string {
  const page = document.documentElement.cloneNode(true) as HTMLElement;
  page.removeAttribute("data-theme");
  page.querySelector("#app")?.replaceChildren();
  const data = page.querySelector("#orrery-data") as HTMLElement;
  data.textContent = inert(dataNow(JSON.parse(data.textContent ?? "null")));
  return `<!doctype html>\n${page.outerHTML}\n`;
}

function dataNow(data: Payload | { readonly graphs: readonly Payload[] } | { readonly served: true }): unknown {
  if ("graphs" in data) return { graphs: data.graphs.map(annotated) };
  if ("nodes" in data) return annotated(data);
  const shown = panes.value.map((pane) => annotated(pane.graph.facts));
  return shown.length === 1 ? shown[0] : { graphs: shown };
}

function annotated(facts: Payload): Payload {
  const { served: _, ...rest } = facts;
  const open = panes.value.find((pane) => pane.graph.facts.slug === facts.slug);
  return { ...rest, annotations: open?.annotations.value ?? remembered(facts) };
}

// Nothing in it can end the element that it is in.
const inert = (value: unknown) =>
  JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
