import { GraphView } from "./graph/view";
import { tabs } from "./panels";
import { type Pane, pane, panes, problem, tab } from "./state";

export function App() {
  if (problem.value !== null) return <p role="alert">{problem.value}</p>;
  if (pane.value === null) return <p role="status">Opening the graph …</p>;
  return (
    <div class="page">
      <header class="bar">
        <h1>{pane.value.graph.facts.title}</h1>
      </header>
      <main class="graphs">
        {panes.value.map((one) => (
          <GraphView key={one.graph.facts.slug} pane={one} />
        ))}
      </main>
      <aside class="side" aria-label="Details">
        <SideTabs pane={pane.value} />
      </aside>
    </div>
  );
}

function SideTabs({ pane }: { pane: Pane }) {
  const current = tabs.find(({ id }) => id === tab.value) ?? tabs[0];
  return (
    <>
      <div class="tabs" role="tablist">
        {tabs.map(({ id, title }) => (
          <button
            key={id}
            type="button"
            role="tab"
            id={`tab-${id}`}
            aria-selected={id === current.id}
            aria-controls="tab-panel"
            onClick={() => {
              tab.value = id;
            }}
          >
            {title}
          </button>
        ))}
      </div>
      <div class="panel" role="tabpanel" id="tab-panel" aria-labelledby={`tab-${current.id}`}>
        <current.Panel pane={pane} />
      </div>
    </>
  );
}
