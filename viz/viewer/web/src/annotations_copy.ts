// The page as a file of its own, with the graphs and what was added to them inside.
import { remembered } from "./annotations_places";
import type { Payload } from "./payload";
import { type Pane, panes } from "./state";

export function saveCopy(pane: Pane): void {
  const address = URL.createObjectURL(new Blob([pageText()], { type: "text/html" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = `${readable(pane.graph.facts.slug).split("/").pop()}.html`;
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
  const own: readonly Payload[] = "graphs" in data ? data.graphs : "nodes" in data ? [data] : [];
  const shown = panes.value.map((pane) => pane.graph.facts);
  const others = shown.filter(({ slug }) => own.every((one) => one.slug !== slug));
  const graphs = [...own, ...others].map(annotated);
  return graphs.length === 1 ? graphs[0] : { graphs };
}

function readable(slug: string): string {
  try {
    return decodeURIComponent(slug);
  } catch {
    return slug; // a file's name with a % of its own
  }
}

function annotated(facts: Payload): Payload {
  const { served: _, ...rest } = facts;
  const open = panes.value.find((pane) => pane.graph.facts.slug === facts.slug);
  return { ...rest, annotations: open?.annotations.value ?? remembered(facts) };
}

// Nothing in it can end the element that it is in.
const inert = (value: unknown) =>
  JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
