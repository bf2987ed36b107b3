import { effect } from "@preact/signals";
import { render } from "preact";
import { keepAnnotations } from "./annotations_keeper";
import { merge } from "./annotations_merge";
import { App } from "./app";
import { followComparison } from "./compare";
import { listenToKeys } from "./keyboard";
import { openGraph, report } from "./open";
import { tabs } from "./panels";
import { openSource } from "./source";
import { notice, pane, panes, source, summaries } from "./state";
import { followTheme } from "./theme";

async function start(): Promise<void> {
  source.value = openSource();
  summaries.value = await source.value.list();
  const [first] = summaries.value;
  if (first === undefined) throw new Error('There is no graph here yet: orrery trace "..." -o FOLDER makes one.');
  const wanted = decodeURIComponent(location.hash.slice(1));
  const slug = summaries.value.some((one) => one.slug === wanted) ? wanted : first.slug;
  await openGraph(slug);
}

followTheme();
followComparison();
keepAnnotations();
listenToKeys(tabs.map(({ id }) => id));
effect(() => {
  const one = pane.value;
  document.title = one === null ? "Orrery" : `${one.graph.facts.title} · Orrery`;
  const node = one?.selected.value ?? null;
  notice.value = one === null || node === null ? "" : one.description(node);
});
render(<App />, document.getElementById("app") as HTMLElement);
start().catch(report);
// For tests and for the console.
Object.assign(window, { orrery: { panes, merge } });
