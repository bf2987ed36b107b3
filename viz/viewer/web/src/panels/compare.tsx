import { comparison, ignorePositions } from "../compare";
import { closeComparison, openFile, openGraph, report } from "../open";
import { type Pane, panes, summaries } from "../state";
import { plural } from "../text";
import { NodeButton, Section } from "./parts";

// Two graphs side by side: what both have and what only one has.
export function ComparePanel(_: { pane: Pane }) {
  const result = comparison.value;
  const [a, b] = panes.value;
  if (result === null || b === undefined) return <Choose />;
  const { common, only, edges } = result;
  return (
    <>
      <div class="compared">
        <Side name="A" pane={a} />
        <Side name="B" pane={b} />
      </div>
      <label class="check">
        <input
          type="checkbox"
          checked={ignorePositions.value}
          onChange={(event) => {
            ignorePositions.value = event.currentTarget.checked;
          }}
        />
        Match features at any position
      </label>
      <table class="overlap">
        <caption>Kept at the thresholds of each graph</caption>
        <thead>
          <tr>
            <td />
            <th scope="col">in both</th>
            <th scope="col">only A</th>
            <th scope="col">only B</th>
          </tr>
        </thead>
        <tbody>
          <tr>
            <th scope="row">nodes</th>
            <td>{common.length}</td>
            <td>{only[0].length}</td>
            <td>{only[1].length}</td>
          </tr>
          <tr>
            <th scope="row">edges</th>
            <td>{edges.common}</td>
            <td>{edges.only[0]}</td>
            <td>{edges.only[1]}</td>
          </tr>
        </tbody>
      </table>
      <p class="hint">{plural(edges.turned, "common edge")} of opposite sign.</p>
      <Nodes title="Only in A" pane={a} nodes={only[0]} />
      <Nodes title="Only in B" pane={b} nodes={only[1]} />
      <Nodes title="In both" pane={a} nodes={common.map(([node]) => node)} />
      <button type="button" onClick={closeComparison}>
        Close the comparison
      </button>
    </>
  );
}

function Side({ name, pane }: { name: "A" | "B"; pane: Pane }) {
  return (
    <p>
      <span class={`side-name side-${name}`}>{name}</span> {pane.graph.facts.title}
    </p>
  );
}

const SHOWN = 60;

function Nodes({ title, pane, nodes }: { title: string; pane: Pane; nodes: readonly number[] }) {
  const rank = (node: number) => pane.graph.nodes[node].rank ?? -1;
  const ordered = [...nodes].sort((x, y) => rank(x) - rank(y));
  return (
    <details open={nodes.length > 0 && title !== "In both"}>
      <summary>
        {title} ({nodes.length})
      </summary>
      <ul class="nodes">
        {ordered.slice(0, SHOWN).map((node) => (
          <li key={node}>
            <NodeButton pane={pane} node={node} />
          </li>
        ))}
      </ul>
      {ordered.length > SHOWN && <p class="hint">The {SHOWN} most influential are listed.</p>}
    </details>
  );
}

function Choose() {
  const here = panes.value[0]?.graph.facts.slug;
  const others = summaries.value.filter(({ slug }) => slug !== here);
  return (
    <>
      <p class="hint">
        Put another graph beside this one, to see which features, embeddings and edges they share and which only one
        has.
      </p>
      {others.length > 0 && (
        <Section title="Compare with">
          <ul class="choices">
            {others.map(({ slug, title }) => (
              <li key={slug}>
                <button type="button" onClick={() => openGraph(slug, "beside").catch(report)}>
                  {title}
                </button>
              </li>
            ))}
          </ul>
        </Section>
      )}
      <Section title="From a file">
        <label class="file">
          A page written by <code>orrery export --to html</code>
          <input
            type="file"
            accept=".html,.json"
            onChange={(event) => {
              const [file] = event.currentTarget.files ?? [];
              if (file !== undefined) openFile(file, "beside").catch(report);
            }}
          />
        </label>
      </Section>
    </>
  );
}
