// The subgraph of what is pinned: every block can be dragged; supernodes are one block each.
import { type Signal, signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { KindIcon } from "../graph/legend";
import type { Pane } from "../state";
import { plural } from "../text";
import { NodeButton } from "./parts";
import { type Block, blocksOf, type Link, linksOf, placesOf } from "./pins_blocks";
import { GroupForm, SupernodeList } from "./supernodes";

export const isLarge = signal(false);

const chosenIn = new WeakMap<Pane, Signal<ReadonlySet<string>>>();

// Ids of the nodes that were chosen, to be grouped.
export function chosenOf(pane: Pane): Signal<ReadonlySet<string>> {
  const found = chosenIn.get(pane) ?? signal<ReadonlySet<string>>(new Set());
  chosenIn.set(pane, found);
  return found;
}

const idsOf = (pane: Pane, block: Block) => block.nodes.map((node) => pane.graph.nodes[node].id);

function toggle(pane: Pane, block: Block): void {
  const chosen = chosenOf(pane);
  const ids = idsOf(pane, block);
  const isChosen = ids.every((id) => chosen.value.has(id));
  const others = [...chosen.value].filter((id) => !ids.includes(id));
  chosen.value = new Set(isChosen ? others : [...others, ...ids]);
}

const isChosen = (pane: Pane, block: Block) => idsOf(pane, block).every((id) => chosenOf(pane).value.has(id));

export function PinsPanel({ pane }: { pane: Pane }) {
  const blocks = blocksOf(pane);
  const singles = blocks.filter(({ supernode }) => supernode === null);
  const missing = pane.annotations.value.pinned.filter((id) => !pane.graph.numberOf.has(id)).length;
  return (
    <>
      {blocks.length === 0 && (
        <p class="hint">
          Pin nodes to put them together here: select one and press <kbd>p</kbd>. Pinned nodes can be arranged, and
          grouped into supernodes.
        </p>
      )}
      {blocks.length > 0 && !isLarge.value && <Subgraph pane={pane} />}
      <GroupForm pane={pane} chosen={chosenOf(pane)} />
      {singles.length > 0 && (
        <section class="block">
          <h3>Pinned</h3>
          <ul class="nodes pinned">
            {singles.map((block) => (
              <PinnedRow key={block.key} pane={pane} block={block} />
            ))}
          </ul>
        </section>
      )}
      {missing > 0 && <p class="hint">{plural(missing, "pinned node")} not in this page.</p>}
      <SupernodeList pane={pane} chosen={chosenOf(pane)} />
    </>
  );
}

function PinnedRow({ pane, block }: { pane: Pane; block: Block }) {
  const [node] = block.nodes;
  const { id } = pane.graph.nodes[node];
  return (
    <li>
      <input
        type="checkbox"
        aria-label={`Choose ${block.name}`}
        checked={isChosen(pane, block)}
        onChange={() => toggle(pane, block)}
      />
      <NodeButton pane={pane} node={node} />
      <button
        type="button"
        class="quiet remove"
        aria-label={`Unpin ${block.name}`}
        title="Unpin"
        onClick={() => pane.dispatch({ type: "unpin", id })}
      >
        ×
      </button>
    </li>
  );
}

// The blocks as buttons over their edges.
export function Subgraph({ pane }: { pane: Pane }) {
  const root = useRef<HTMLDivElement>(null);
  const [[width, height], setSize] = useState<readonly [number, number]>([320, 320]);
  const [dragged, setDragged] = useState<{ key: string; at: readonly [number, number] } | null>(null);
  useEffect(() => {
    const watcher = new ResizeObserver(([entry]) => setSize([entry.contentRect.width, entry.contentRect.height]));
    watcher.observe(root.current as HTMLElement);
    return () => watcher.disconnect();
  }, []);
  const blocks = blocksOf(pane);
  const perLine = Math.floor(width / (isLarge.value ? 200 : 122));
  const places = placesOf(pane, blocks, perLine).map((place, k) =>
    blocks[k].key === dragged?.key ? dragged.at : place,
  );
  const screen = places.map(([x, y]) => [x * width, y * height] as const);
  return (
    <div class={isLarge.value ? "subgraph large" : "subgraph"}>
      <div class="subgraph-tools">
        <button type="button" class="quiet" onClick={() => pane.dispatch({ type: "arrange" })}>
          Arrange by layer
        </button>
        <button
          type="button"
          class="quiet"
          aria-pressed={isLarge.value}
          onClick={() => {
            isLarge.value = !isLarge.value;
          }}
        >
          {isLarge.value ? "Back to the graph" : "Enlarge"}
        </button>
      </div>
      <div class="subgraph-area" ref={root} role="group" aria-label="Subgraph of pinned nodes">
        <Links links={linksOf(pane, blocks)} screen={screen} size={[width, height]} />
        {blocks.map((block, k) => (
          <BlockButton
            key={block.key}
            pane={pane}
            block={block}
            place={places[k]}
            size={[width, height]}
            move={(at) => setDragged(at === null ? null : { key: block.key, at })}
          />
        ))}
      </div>
    </div>
  );
}

function Links({
  links,
  screen,
  size,
}: {
  links: readonly Link[];
  screen: readonly (readonly [number, number])[];
  size: readonly [number, number];
}) {
  const most = Math.max(...links.map(({ weight }) => Math.abs(weight)), 1e-30);
  return (
    <svg class="links" width={size[0]} height={size[1]} aria-hidden="true">
      <defs>
        {["positive", "negative"].map((sign) => (
          <marker
            key={sign}
            id={`head-${sign}`}
            class={`head ${sign}`}
            viewBox="0 0 8 8"
            refX="7"
            refY="4"
            markerWidth="9"
            markerHeight="9"
            markerUnits="userSpaceOnUse"
            orient="auto"
          >
            <path d="M0 0L8 4L0 8z" />
          </marker>
        ))}
      </defs>
      {links.map(({ source, target, weight }) => {
        const [[x1, y1], [x2, y2]] = [screen[source], screen[target]];
        const sign = weight < 0 ? "negative" : "positive";
        return (
          <path
            key={`${source}-${target}`}
            class={`link ${sign}`}
            d={`M${x1} ${y1}L${x1 + (x2 - x1) * 0.5} ${y1 + (y2 - y1) * 0.5}L${x2} ${y2}`}
            marker-mid={`url(#head-${sign})`}
            stroke-width={0.6 + 4.4 * Math.sqrt(Math.abs(weight) / most)}
          />
        );
      })}
    </svg>
  );
}

const STEPS: Readonly<Record<string, readonly [number, number]>> = {
  ArrowLeft: [-0.02, 0],
  ArrowRight: [0.02, 0],
  ArrowUp: [0, -0.02],
  ArrowDown: [0, 0.02],
};
const inside = (value: number) => Math.min(0.98, Math.max(0.02, value));

function BlockButton({
  pane,
  block,
  place,
  size,
  move,
}: {
  pane: Pane;
  block: Block;
  place: readonly [number, number];
  size: readonly [number, number];
  move: (at: readonly [number, number] | null) => void;
}) {
  const drag = useRef<{ x: number; y: number; at: readonly [number, number]; isMoved: boolean } | null>(null);
  const [node] = block.nodes;
  const isSelected = pane.selected.value !== null && block.nodes.includes(pane.selected.value);
  const put = (at: readonly [number, number]) => {
    const rounded = at.map((value) => Math.round(inside(value) * 1e4) / 1e4) as [number, number];
    pane.dispatch({ type: "place", id: block.anchor, at: rounded });
  };
  const isSupernode = block.supernode !== null;
  const classes = [
    "pin-block",
    isSupernode && "supernode",
    isSelected && "selected",
    isChosen(pane, block) && "chosen",
  ];
  return (
    <button
      type="button"
      class={classes.filter(Boolean).join(" ")}
      style={{ left: `${100 * place[0]}%`, top: `${100 * place[1]}%` }}
      aria-label={
        isSupernode ? `Supernode ${block.name}, ${plural(block.nodes.length, "node")}` : pane.description(node)
      }
      aria-pressed={isChosen(pane, block)}
      title="Drag or press arrows to move; with Shift, click to choose for a group"
      onPointerDown={(event) => {
        drag.current = { x: event.clientX, y: event.clientY, at: place, isMoved: false };
        event.currentTarget.setPointerCapture(event.pointerId);
      }}
      onPointerMove={(event) => {
        const from = drag.current;
        if (from === null) return;
        const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
        from.isMoved ||= Math.hypot(dx, dy) > 4;
        if (from.isMoved) move([inside(from.at[0] + dx / size[0]), inside(from.at[1] + dy / size[1])]);
      }}
      onPointerUp={(event) => {
        const from = drag.current;
        if (from?.isMoved) {
          put([from.at[0] + (event.clientX - from.x) / size[0], from.at[1] + (event.clientY - from.y) / size[1]]);
          move(null);
        }
      }}
      onPointerCancel={() => {
        drag.current = null;
        move(null);
      }}
      onClick={(event) => {
        const wasDragged = drag.current?.isMoved === true;
        drag.current = null;
        if (wasDragged) return;
        if (event.shiftKey || event.ctrlKey || event.metaKey) toggle(pane, block);
        else pane.select(node);
      }}
      onKeyDown={(event) => {
        const step = STEPS[event.key];
        if (step === undefined) return;
        put([place[0] + step[0], place[1] + step[1]]);
        event.preventDefault();
      }}
    >
      {!isSupernode && <KindIcon kind={pane.graph.nodes[node].kind} />}
      <span>{block.name}</span>
      {isSupernode && <small>{plural(block.nodes.length, "node")}</small>}
    </button>
  );
}
