import type { Evidence } from "../features";
import type { Example, FeatureFacts } from "../payload";
import { number, percent, tokenText } from "../text";
import { Facts, Section } from "./parts";

// What a feature does in general: the tokens that it raises and lowers, how often it is active, and where.
export function EvidenceView({ evidence }: { evidence: Evidence }) {
  if (evidence === "loading") return <p class="hint">Reading what is known of this feature …</p>;
  if (evidence === "unknown") {
    return <p class="hint">Nothing more is known of this feature. orrery features collects examples of it.</p>;
  }
  const examples = evidence.examples ?? [];
  return (
    <>
      <Logits title="Raises most" tokens={evidence.top_logits} effects={evidence.top_logit_effects} />
      <Logits title="Lowers most" tokens={evidence.bottom_logits} effects={evidence.bottom_logit_effects} />
      {(evidence.histogram ?? []).length > 0 && <Histogram facts={evidence} />}
      {examples.length > 0 && (
        <Section title="Examples">
          <ol class="examples">
            {examples.map((example, i) => (
              <ExampleView key={i} example={example} most={evidence.act_max ?? Math.max(...example.acts)} />
            ))}
          </ol>
        </Section>
      )}
    </>
  );
}

function Logits({
  title,
  tokens,
  effects,
}: {
  title: string;
  tokens?: readonly string[] | undefined;
  effects?: readonly number[] | undefined;
}) {
  if (tokens === undefined || tokens.length === 0) return null;
  return (
    <Section title={title}>
      <ul class="chips">
        {tokens.map((token, i) => (
          <li key={i} title={effects?.[i] === undefined ? undefined : `${number(effects[i])} per unit of activation`}>
            {tokenText(token)}
          </li>
        ))}
      </ul>
    </Section>
  );
}

const WIDTH = 320;
const HEIGHT = 64;

function Histogram({ facts }: { facts: FeatureFacts }) {
  const counts = facts.histogram ?? [];
  const most = Math.log1p(Math.max(...counts, 1));
  const step = WIDTH / counts.length;
  const low = facts.histogram_edges?.[0] ?? facts.act_min ?? 0;
  const high = facts.histogram_edges?.[counts.length] ?? facts.act_max;
  const total = counts.reduce((sum, count) => sum + count, 0);
  return (
    <Section title="Activations">
      <svg
        class="histogram"
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`Histogram of ${total.toLocaleString("en")} activations from ${number(low)} to ${number(high)}, counts on a logarithmic scale`}
      >
        {counts.map((count, i) => {
          const height = (HEIGHT * Math.log1p(count)) / most;
          return (
            <rect key={i} x={i * step} y={HEIGHT - height} width={Math.max(step - 1, 0.5)} height={height}>
              <title>{`${count.toLocaleString("en")} positions`}</title>
            </rect>
          );
        })}
      </svg>
      <p class="ends">
        <span>{number(low)}</span>
        <span>{number(high)}</span>
      </p>
      <Facts
        rows={[
          ["Active at", percent(facts.activation_frequency)],
          ["Largest", number(facts.act_max)],
        ]}
      />
    </Section>
  );
}

const SHADES = 5;

function ExampleView({ example, most }: { example: Example; most: number }) {
  return (
    <li>
      {example.tokens.map((token, i) => {
        const act = example.acts[i] ?? 0;
        const shade = act > 0 ? Math.max(1, Math.ceil((SHADES * Math.min(act, most)) / most)) : 0;
        const text = (i === 0 ? token.trimStart() : token).replace(/\n/g, "⏎");
        if (shade === 0) return text;
        return (
          <mark key={i} class={`act act-${shade}${i === example.train_token_ind ? " peak" : ""}`} title={number(act)}>
            {text}
          </mark>
        );
      })}
    </li>
  );
}
