// The drawn graph. Bitmaps come from the painter and are larger than what is seen; panning and zooming move and scale
// them, and a new one is asked for when the gesture rests or comes near the old one's edge.
import { effect, signal } from "@preact/signals";
import { type Quadtree, quadtree } from "d3-quadtree";
import { select } from "d3-selection";
import { type ZoomTransform, zoom, zoomIdentity } from "d3-zoom";
import { LARGEST } from "../placement";
import { type Pane, theme } from "../state";
import { Axes } from "./axes";
import { type Colours, nodeRadius, type View } from "./draw";
import { openPainter, type Painter } from "./painter";
import { makeScene, type Scene } from "./scene";
import { readColours } from "./theme";
import type { Drawn, Layer } from "./worker";

const MARGIN = 0.3; // of the seen width and height, on every side
const NEAR_MARGIN = 0.12;
const REST = 120; // milliseconds without movement
const MAX_PIXELS = 16e6;
const AXIS = { left: 52, bottom: 30, top: 46, right: 20 };
const REACH = 14; // pixels from a node's centre within which the pointer means it

interface Sheet {
  readonly canvas: HTMLCanvasElement;
  readonly context: ImageBitmapRenderingContext;
  view: View | null; // of the picture that is shown
  asked: View | null; // of the latest request, until it is answered in full
}

// Without the call that a subscription begins with.
function onChange(act: () => void): () => void {
  let isFirst = true;
  return () => {
    if (!isFirst) act();
    isFirst = false;
  };
}

export class GraphCanvas {
  readonly transform = signal<ZoomTransform>(zoomIdentity);
  private readonly sheets: Record<Layer, Sheet>;
  private readonly axes: Axes;
  private readonly painter: Painter;
  private readonly zoom = zoom<HTMLElement, unknown>();
  private readonly disposers: (() => void)[] = [];
  private tree: Quadtree<number> = quadtree();
  private scene: Scene | null = null;
  private colours: Colours;
  private restTimer = 0;
  private frame = 0;
  private isFitted = true;

  constructor(
    private readonly root: HTMLElement,
    private readonly sheetsElement: HTMLElement,
    private readonly pane: Pane,
  ) {
    this.sheets = { graph: this.sheet("graph"), focus: this.sheet("focus") };
    this.axes = new Axes(sheetsElement, AXIS);
    this.colours = readColours(root);
    this.painter = openPainter((result) => this.show(result));
    this.listen();
  }

  close(): void {
    for (const dispose of this.disposers) dispose();
    this.painter.close();
  }

  fit(animate = true): void {
    const { placement, size } = this.pane;
    const { width, height } = placement.value;
    const k = Math.min(size.value[0] / width, size.value[1] / height, LARGEST);
    const x = AXIS.left + (size.value[0] - k * width) / 2;
    const y = AXIS.top + (size.value[1] - k * height) / 2;
    this.move(zoomIdentity.translate(x, y).scale(k), animate);
    this.isFitted = true;
  }

  scaleBy(factor: number): void {
    this.zoom.scaleBy(select(this.root), factor);
  }

  panBy(x: number, y: number): void {
    this.zoom.translateBy(select(this.root), x / this.transform.value.k, y / this.transform.value.k);
  }

  // Moves the view, no further than needed, so that a node is well inside it.
  reveal(node: number): void {
    const [x, y] = this.onScreen(node);
    const { clientWidth: width, clientHeight: height } = this.root;
    const within = (value: number, low: number, high: number) => Math.min(Math.max(value, low), Math.max(low, high));
    const [inX, inY] = [within(x, AXIS.left + 12, width - 24), within(y, AXIS.top, height - AXIS.bottom - 12)];
    if (inX !== x || inY !== y) {
      // Then with what is around it.
      const [toX, toY] = [within(x, AXIS.left + 120, width - 120), within(y, 110, height - AXIS.bottom - 90)];
      this.panBy(toX - x, toY - y);
    }
  }

  onScreen(node: number): readonly [number, number] {
    const { x, y } = this.pane.placement.value;
    return this.transform.value.apply([x[node], y[node]]);
  }

  nodeAt(x: number, y: number): number | null {
    const [px, py] = this.transform.value.invert([x, y]);
    return this.tree.find(px, py, Math.max(REACH, nodeRadius(this.transform.value.k)) / this.transform.value.k) ?? null;
  }

  private sheet(name: string): Sheet {
    const canvas = this.sheetsElement.appendChild(document.createElement("canvas"));
    canvas.className = `sheet sheet-${name}`;
    const context = canvas.getContext("bitmaprenderer", { alpha: name === "focus" }) as ImageBitmapRenderingContext;
    return { canvas, context, view: null, asked: null };
  }

  private listen(): void {
    const { root } = this;
    this.zoom
      .scaleExtent([0.002, 12])
      .clickDistance(4)
      .on("zoom", ({ transform, sourceEvent }) => {
        this.transform.value = transform;
        if (sourceEvent) this.isFitted = false;
        this.schedule();
      });
    select(root).call(this.zoom).on("dblclick.zoom", null);
    const observer = new ResizeObserver(() => this.resized());
    observer.observe(root);
    this.setSize();
    const media = matchMedia("(prefers-color-scheme: dark)");
    const recolour = () => {
      this.colours = readColours(root);
      this.askAll();
      this.schedule();
    };
    media.addEventListener("change", recolour);
    this.disposers.push(
      () => observer.disconnect(),
      () => media.removeEventListener("change", recolour),
      effect(() => this.painter.labels(this.pane.shortLabels.value)),
      effect(() => this.setScene()),
      effect(() => this.setFocus()),
      theme.subscribe(onChange(recolour)),
    );
  }

  private setSize(): boolean {
    const { clientWidth: width, clientHeight: height } = this.root;
    const inner = [width - AXIS.left - AXIS.right, height - AXIS.top - AXIS.bottom].map((one) => Math.max(one, 100));
    const old = this.pane.size.peek();
    if (width === 0 || height === 0 || (old[0] === inner[0] && old[1] === inner[1])) return false;
    this.pane.size.value = [inner[0], inner[1]];
    return true;
  }

  private resized(): void {
    if (!this.setSize()) return;
    if (this.isFitted) this.fit(false);
    this.askAll();
    this.schedule();
  }

  private setScene(): void {
    const { graph, pruned, placement, marks } = this.pane;
    this.scene = makeScene(graph, pruned.value, placement.value, marks.value);
    const { x, y, visible } = this.scene;
    this.tree = quadtree<number>(
      [...visible],
      (node) => x[node],
      (node) => y[node],
    );
    this.painter.scene(this.scene);
    if (this.isFitted) this.fit(false);
    this.askAll();
    this.schedule();
  }

  private setFocus(): void {
    const node = this.pane.selected.value;
    const isShown = node !== null && this.pane.pruned.value.nodes[node] === 1;
    this.root.classList.toggle("focused", isShown);
    if (isShown) this.ask("focus");
  }

  private move(transform: ZoomTransform, animate: boolean): void {
    const { root } = this;
    if (!animate || matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this.zoom.transform(select(root), transform);
      return;
    }
    const from = this.transform.peek();
    const start = performance.now();
    const step = () => {
      const t = Math.min(1, (performance.now() - start) / 180);
      const e = 1 - (1 - t) ** 3;
      const mix = (a: number, b: number) => a + (b - a) * e;
      const next = zoomIdentity
        .translate(mix(from.x, transform.x), mix(from.y, transform.y))
        .scale(mix(from.k, transform.k));
      this.zoom.transform(select(root), next);
      if (t < 1) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  private askAll(): void {
    this.ask("graph");
    if (this.pane.selected.peek() !== null) this.ask("focus");
  }

  private ask(layer: Layer): void {
    const { clientWidth: width, clientHeight: height } = this.root;
    if (width === 0 || height === 0 || this.scene === null) return;
    const view = this.view(MARGIN);
    this.sheets[layer].asked = view;
    this.painter.draw({
      type: "draw",
      layer,
      view,
      near: this.view(NEAR_MARGIN),
      colours: this.colours,
      focus: this.pane.selected.peek() ?? -1,
    });
  }

  private view(margin: number): View {
    const { clientWidth, clientHeight } = this.root;
    const { k, x, y } = this.transform.peek();
    const [mx, my] = [Math.round(clientWidth * margin), Math.round(clientHeight * margin)];
    const [width, height] = [clientWidth + 2 * mx, clientHeight + 2 * my];
    const ratio = Math.min(devicePixelRatio, Math.sqrt(MAX_PIXELS / (width * height)));
    return { k, x: x + mx, y: y + my, width, height, ratio };
  }

  private show({ layer, view, bitmap, version, complete }: Drawn): void {
    const sheet = this.sheets[layer];
    if (sheet.canvas.width !== bitmap.width || sheet.canvas.height !== bitmap.height) {
      sheet.canvas.width = bitmap.width;
      sheet.canvas.height = bitmap.height;
    }
    sheet.canvas.style.width = `${view.width}px`;
    sheet.canvas.style.height = `${view.height}px`;
    sheet.context.transferFromImageBitmap(bitmap);
    sheet.view = view;
    if (complete && sheet.asked !== null && isSame(sheet.asked, view)) sheet.asked = null;
    this.position(sheet);
    this.root.dispatchEvent(new CustomEvent("drawn", { detail: { layer, version, complete, view } }));
  }

  private schedule(): void {
    if (this.frame === 0) {
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        this.paint();
      });
    }
    clearTimeout(this.restTimer);
    this.restTimer = window.setTimeout(() => this.rested(), REST);
  }

  private paint(): void {
    for (const sheet of Object.values(this.sheets)) this.position(sheet);
    if (this.scene !== null) this.axes.draw(this.scene, this.pane.graph.facts, this.transform.peek(), this.colours);
    const { graph } = this.sheets;
    const latest = graph.asked ?? graph.view;
    if (latest !== null && !this.isCovered(latest)) this.askAll();
  }

  private position({ canvas, view }: Sheet): void {
    if (view === null) return;
    const { k, x, y } = this.transform.peek();
    const s = k / view.k;
    // On whole pixels where nothing is scaled: copying is quicker than resampling, and sharper.
    const [left, top] = [x - s * view.x, y - s * view.y].map((one) => (s === 1 ? Math.round(one) : one));
    canvas.style.transform = `translate(${left}px, ${top}px) scale(${s})`;
  }

  private isCovered(view: View): boolean {
    const { k, x, y } = this.transform.peek();
    const s = k / view.k;
    const [left, top] = [x - s * view.x, y - s * view.y];
    const { clientWidth: width, clientHeight: height } = this.root;
    return left < 0 && top < 0 && left + s * view.width > width && top + s * view.height > height && s < 1.6 && s > 0.7;
  }

  private rested(): void {
    for (const layer of ["graph", "focus"] as const) {
      const latest = this.sheets[layer].asked ?? this.sheets[layer].view;
      if (latest === null || (layer === "focus" && this.pane.selected.peek() === null)) continue;
      if (!isSame(latest, this.view(MARGIN))) this.ask(layer);
    }
  }
}

const isSame = (a: View, b: View) =>
  a.k === b.k && Math.abs(a.x - b.x) < 1 && Math.abs(a.y - b.y) < 1 && a.width === b.width && a.height === b.height;
