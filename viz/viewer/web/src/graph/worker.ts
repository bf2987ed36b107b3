// The worker: keeps the latest scene, and turns requests into bitmaps.
import { type Colours, drawFocus, drawGraph, type Labels, type View } from "./draw";
import type { Scene } from "./scene";

export type Layer = "graph" | "focus";
export interface DrawRequest {
  readonly type: "draw";
  readonly layer: Layer;
  readonly view: View;
  readonly near: View | null; // less around what is seen, for the first of two pictures; null for one picture
  readonly colours: Colours;
  readonly focus: number;
}
export type Request =
  | { readonly type: "scene"; readonly scene: Scene }
  | { readonly type: "labels"; readonly labels: Labels }
  | DrawRequest;
export interface Drawn {
  readonly layer: Layer;
  readonly version: number; // of the scene
  readonly view: View;
  readonly bitmap: ImageBitmap;
  readonly complete: boolean;
}

const AT_ONCE = 3000; // edges that are shown before the others follow

const AT_ONCE_AREA = 1.5e6; // pixels

// Draws what is asked for; of many edges first the strongest, then all. In between it gives null, to be left off there.
export function* drawn(scene: Scene, labels: Labels, request: DrawRequest): Generator<Drawn | null> {
  const { layer, view, near, colours, focus } = request;
  const { version } = scene;
  if (layer === "focus") {
    const { canvas, context } = sheet(view, true);
    drawFocus(context, scene, labels, view, colours, focus);
    yield { layer, version, view, bitmap: canvas.transferToImageBitmap(), complete: true };
    return;
  }
  if (near !== null && (scene.source.length > AT_ONCE || view.width * view.height > AT_ONCE_AREA)) {
    const { canvas, context } = sheet(near, false);
    yield* paused(drawGraph(context, scene, labels, near, colours, AT_ONCE));
    yield { layer, version, view: near, bitmap: canvas.transferToImageBitmap(), complete: false };
  }
  const { canvas, context } = sheet(view, false);
  yield* paused(drawGraph(context, scene, labels, view, colours, Number.POSITIVE_INFINITY));
  yield { layer, version, view, bitmap: canvas.transferToImageBitmap(), complete: true };
}

function* paused(steps: Generator<void>): Generator<null> {
  for (const _ of steps) yield null;
}

function sheet({ width, height, ratio }: View, alpha: boolean) {
  const canvas = new OffscreenCanvas(Math.ceil(width * ratio), Math.ceil(height * ratio));
  return { canvas, context: canvas.getContext("2d", { alpha }) as OffscreenCanvasRenderingContext2D };
}
