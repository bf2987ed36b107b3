// Steering: what is done to which features, and what the model then says. Only where a server has the model.
import { type Signal, signal } from "@preact/signals";
import { failure, sent } from "../annotations_places";
import type { Pane } from "../state";
import { number, percent, plural, tokenText } from "../text";
import { Facts, Section } from "./parts";
import {
  type Answer,
  type Edit,
  featuresOf,
  isComplete,
  type Operation,
  requestOf,
  type TokenValue,
} from "./steer_request";

interface Steering {
  readonly edits: Signal<readonly Edit[]>;
  readonly mode: Signal<string>;
  readonly generate: Signal<number>;
  readonly goesOn: Signal<boolean>;
  readonly answer: Signal<Answer | "running" | Error | null>;
}

const steeringOf = new WeakMap<Pane, Steering>();

function steering(pane: Pane): Steering {
  const found = steeringOf.get(pane) ?? {
    edits: signal<readonly Edit[]>([]),
    mode: signal("free"),
    generate: signal(0),
    goesOn: signal(false),
    answer: signal<Answer | "running" | Error | null>(null),
  };
  steeringOf.set(pane, found);
  return found;
}

export function SteerPanel({ pane }: { pane: Pane }) {
  const { served } = pane.graph.facts;
  if (served === undefined) {
    return <p class="hint">To steer the model from this page, serve it: orrery view FOLDER, with --model if needed.</p>;
  }
  if (!served.steer) {
    return (
      <p class="hint">
        The model of this graph is not loaded: start orrery view with the --model and --transcoder that it was traced
        with.
      </p>
    );
  }
  const { edits } = steering(pane);
  return (
    <>
      <p class="hint">Change features on the prompt, and see what the model then says.</p>
      <Add pane={pane} />
      <ul class="edits">
        {edits.value.map((edit, k) => (
          <EditRow key={edit.key} pane={pane} edit={edit} place={k} />
        ))}
      </ul>
      {edits.value.length > 0 && <Run pane={pane} />}
      <AnswerView pane={pane} />
    </>
  );
}

// The selected feature, or a supernode.
function Add({ pane }: { pane: Pane }) {
  const { edits } = steering(pane);
  const node = pane.selected.value;
  const isFeature = node !== null && pane.graph.nodes[node].kind === "feature";
  const add = (key: string, name: string, nodes: readonly number[]) => {
    const others = edits.value.filter((edit) => edit.key !== key);
    edits.value = [...others, { key, name, nodes, operation: "scale", value: -1 }];
  };
  const supernodes = pane.annotations.value.supernodes.map(([name, ...ids]) => [name, featuresOf(pane, ids)] as const);
  return (
    <div class="steer-add">
      <button
        type="button"
        disabled={!isFeature}
        onClick={() => node !== null && add(pane.graph.nodes[node].id, pane.name(node), [node])}
      >
        Add the selected feature
      </button>
      {supernodes.map(([name, nodes]) => (
        <button
          key={`${name} ${nodes[0]}`}
          type="button"
          disabled={nodes.length === 0}
          onClick={() => add(`supernode ${nodes.join(" ")}`, name, nodes)}
        >
          Add supernode {name}
        </button>
      ))}
      {!isFeature && <p class="hint">Select a feature in the graph first.</p>}
    </div>
  );
}

function EditRow({ pane, edit, place }: { pane: Pane; edit: Edit; place: number }) {
  const { edits } = steering(pane);
  const change = (part: Partial<Edit>) => {
    edits.value = edits.value.map((one, k) => (k === place ? { ...one, ...part } : one));
  };
  return (
    <li>
      <span class="name" title={edit.name}>
        {edit.name}
        {edit.nodes.length > 1 && <small> {plural(edit.nodes.length, "feature")}</small>}
      </span>
      <button
        type="button"
        class="quiet remove"
        aria-label={`Leave ${edit.name} alone`}
        onClick={() => {
          edits.value = edits.value.filter((_, k) => k !== place);
        }}
      >
        ×
      </button>
      <select
        aria-label={`What to do with ${edit.name}`}
        value={edit.operation}
        onChange={(event) => change({ operation: event.currentTarget.value as Operation })}
      >
        <option value="scale">times</option>
        <option value="set">set to</option>
        <option value="add">plus</option>
        <option value="ablate">ablate</option>
      </select>
      {edit.operation !== "ablate" && (
        <input
          type="number"
          step="any"
          aria-label={`Value for ${edit.name}`}
          value={Number.isNaN(edit.value) ? "" : edit.value}
          onInput={(event) => change({ value: event.currentTarget.valueAsNumber })}
        />
      )}
    </li>
  );
}

const MODES = [
  ["free", "later MLPs run"],
  ["iterative", "later features are computed again"],
  ["direct", "only attention carries it, as in the graph"],
] as const;

function Run({ pane }: { pane: Pane }) {
  const { edits, mode, generate, goesOn, answer } = steering(pane);
  const canRun = isComplete(edits.value) && answer.value !== "running";
  return (
    <form
      class="steer-run"
      onSubmit={(event) => {
        event.preventDefault();
        if (canRun) run(pane);
      }}
    >
      <label>
        Mode
        <select
          value={mode.value}
          onChange={(event) => {
            mode.value = event.currentTarget.value;
          }}
        >
          {MODES.map(([name, what]) => (
            <option key={name} value={name}>
              {name}: {what}
            </option>
          ))}
        </select>
      </label>
      <label>
        Go on for
        <input
          type="number"
          min={0}
          max={32}
          value={generate.value}
          onInput={(event) => {
            generate.value = Math.min(32, Math.max(0, Math.round(event.currentTarget.valueAsNumber || 0)));
          }}
        />
        tokens
      </label>
      <label class="check">
        <input
          type="checkbox"
          checked={goesOn.value}
          onChange={(event) => {
            goesOn.value = event.currentTarget.checked;
          }}
        />
        at all later positions too
      </label>
      <button type="submit" disabled={!canRun}>
        Steer
      </button>
    </form>
  );
}

async function run(pane: Pane): Promise<void> {
  const { edits, mode, generate, goesOn, answer } = steering(pane);
  answer.value = "running";
  try {
    const request = requestOf(pane, edits.value, mode.value, generate.value, goesOn.value);
    const response = await sent("POST", "api/steer", request);
    if (!response.ok) throw await failure(response);
    answer.value = (await response.json()) as Answer;
  } catch (error) {
    answer.value = error instanceof Error ? error : new Error(String(error));
  }
}

function AnswerView({ pane }: { pane: Pane }) {
  const answer = steering(pane).answer.value;
  if (answer === null) return null;
  if (answer === "running") return <p role="status">The model runs …</p>;
  if (answer instanceof Error) return <p role="alert">{answer.message}</p>;
  const { before, after, continuation_before: saidBefore, continuation_after: saidAfter } = answer;
  return (
    <>
      <Section title="What the model says next">
        <Tokens before={before} after={after} />
      </Section>
      {saidAfter !== null && (
        <Section title="And goes on">
          <Facts
            rows={[
              ["before", saidBefore ?? ""],
              ["after", saidAfter],
            ]}
          />
        </Section>
      )}
      <Section title={`Changed features (${answer.n_changed_features.toLocaleString("en")})`}>
        <Facts
          rows={answer.changed_features.map(({ layer, pos, feature_idx: index, before, after, label }) => [
            `${label ?? `feature ${layer}/${index}`} at ${pos}`,
            `${number(before)} → ${number(after)}`,
          ])}
        />
      </Section>
    </>
  );
}

// The likeliest tokens of both, by what they gain or lose.
function Tokens({ before, after }: { before: readonly TokenValue[]; after: readonly TokenValue[] }) {
  const was = new Map(before.map((one) => [one.token_id, one]));
  const now = new Map(after.map((one) => [one.token_id, one]));
  const ids = [...new Set([...after, ...before].map((one) => one.token_id))];
  return (
    <table class="overlap steered">
      <caption>Probabilities and logits; “–” is not among the likeliest</caption>
      <thead>
        <tr>
          <th scope="col">token</th>
          <th scope="col">before</th>
          <th scope="col">after</th>
        </tr>
      </thead>
      <tbody>
        {ids.map((id) => (
          <tr key={id}>
            <th scope="row">{tokenText((now.get(id) ?? was.get(id))?.token ?? "")}</th>
            <Cell value={was.get(id)} />
            <Cell value={now.get(id)} />
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Cell({ value }: { value: TokenValue | undefined }) {
  if (value === undefined) return <td>–</td>;
  return (
    <td>
      {percent(value.probability)} <small>{number(value.logit)}</small>
    </td>
  );
}
