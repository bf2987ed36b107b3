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

export function drawAxes(
  canvas: HTMLCanvasElement,
  scene: Scene,
  facts: Payload,
  transform: ZoomTransform,
  colours: Colours,
  root: HTMLElement,
  { left, bottom }: Margins,
): void {
  const { clientWidth: width, clientHeight: height } = root;
  const ratio = devicePixelRatio;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d") as CanvasRenderingContext2D;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.fillStyle = colours.surface;
  context.fillRect(0, 0, left, height);
  context.fillRect(0, height - bottom, width, bottom);
  context.strokeStyle = colours.line;
  context.beginPath();
  context.moveTo(left - 0.5, 0);
  context.lineTo(left - 0.5, height - bottom + 0.5);
  context.lineTo(width, height - bottom + 0.5);
  context.stroke();
  context.fillStyle = colours.muted;
  context.font = `11px ${colours.font}`;
  layers(context, scene, facts, transform, left, height - bottom);
  tokens(context, scene, facts, transform, left, width, height - bottom / 2);
}

function layers(
  context: CanvasRenderingContext2D,
  scene: Scene,
  facts: Payload,
  transform: ZoomTransform,
  left: number,
  bottom: number,
): void {
  context.textAlign = "right";
  context.textBaseline = "middle";
  let last = Number.POSITIVE_INFINITY;
  scene.rows.forEach((row, number) => {
    const y = transform.applyY(row.start + row.size / 2);
    if (y < 6 || y > bottom - 6 || Math.abs(last - y) < 12) return;
    last = y;
    const name = number === 0 ? "embed" : number === facts.n_layers + 1 ? "logits" : `L${number - 1}`;
    context.fillText(name, left - 7, y);
  });
}

function tokens(
  context: CanvasRenderingContext2D,
  scene: Scene,
  facts: Payload,
  transform: ZoomTransform,
  left: number,
  width: number,
  y: number,
): void {
  context.textAlign = "center";
  scene.columns.forEach((column, pos) => {
    const x = transform.applyX(column.start + column.size / 2);
    if (x < left || x > width) return;
    const room = (column.size + 14) * transform.k;
    if (room > 14) context.fillText(fitted(context, tokenText(facts.tokens[pos]), room), x, y);
  });
}
