import { isComparing } from "../compare";
import type { NodeKind } from "../payload";

const SHAPES: Readonly<Record<NodeKind, string>> = {
  feature: "M8 2a6 6 0 1 0 .01 0Z",
  error: "M8 1.5 14.5 8 8 14.5 1.5 8Z",
  token: "M2.5 2.5h11v11h-11Z",
  logit: "M8 1.5 15 13.5H1Z",
};
const NAMES: Readonly<Record<NodeKind, string>> = {
  feature: "feature",
  error: "error",
  token: "embedding",
  logit: "logit",
};

export function KindIcon({ kind }: { kind: NodeKind }) {
  return (
    <svg class={`kind kind-${kind}`} viewBox="0 0 16 16" width="13" height="13" aria-hidden="true">
      <path d={SHAPES[kind]} />
    </svg>
  );
}

export function Legend() {
  return (
    <ul class="legend" aria-label="Legend">
      {(Object.keys(NAMES) as NodeKind[]).map((kind) => (
        <li key={kind}>
          <KindIcon kind={kind} />
          {NAMES[kind]}
        </li>
      ))}
      <li>
        <i class="stroke positive" aria-hidden="true" />
        raises
      </li>
      <li>
        <i class="stroke negative" aria-hidden="true" />
        lowers
      </li>
      {isComparing.value && (
        <li>
          <i class="dot only" aria-hidden="true" />
          only in this graph
        </li>
      )}
    </ul>
  );
}
