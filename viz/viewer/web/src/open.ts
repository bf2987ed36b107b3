// Opening graphs: the first one, another one, a second one to compare with, and one from a file.
import { batch } from "@preact/signals";
import { decode, type Payload, PayloadError } from "./payload";
import { activePane, Pane, panes, problem, source, summaries, tab } from "./state";

const opened = new Map<string, Payload>(); // from files, by their names in this page

export async function openGraph(slug: string, place: "alone" | "beside" = "alone"): Promise<void> {
  const found = opened.get(slug) ?? (await source.value?.graph(slug));
  if (found !== undefined) show(found, place);
}

export function show(payload: Payload, place: "alone" | "beside"): void {
  const added = new Pane(decode(payload));
  batch(() => {
    const first = panes.value[0];
    const isBeside = place === "beside" && first !== undefined;
    panes.value = isBeside ? [first, added] : [added];
    activePane.value = 0;
    problem.value = null;
    if (isBeside) tab.value = "compare";
    else if (tab.value === "compare") tab.value = "node";
  });
}

export function closeComparison(): void {
  const kept = panes.value[0];
  batch(() => {
    kept.unmatched.value = null;
    panes.value = [kept];
    activePane.value = 0;
    tab.value = "node";
  });
}

// A page that was exported, or the graph of one as JSON.
export async function openFile(file: File, place: "alone" | "beside"): Promise<void> {
  const text = await file.text();
  const inPage = new DOMParser().parseFromString(text, "text/html").getElementById("orrery-data")?.textContent;
  let payload: Payload;
  try {
    const data = JSON.parse(inPage ?? text);
    payload = data?.graphs?.[0] ?? data;
  } catch {
    throw new PayloadError(`${file.name} is no page with a graph: choose one written by orrery export --to html.`);
  }
  let slug = payload?.slug;
  for (let k = 2; summaries.value.some((one) => one.slug === slug); k++) slug = `${payload.slug}-${k}`;
  const named = { ...payload, slug };
  show(named, place); // raises if it is no graph
  opened.set(slug, named);
  summaries.value = [...summaries.value, { slug, title: named.title }];
}

export function report(error: unknown): void {
  problem.value = error instanceof Error ? error.message : String(error);
}
