import { Fragment } from "preact";
import { AnnotationsBar } from "./annotations_bar";
import { GraphView } from "./graph/view";
import { Help } from "./help";
import { openGraph, report } from "./open";
import { tabs } from "./panels";
import { isLarge, Subgraph } from "./panels/pins";
import { isHelpOpen, notice, type Pane, pane, panes, problem, summaries, tab, theme } from "./state";
import { nextTheme } from "./theme";

export function App() {
  const current = pane.value;
  return (
    <Fragment>
      {problem.value !== null && <Problem text={problem.value} />}
      {current === null && problem.value === null && (
        <p class="opening" role="status">
          Opening the graph …
        </p>
      )}
      {current !== null && <Page pane={current} />}
      <p class="unseen" role="status" aria-live="polite">
        {notice.value}
      </p>
      <Help />
    </Fragment>
  );
}

function Problem({ text }: { text: string }) {
  return (
    <div class="problem" role="alert">
      <p>{text}</p>
      {pane.value !== null && (
        <button
          type="button"
          onClick={() => {
            problem.value = null;
          }}
        >
          Close
        </button>
      )}
    </div>
  );
}

function Page({ pane }: { pane: Pane }) {
  return (
    <div class="page">
      <Bar pane={pane} />
      <main class={panes.value.length > 1 ? "graphs compared" : "graphs"}>
        {isLarge.value ? (
          <Subgraph pane={pane} />
        ) : (
          panes.value.map((one, side) => <GraphView key={one.graph.facts.slug} pane={one} side={side} />)
        )}
      </main>
      <aside class="side" aria-label="Details">
        <SideTabs pane={pane} />
      </aside>
    </div>
  );
}

function Bar({ pane }: { pane: Pane }) {
  const isChoice = summaries.value.length > 1 && panes.value.length === 1;
  return (
    <header class="bar">
      <Logo />
      <h1 class={isChoice ? "unseen" : ""} title={pane.graph.facts.prompt}>
        {pane.graph.facts.title}
      </h1>
      {isChoice && (
        <select
          class="title"
          aria-label="Graph"
          value={pane.graph.facts.slug}
          onChange={(event) => openGraph(event.currentTarget.value).catch(report)}
        >
          {summaries.value.map(({ slug, title }) => (
            <option key={slug} value={slug}>
              {title}
            </option>
          ))}
        </select>
      )}
      <span class="space" />
      <AnnotationsBar pane={pane} />
      <button type="button" class="quiet" onClick={nextTheme} title="Light, dark, or as the system has it (t)">
        {{ system: "Auto", light: "Light", dark: "Dark" }[theme.value]}
        <span class="unseen"> colours; change</span>
      </button>
      <button
        type="button"
        class="quiet"
        title="Keyboard and mouse (?)"
        onClick={() => {
          isHelpOpen.value = true;
        }}
      >
        Help
      </button>
    </header>
  );
}

function Logo() {
  return (
    <svg class="logo" viewBox="0 0 24 24" width="22" height="22" aria-hidden="true">
      <ellipse cx="12" cy="12" rx="10.5" ry="4.6" transform="rotate(-28 12 12)" />
      <circle cx="12" cy="12" r="3.2" />
      <circle class="moon" cx="20.6" cy="6.2" r="1.9" />
    </svg>
  );
}

function SideTabs({ pane }: { pane: Pane }) {
  const place = Math.max(
    tabs.findIndex(({ id }) => id === tab.value),
    0,
  );
  const current = tabs[place];
  const onKeyDown = (event: KeyboardEvent) => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (step === 0) return;
    const next = tabs[(place + step + tabs.length) % tabs.length].id;
    tab.value = next;
    document.getElementById(`tab-${next}`)?.focus();
    event.preventDefault();
  };
  return (
    <>
      <div class="tabs" role="tablist" aria-label="Details" onKeyDown={onKeyDown}>
        {tabs.map(({ id, title }) => (
          <button
            key={id}
            type="button"
            role="tab"
            id={`tab-${id}`}
            tabIndex={id === current.id ? 0 : -1}
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
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a panel that scrolls must be reached by the keyboard */}
      <div class="panel" role="tabpanel" id="tab-panel" tabIndex={0} aria-labelledby={`tab-${current.id}`}>
        <current.Panel key={pane.graph.facts.slug} pane={pane} />
      </div>
    </>
  );
}
