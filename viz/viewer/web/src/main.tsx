import { render } from "preact";
import { App } from "./app";
import { decode } from "./payload";
import { openSource } from "./source";
import { Pane, panes, problem } from "./state";

async function start(): Promise<void> {
  const source = openSource();
  const [first] = await source.list();
  panes.value = [new Pane(decode(await source.graph(first.slug)))];
}

start().catch((error: Error) => {
  problem.value = error.message;
});
render(<App />, document.getElementById("app") as HTMLElement);
