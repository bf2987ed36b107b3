// Draws a scene on a 2D canvas; runs in a worker, or on the page where there is none.
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

export type Context = OffscreenCanvasRenderingContext2D | CanvasRenderingContext2D;

const MANY_EDGES = 4000;
const IN_ONE_PATH = 200;

export const nodeRadius = (k: number) => Math.min(Math.max(6.5 * k, 2), 9);

// The whole graph. `limit` stops after the strongest edges; what is drawn later lies beneath.
export function drawGraph(context: Context, scene: Scene, view: View, colours: Colours, limit: number): void {
  begin(context, view);
  drawLabels(context, scene, view, colours, scene.visible);
  drawNodes(context, scene, view, colours, scene.visible);
  context.globalCompositeOperation = "destination-over";
  const n = scene.source.length;
  const crowd = Math.min(1, Math.max(0.12, Math.sqrt(900 / (n + 1))));
  for (let style = 0; style < 2 * LEVELS; style++) {
    const last = Math.min(scene.styleStart[style + 1], limit);
    setStroke(context, colours, style, crowd);
    strokeEdges(context, scene, view, scene.styleStart[style], last, n > MANY_EDGES);
  }
  context.globalAlpha = 1;
  drawBands(context, scene, view, colours);
  context.globalCompositeOperation = "source-over";
}

// One node with its edges and the nodes at their other ends.
export function drawFocus(context: Context, scene: Scene, view: View, colours: Colours, focus: number): void {
  begin(context, view);
  const ends = new Set<number>([focus]);
  for (let style = 2 * LEVELS - 1; style >= 0; style--) {
    setStroke(context, colours, style, 1);
    for (let i = scene.styleStart[style]; i < scene.styleStart[style + 1]; i++) {
      if (scene.source[i] !== focus && scene.target[i] !== focus) continue;
      strokeEdges(context, scene, view, i, i + 1, false);
      ends.add(scene.source[i] === focus ? scene.target[i] : scene.source[i]);
    }
  }
  context.globalAlpha = 1;
  const shown = scene.visible.filter((node) => ends.has(node));
  drawNodes(context, scene, view, colours, shown);
  drawLabels(context, scene, view, colours, Uint32Array.of(focus, ...shown.filter((node) => node !== focus)));
  ring(context, scene, view, colours, focus);
}

function begin(context: Context, view: View): void {
  context.setTransform(view.ratio, 0, 0, view.ratio, 0, 0);
  context.clearRect(0, 0, view.width, view.height);
  context.lineCap = "butt";
}

function setStroke(context: Context, colours: Colours, style: number, crowd: number): void {
  const level = style >> 1;
  context.strokeStyle = style & 1 ? colours.negative : colours.positive;
  context.lineWidth = Math.max(0.6, 3.4 * Math.min(1, 0.3 + crowd) * 0.72 ** level);
  context.globalAlpha = Math.max(0.1, 0.85 * 0.8 ** level) * crowd;
}

function strokeEdges(context: Context, scene: Scene, view: View, first: number, last: number, straight: boolean): void {
  const { x, y, source, target } = scene;
  for (let start = first; start < last; start += IN_ONE_PATH) {
    context.beginPath();
    for (let i = start; i < Math.min(last, start + IN_ONE_PATH); i++) {
      const [x1, y1] = [view.x + view.k * x[source[i]], view.y + view.k * y[source[i]]];
      const [x2, y2] = [view.x + view.k * x[target[i]], view.y + view.k * y[target[i]]];
      context.moveTo(x1, y1);
      if (straight) context.lineTo(x2, y2);
      // A slight bow, so that edges within one column are seen beside the nodes between their ends.
      else context.quadraticCurveTo((x1 + x2) / 2 + 0.1 * (y1 - y2), (y1 + y2) / 2 + 0.1 * (x2 - x1), x2, y2);
    }
    context.stroke();
  }
}

function drawNodes(context: Context, scene: Scene, view: View, colours: Colours, nodes: Uint32Array): void {
  const radius = nodeRadius(view.k);
  for (let kind = 3; kind >= 0; kind--) {
    for (const only of [0, ONLY_HERE]) {
      context.fillStyle = only ? colours.only : kind === 1 ? colours.halo : colours.kinds[kind];
      context.strokeStyle = kind === 1 ? (only ? colours.only : colours.kinds[kind]) : colours.halo;
      context.lineWidth = radius > 4 ? 1.5 : 0.7;
      for (const node of nodes) {
        if (scene.kind[node] !== kind || (scene.marks[node] & ONLY_HERE) !== only) continue;
        context.beginPath();
        shape(context, kind, view.x + view.k * scene.x[node], view.y + view.k * scene.y[node], radius);
        context.fill();
        context.stroke();
      }
    }
  }
  for (const node of nodes) if (scene.marks[node] & PINNED) ring(context, scene, view, colours, node);
}

// Circle, diamond, square, triangle: kinds differ in shape as well as in colour.
function shape(context: Context, kind: number, x: number, y: number, r: number): void {
  if (kind === 0) context.arc(x, y, r, 0, 2 * Math.PI);
  else if (kind === 1) polygon(context, [x, y - r, x + r, y, x, y + r, x - r, y]);
  else if (kind === 2) context.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
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

// The label of a node below it, where there is room: the more influential node comes first.
function drawLabels(context: Context, scene: Scene, view: View, colours: Colours, nodes: Uint32Array): void {
  if (view.k < 0.55) return;
  context.font = `${FONT_SIZE}px ${colours.font}`;
  context.textAlign = "center";
  context.textBaseline = "top";
  context.lineJoin = "round";
  const room = new Room(view);
  const radius = nodeRadius(view.k);
  for (const node of scene.visible) {
    room.take(view.x + view.k * scene.x[node], view.y + view.k * scene.y[node], radius, radius);
  }
  const most = scene.labelWidth > 0 ? scene.labelWidth * view.k : 150;
  for (const node of nodes) {
    const [x, y] = [view.x + view.k * scene.x[node], view.y + view.k * scene.y[node] + radius + 3];
    if (x < 0 || y < 0 || x > view.width || y > view.height || scene.labels[node] === "") continue;
    const text = fitted(context, scene.labels[node], scene.kind[node] === 3 ? Math.max(most, 90) : most);
    const half = context.measureText(text).width / 2;
    if (!room.take(x, y + FONT_SIZE / 2 + 1, half, FONT_SIZE / 2)) continue;
    context.strokeStyle = colours.halo;
    context.lineWidth = 3;
    context.strokeText(text, x, y);
    context.fillStyle = colours.text;
    context.fillText(text, x, y);
  }
}

export function fitted(context: Context, text: string, width: number): string {
  if (context.measureText(text).width <= width) return text;
  let [low, high] = [0, text.length];
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

  take(x: number, y: number, halfWidth: number, halfHeight: number): boolean {
    const left = Math.max(0, Math.floor((x - halfWidth) / Room.SIZE));
    const right = Math.min(this.columns - 1, Math.floor((x + halfWidth) / Room.SIZE));
    const top = Math.max(0, Math.floor((y - halfHeight) / Room.SIZE));
    const bottom = Math.min(this.taken.length / this.columns - 1, Math.floor((y + halfHeight) / Room.SIZE));
    for (let row = top; row <= bottom; row++) {
      for (let column = left; column <= right; column++) if (this.taken[row * this.columns + column]) return false;
    }
    for (let row = top; row <= bottom; row++) {
      if (left <= right) this.taken.fill(1, row * this.columns + left, row * this.columns + right + 1);
    }
    return true;
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
