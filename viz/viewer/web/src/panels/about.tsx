import type { Pane } from "../state";
import { number, percent, plural } from "../text";
import { Facts, Section } from "./parts";

const SCORES: Readonly<Record<string, string>> = {
  replacement_score: "Replacement, whole graph",
  completeness_score: "Completeness, whole graph",
  circuit_replacement_score: "Replacement, as exported",
  circuit_completeness_score: "Completeness, as exported",
};

// Where the graph comes from and how far it can be trusted.
export function AboutPanel({ pane }: { pane: Pane }) {
  const { facts } = pane.graph;
  const { settings, books, scores, left_out: leftOut } = facts;
  return (
    <>
      <Section title="How much is explained">
        <Facts
          wide
          rows={Object.entries(scores).map(([name, value]) => [SCORES[name] ?? name, number(value)] as const)}
        />
        <p class="hint">
          Replacement: the share of influence that reaches the logits from tokens, through features alone. Completeness:
          the share of all inputs that are not errors.
        </p>
      </Section>
      <Section title="Books">
        <Facts wide rows={[["Largest residual", number(books.residual as number)]]} />
        <p class="hint">In the whole graph, edges, constants and what was left out add up to the model’s own values.</p>
      </Section>
      {leftOut.nodes > 0 && (
        <p class="hint">
          {plural(leftOut.nodes, "node")} with {percent(leftOut.influence_share)} of the influence are in the graph’s
          file and not in this page.
        </p>
      )}
      <Section title="Made from">
        <Facts wide rows={Object.entries(settings).flatMap(([name, value]) => rowsOf(name, value))} />
      </Section>
    </>
  );
}

function rowsOf(name: string, value: unknown): (readonly [string, string])[] {
  if (value === null || value === undefined || value === "") return [];
  if (typeof value !== "object") return [[name.replaceAll("_", " "), String(value)]];
  return Object.entries(value).flatMap(([key, inner]) => rowsOf(`${name}: ${key}`, inner));
}
