import { useComputed } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { type Direction, neighbour, readingOrder, strongest } from "../order";
import { activePane, type Pane, panes, tab } from "../state";
import { tokenText } from "../text";
import { GraphCanvas } from "./canvas";
import { Controls } from "./controls";
import { Legend } from "./legend";

// One graph: the prompt, the drawing, and the sliders.
export function GraphView({ pane, side }: { pane: Pane; side: number }) {
  const isCompared = panes.value.length > 1;
  const activate = () => {
    activePane.value = side;
  };
  return (
    <section
      class={isCompared && activePane.value === side ? "graph active" : "graph"}
      aria-label={`Graph ${isCompared ? "AB"[side] : ""}`.trim()}
      onPointerDownCapture={activate}
      onFocusCapture={activate}
    >
      <Prompt pane={pane} name={isCompared ? "AB"[side] : null} />
      <Drawing pane={pane} />
      <Controls pane={pane} />
    </section>
  );
}

function Prompt({ pane, name }: { pane: Pane; name: string | null }) {
  const { nodes, facts, tokenNodes } = pane.graph;
  const selected = pane.selected.value;
  const pos = selected === null ? -1 : nodes[selected].pos;
  return (
    <div class="prompt">
      {name !== null && <span class={`side-name side-${name}`}>{name}</span>}
      <ol aria-label="Tokens of the prompt">
        {facts.tokens.map((token, position) => {
          const node = tokenNodes[position];
          return (
            <li key={position}>
              <button
                type="button"
                class={position === pos ? "token here" : "token"}
                aria-pressed={selected === node}
                title={`Position ${position}`}
                onClick={() => pane.select(selected === node ? null : node)}
              >
                {tokenText(token)}
              </button>
            </li>
          );
        })}
      </ol>
    </div>
  );
}

function Drawing({ pane }: { pane: Pane }) {
  const root = useRef<HTMLDivElement>(null);
  const sheets = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const [canvas, setCanvas] = useState<GraphCanvas | null>(null);
  useEffect(() => {
    const made = new GraphCanvas(root.current as HTMLElement, sheets.current as HTMLElement, pane);
    setCanvas(made);
    return () => made.close();
  }, [pane]);
  const point = (event: MouseEvent) => {
    const box = (root.current as HTMLElement).getBoundingClientRect();
    return canvas?.nodeAt(event.clientX - box.left, event.clientY - box.top) ?? null;
  };
  return (
    <div
      class="drawing"
      ref={root}
      onClick={(event) => {
        pane.select(point(event));
        list.current?.focus({ preventScroll: true });
      }}
      onPointerMove={(event) => {
        pane.hovered.value = event.buttons === 0 ? point(event) : null;
      }}
      onPointerLeave={() => {
        pane.hovered.value = null;
      }}
    >
      <div class="sheets" ref={sheets} aria-hidden="true" />
      {canvas !== null && (
        <>
          <NodeList pane={pane} canvas={canvas} list={list} />
          <Tooltip pane={pane} canvas={canvas} />
          <ZoomButtons canvas={canvas} />
        </>
      )}
      <Legend />
    </div>
  );
}

const ARROWS: Readonly<Record<string, Direction>> = {
  ArrowLeft: "left",
  ArrowRight: "right",
  ArrowUp: "up",
  ArrowDown: "down",
};
const WINDOW = 10; // nodes before and after the current one that are in the list

// The nodes as a list: what a screen reader reads and the keyboard moves in. Only a window of it is in the page.
function NodeList({
  pane,
  canvas,
  list,
}: {
  pane: Pane;
  canvas: GraphCanvas;
  list: { current: HTMLDivElement | null };
}) {
  const order = useComputed(() => readingOrder(pane)).value;
  const selected = pane.selected.value;
  const place = selected === null ? -1 : order.indexOf(selected);
  const first = Math.max(0, place - WINDOW);
  const go = (node: number | null | undefined) => {
    if (node === null || node === undefined) return;
    pane.select(node);
    canvas.reveal(node);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const current = place < 0 ? null : (selected as number);
    const arrow = ARROWS[event.key];
    const actions: Readonly<Record<string, () => void>> = {
      Home: () => go(order[0]),
      End: () => go(order[order.length - 1]),
      i: () => current !== null && follow(pane, current, "inputs", go),
      o: () => current !== null && follow(pane, current, "outputs", go),
      "+": () => canvas.scaleBy(1.3),
      "=": () => canvas.scaleBy(1.3),
      "-": () => canvas.scaleBy(1 / 1.3),
      "0": () => canvas.fit(),
      Escape: () => pane.select(null),
      Enter: () => {
        tab.value = "node";
      },
    };
    const action =
      arrow === undefined
        ? actions[event.key]
        : event.shiftKey
          ? () => canvas.panBy(...PAN[arrow])
          : () => go(current === null ? order[0] : neighbour(pane, order, current, arrow));
    if (action === undefined) return;
    event.preventDefault();
    action();
  };
  return (
    <div
      class="node-list"
      ref={list}
      role="listbox"
      tabIndex={0}
      aria-label="Nodes of the graph, from the logits down"
      aria-activedescendant={place < 0 ? undefined : optionId(pane, order[place])}
      onKeyDown={onKeyDown}
    >
      {order.slice(first, first + 2 * WINDOW + 1).map((node, i) => (
        <div
          key={node}
          id={optionId(pane, node)}
          role="option"
          tabIndex={-1}
          aria-selected={node === selected}
          aria-setsize={order.length}
          aria-posinset={first + i + 1}
        >
          {pane.description(node)}
        </div>
      ))}
    </div>
  );
}

const PAN: Readonly<Record<Direction, readonly [number, number]>> = {
  left: [80, 0],
  right: [-80, 0],
  up: [0, 80],
  down: [0, -80],
};

const optionId = (pane: Pane, node: number) => `node-${panes.value.indexOf(pane)}-${node}`;

function follow(pane: Pane, node: number, way: "inputs" | "outputs", go: (node: number | undefined) => void): void {
  const [edge] = strongest(pane, node, way);
  if (edge !== undefined) go(way === "inputs" ? pane.graph.source[edge] : pane.graph.target[edge]);
}

function Tooltip({ pane, canvas }: { pane: Pane; canvas: GraphCanvas }) {
  const node = pane.hovered.value;
  if (node === null || !pane.pruned.value.nodes[node]) return null;
  canvas.transform.value; // follow the view
  const [x, y] = canvas.onScreen(node);
  const isRight = x > pane.size.value[0] * 0.65;
  return (
    <>
      <div class="hover-ring" style={{ transform: `translate(${x}px, ${y}px)` }} />
      <div class={isRight ? "tooltip left" : "tooltip"} style={{ transform: `translate(${x}px, ${y}px)` }}>
        <div>
          <b>{pane.label(node)}</b>
          <span>{pane.description(node)}</span>
        </div>
      </div>
    </>
  );
}

function ZoomButtons({ canvas }: { canvas: GraphCanvas }) {
  // A click on a button is none on the graph.
  const stop = (event: Event) => event.stopPropagation();
  return (
    <div class="zoom-buttons" role="group" aria-label="Zoom" onClick={stop} onDblClick={stop} onPointerDown={stop}>
      <button type="button" aria-label="Zoom in" title="Zoom in (+)" onClick={() => canvas.scaleBy(1.3)}>
        +
      </button>
      <button type="button" aria-label="Zoom out" title="Zoom out (−)" onClick={() => canvas.scaleBy(1 / 1.3)}>
        −
      </button>
      <button type="button" aria-label="Fit the graph" title="Fit (0)" onClick={() => canvas.fit()}>
        ⤢
      </button>
    </div>
  );
}
