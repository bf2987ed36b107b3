// Layers at the left and tokens at the bottom, which stay in sight while the graph moves.
import type { ZoomTransform } from "d3-zoom";
import type { Payload } from "../payload";
import { tokenText } from "../text";
import { type Colours, fitted } from "./draw";
import type { Scene } from "./scene";

export interface Margins {
  readonly left: number;
  readonly bottom: number;
}

export class Axes {
  private readonly layers: HTMLCanvasElement;
  private readonly tokens: HTMLCanvasElement;

  constructor(
    private readonly root: HTMLElement,
    private readonly margins: Margins,
  ) {
    this.layers = this.strip("layers");
    this.tokens = this.strip("tokens");
  }

  draw(scene: Scene, facts: Payload, transform: ZoomTransform, colours: Colours): void {
    const { clientWidth: width, clientHeight: height } = this.root;
    const { left, bottom } = this.margins;
    const layers = begin(this.layers, left, height - bottom, colours);
    line(layers, colours, left - 0.5, 0, left - 0.5, height - bottom);
    drawLayers(layers, scene, facts, transform, left, height - bottom);
    const tokens = begin(this.tokens, width, bottom, colours);
    line(tokens, colours, left - 0.5, 0.5, width, 0.5);
    drawTokens(tokens, scene, facts, transform, left, width, bottom / 2);
  }

  private strip(name: string): HTMLCanvasElement {
    const canvas = this.root.appendChild(document.createElement("canvas"));
    canvas.className = `axis ${name}`;
    return canvas;
  }
}

function begin(canvas: HTMLCanvasElement, width: number, height: number, colours: Colours): CanvasRenderingContext2D {
  const ratio = devicePixelRatio;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d", { alpha: false }) as CanvasRenderingContext2D;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.fillStyle = colours.surface;
  context.fillRect(0, 0, width, height);
  context.fillStyle = colours.muted;
  context.font = `11px ${colours.font}`;
  context.textBaseline = "middle";
  return context;
}

function line(
  context: CanvasRenderingContext2D,
  colours: Colours,
  x1: number,
  y1: number,
  x2: number,
  y2: number,
): void {
  context.strokeStyle = colours.line;
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
}

function drawLayers(
  context: CanvasRenderingContext2D,
  scene: Scene,
  facts: Payload,
  transform: ZoomTransform,
  left: number,
  bottom: number,
): void {
  context.textAlign = "right";
  let last = Number.POSITIVE_INFINITY;
  scene.rows.forEach((row, number) => {
    const y = transform.applyY(row.start + row.size / 2);
    if (y < 6 || y > bottom - 6 || Math.abs(last - y) < 12) return;
    last = y;
    const name = number === 0 ? "embed" : number === facts.n_layers + 1 ? "logits" : `L${number - 1}`;
    context.fillText(name, left - 7, y);
  });
}

function drawTokens(
  context: CanvasRenderingContext2D,
  scene: Scene,
  facts: Payload,
  transform: ZoomTransform,
  left: number,
  width: number,
  y: number,
): void {
  context.textAlign = "center";
  let free = left; // where the next name may begin
  scene.columns.forEach((column, pos) => {
    const x = transform.applyX(column.start + column.size / 2);
    const own = (column.size + 14) * transform.k;
    const room = own > 14 ? own : NARROW; // of narrow columns only some are named
    if (x < left || x > width || (own <= 14 && x - room / 2 < free)) return;
    context.fillText(fitted(context, tokenText(facts.tokens[pos]), room), x, y);
    free = x + room / 2 + 8;
  });
}

const NARROW = 48;
