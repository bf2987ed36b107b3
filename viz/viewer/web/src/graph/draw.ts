// Draws a scene on a 2D canvas; runs in a worker, or on the page where there is none.
import { ERROR, FEATURE, LOGIT, TOKEN } from "../payload";
import { LEVELS, ONLY_HERE, PINNED, type Scene } from "./scene";

export interface View {
  readonly k: number; // pixels per unit of the graph
  readonly x: number; // where the graph's origin is
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly ratio: number; // device pixels per pixel
}

export interface Colours {
  readonly text: string;
  readonly muted: string;
  readonly line: string;
  readonly surface: string;
  readonly halo: string;
  readonly band: string;
  readonly positive: string;
  readonly negative: string;
  readonly kinds: readonly string[]; // feature, error, token, logit
  readonly accent: string;
  readonly only: string;
  readonly font: string;
}

export type Labels = readonly string[]; // of all nodes
export type Context = OffscreenCanvasRenderingContext2D | CanvasRenderingContext2D;

const MANY_EDGES = 3000; // above, edges are straight
const AT_A_TIME = 4000;
const THICK_EDGES = 200; // of many, so many may be wider than a pixel: browsers draw thin lines twenty times faster

export const nodeRadius = (k: number) => Math.min(Math.max(6.5 * k, 2), 9);

// The whole graph, or its strongest edges only, as many as `limit` says. Stops now and then, so that it can be left off.
export function* drawGraph(
  context: Context,
  scene: Scene,
  labels: Labels,
  view: View,
  colours: Colours,
  limit: number,
): Generator<void> {
  begin(context, view, colours.halo);
  drawBands(context, scene, view, colours);
  const n = scene.source.length;
  const crowd = Math.min(1, Math.max(0.2, Math.sqrt(900 / (n + 1))));
  for (let style = 2 * LEVELS - 1; style >= 0; style--) {
    const [first, last] = [scene.styleStart[style], Math.min(scene.styleStart[style + 1], limit)];
    const thick = Math.max(first, Math.min(last, n > MANY_EDGES ? THICK_EDGES : 4 * THICK_EDGES));
    setStroke(context, view, colours, style, crowd, false);
    for (let start = thick; start < last; start += AT_A_TIME) {
      strokeEdges(context, scene, view, start, Math.min(start + AT_A_TIME, last), n > MANY_EDGES);
      if (last - thick < AT_A_TIME) continue;
      context.getImageData(0, 0, 1, 1); // so that it is drawn now, not all at once in the end
      yield;
    }
    setStroke(context, view, colours, style, crowd, true);
    strokeEdges(context, scene, view, first, thick, n > MANY_EDGES);
  }
  context.globalAlpha = 1;
  drawNodes(context, scene, view, colours, scene.visible);
  drawLabels(context, scene, labels, view, colours, scene.visible, false);
}

// One node with its edges and the nodes at their other ends.
export function drawFocus(
  context: Context,
  scene: Scene,
  labels: Labels,
  view: View,
  colours: Colours,
  focus: number,
): void {
  begin(context, view, null);
  const ends = new Set<number>([focus]);
  for (let style = 2 * LEVELS - 1; style >= 0; style--) {
    setStroke(context, view, colours, style, 1, ends.size < THICK_EDGES);
    for (let i = scene.styleStart[style]; i < scene.styleStart[style + 1]; i++) {
      if (scene.source[i] !== focus && scene.target[i] !== focus) continue;
      strokeEdges(context, scene, view, i, i + 1, false);
      ends.add(scene.source[i] === focus ? scene.target[i] : scene.source[i]);
    }
  }
  context.globalAlpha = 1;
  const shown = scene.visible.filter((node) => ends.has(node));
  drawNodes(context, scene, view, colours, shown);
  drawLabels(
    context,
    scene,
    labels,
    view,
    colours,
    Uint32Array.of(focus, ...shown.filter((node) => node !== focus)),
    true,
  );
  ring(context, scene, view, colours, focus);
}

function begin(context: Context, view: View, background: string | null): void {
  context.setTransform(view.ratio, 0, 0, view.ratio, 0, 0);
  if (background === null) context.clearRect(0, 0, view.width, view.height);
  else {
    context.fillStyle = background;
    context.fillRect(0, 0, view.width, view.height);
  }
}

function setStroke(
  context: Context,
  view: View,
  colours: Colours,
  style: number,
  crowd: number,
  isThick: boolean,
): void {
  const level = style >> 1;
  const width = Math.max(0.6, 3.4 * Math.min(1, 0.3 + crowd) * 0.72 ** level);
  context.strokeStyle = style & 1 ? colours.negative : colours.positive;
  context.lineWidth = isThick ? width : Math.min(width, 1 / view.ratio);
  context.globalAlpha = Math.max(0.1, 0.85 * 0.8 ** level) * crowd;
}

// Each edge by itself: long paths are slow to draw.
function strokeEdges(context: Context, scene: Scene, view: View, first: number, last: number, straight: boolean): void {
  const { x, y, source, target } = scene;
  for (let i = first; i < last; i++) {
    const [x1, y1] = [view.x + view.k * x[source[i]], view.y + view.k * y[source[i]]];
    const [x2, y2] = [view.x + view.k * x[target[i]], view.y + view.k * y[target[i]]];
    if (isOutside(x1, x2, view.width) || isOutside(y1, y2, view.height)) continue;
    context.beginPath();
    context.moveTo(x1, y1);
    if (straight) context.lineTo(x2, y2);
    // A slight bow, so that edges within one column are seen beside the nodes between their ends.
    else context.quadraticCurveTo((x1 + x2) / 2 + 0.1 * (y1 - y2), (y1 + y2) / 2 + 0.1 * (x2 - x1), x2, y2);
    context.stroke();
  }
}

const isOutside = (a: number, b: number, size: number) => (a < -99 && b < -99) || (a > size + 99 && b > size + 99);

function drawNodes(context: Context, scene: Scene, view: View, colours: Colours, nodes: Uint32Array): void {
  const stamps = [0, 1].map((only) => [0, 1, 2, 3].map((kind) => stamp(kind, only === 1, view, colours)));
  const half = stamps[0][0].width / 2;
  context.setTransform(1, 0, 0, 1, 0, 0);
  // The least influential first, so that the others lie above.
  for (let i = nodes.length - 1; i >= 0; i--) {
    const node = nodes[i];
    const [x, y] = [view.x + view.k * scene.x[node], view.y + view.k * scene.y[node]];
    if (isOutside(x, x, view.width) || isOutside(y, y, view.height)) continue;
    const picture = stamps[scene.marks[node] & ONLY_HERE ? 1 : 0][scene.kind[node]];
    context.drawImage(picture, Math.round(x * view.ratio - half), Math.round(y * view.ratio - half));
  }
  context.setTransform(view.ratio, 0, 0, view.ratio, 0, 0);
  for (const node of nodes) if (scene.marks[node] & PINNED) ring(context, scene, view, colours, node);
}

// A picture of one kind of node; copying it is quicker than drawing it again.
function stamp(kind: number, only: boolean, view: View, colours: Colours): OffscreenCanvas {
  const radius = nodeRadius(view.k);
  const size = 2 * Math.ceil((1.3 * radius + 2) * view.ratio);
  const canvas = new OffscreenCanvas(size, size);
  const context = canvas.getContext("2d") as OffscreenCanvasRenderingContext2D;
  context.setTransform(view.ratio, 0, 0, view.ratio, size / 2, size / 2);
  const colour = only ? colours.only : colours.kinds[kind];
  const isHollow = kind === ERROR;
  context.fillStyle = isHollow ? colours.halo : colour;
  context.strokeStyle = isHollow ? colour : colours.halo;
  context.lineWidth = radius > 4 ? 1.5 : 0.7;
  context.beginPath();
  shape(context, kind, 0, 0, radius);
  context.fill();
  context.stroke();
  return canvas;
}

// Circle, diamond, square, triangle: kinds differ in shape as well as in colour.
function shape(context: Context, kind: number, x: number, y: number, r: number): void {
  if (kind === FEATURE) context.arc(x, y, r, 0, 2 * Math.PI);
  else if (kind === ERROR) polygon(context, [x, y - r, x + r, y, x, y + r, x - r, y]);
  else if (kind === TOKEN) context.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
  else polygon(context, [x, y - 1.15 * r, x + 1.15 * r, y + 0.85 * r, x - 1.15 * r, y + 0.85 * r]);
}

function polygon(context: Context, points: readonly number[]): void {
  context.moveTo(points[0], points[1]);
  for (let i = 2; i < points.length; i += 2) context.lineTo(points[i], points[i + 1]);
  context.closePath();
}

function ring(context: Context, scene: Scene, view: View, colours: Colours, node: number): void {
  context.strokeStyle = colours.accent;
  context.lineWidth = 2.5;
  context.beginPath();
  const [x, y] = [view.x + view.k * scene.x[node], view.y + view.k * scene.y[node]];
  context.arc(x, y, nodeRadius(view.k) + 4, 0, 2 * Math.PI);
  context.stroke();
}

const FONT_SIZE = 11;
const LETTER = 6; // its width, about
const MOST_LABELS = 250;

// The label of a node below it, where there is room: the more influential node comes first.
function drawLabels(
  context: Context,
  scene: Scene,
  labels: Labels,
  view: View,
  colours: Colours,
  nodes: Uint32Array,
  isFocus: boolean,
): void {
  if (view.k < 0.55) return;
  // Between packed nodes nobody could tell whose label it is.
  const all = isFocus || scene.labelWidth > 0 || view.k > 2.4;
  context.font = `${FONT_SIZE}px ${colours.font}`;
  context.textAlign = "center";
  context.textBaseline = "top";
  const room = new Room(view);
  const radius = nodeRadius(view.k);
  for (const node of scene.visible) {
    room.take(view.x + view.k * scene.x[node], view.y + view.k * scene.y[node], radius, radius);
  }
  let n = 0;
  for (const node of nodes) {
    const [x, y] = [view.x + view.k * scene.x[node], view.y + view.k * scene.y[node] + radius + 3];
    if (x < 0 || y < 0 || x > view.width || y > view.height || labels[node] === "") continue;
    if (!all && scene.kind[node] !== LOGIT) continue;
    const most = scene.labelWidth > 0 && scene.kind[node] !== LOGIT ? scene.labelWidth * view.k : 150;
    if (!room.isFree(x, y + FONT_SIZE / 2 + 1, LETTER, FONT_SIZE / 2)) continue;
    const text = fitted(context, labels[node], most);
    const half = context.measureText(text).width / 2;
    if (!room.take(x, y + FONT_SIZE / 2 + 1, half, FONT_SIZE / 2)) continue;
    context.globalAlpha = 0.75;
    context.fillStyle = colours.halo;
    context.fillRect(x - half - 2, y - 1, 2 * half + 4, FONT_SIZE + 3);
    context.globalAlpha = 1;
    context.fillStyle = colours.text;
    context.fillText(text, x, y);
    n += 1;
    if (n === MOST_LABELS) break;
  }
}

export function fitted(context: Context, text: string, width: number): string {
  if (text.length * LETTER < 0.6 * width || context.measureText(text).width <= width) return text;
  let [low, high] = [0, Math.min(text.length, Math.ceil(width / 3))];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(`${text.slice(0, middle).trimEnd()}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return `${text.slice(0, low).trimEnd()}…`;
}

// Which parts of the picture are taken, in squares of a few pixels.
class Room {
  private static readonly SIZE = 4;
  private readonly columns: number;
  private readonly taken: Uint8Array;

  constructor(view: View) {
    this.columns = Math.ceil(view.width / Room.SIZE) + 1;
    this.taken = new Uint8Array(this.columns * (Math.ceil(view.height / Room.SIZE) + 1));
  }

  isFree(x: number, y: number, halfWidth: number, halfHeight: number): boolean {
    const { left, right, top, bottom } = this.squares(x, y, halfWidth, halfHeight);
    for (let row = top; row <= bottom; row++) {
      for (let column = left; column <= right; column++) if (this.taken[row * this.columns + column]) return false;
    }
    return true;
  }

  take(x: number, y: number, halfWidth: number, halfHeight: number): boolean {
    if (!this.isFree(x, y, halfWidth, halfHeight)) return false;
    const { left, right, top, bottom } = this.squares(x, y, halfWidth, halfHeight);
    for (let row = top; row <= bottom; row++) {
      if (left <= right) this.taken.fill(1, row * this.columns + left, row * this.columns + right + 1);
    }
    return true;
  }

  private squares(x: number, y: number, halfWidth: number, halfHeight: number) {
    const left = Math.max(0, Math.floor((x - halfWidth) / Room.SIZE));
    const right = Math.min(this.columns - 1, Math.floor((x + halfWidth) / Room.SIZE));
    const top = Math.max(0, Math.floor((y - halfHeight) / Room.SIZE));
    const bottom = Math.min(this.taken.length / this.columns - 1, Math.floor((y + halfHeight) / Room.SIZE));
    return { left, right, top, bottom };
  }
}

function drawBands(context: Context, scene: Scene, view: View, colours: Colours): void {
  context.fillStyle = colours.band;
  const top = view.y - 10 * view.k;
  const height = (scene.height + 20) * view.k;
  scene.columns.forEach((column, pos) => {
    if (pos % 2 === 1) return;
    context.fillRect(view.x + (column.start - 8) * view.k, top, (column.size + 16) * view.k, height);
  });
}
