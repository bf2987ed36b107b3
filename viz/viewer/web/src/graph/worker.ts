// The worker: keeps the latest scene, and turns requests into bitmaps.
import { type Colours, drawFocus, drawGraph, type View } from "./draw";
import type { Scene } from "./scene";

export type Layer = "graph" | "focus";
export interface DrawRequest {
  readonly type: "draw";
  readonly layer: Layer;
  readonly view: View;
  readonly colours: Colours;
  readonly focus: number;
}
export type Request = { readonly type: "scene"; readonly scene: Scene } | DrawRequest;
export interface Drawn {
  readonly layer: Layer;
  readonly version: number; // of the scene
  readonly view: View;
  readonly bitmap: ImageBitmap;
  readonly complete: boolean;
}

const AT_ONCE = 5000; // edges that are shown before the others follow

// Draws what is asked for; of many edges first the strongest, then all.
export function* drawn(scene: Scene, { layer, view, colours, focus }: DrawRequest): Generator<Drawn> {
  const { version } = scene;
  const canvas = new OffscreenCanvas(Math.ceil(view.width * view.ratio), Math.ceil(view.height * view.ratio));
  const context = canvas.getContext("2d") as OffscreenCanvasRenderingContext2D;
  if (layer === "focus") {
    drawFocus(context, scene, view, colours, focus);
    yield { layer, version, view, bitmap: canvas.transferToImageBitmap(), complete: true };
    return;
  }
  if (scene.source.length > AT_ONCE) {
    drawGraph(context, scene, view, colours, AT_ONCE);
    yield { layer, version, view, bitmap: canvas.transferToImageBitmap(), complete: false };
  }
  drawGraph(context, scene, view, colours, Number.POSITIVE_INFINITY);
  yield { layer, version, view, bitmap: canvas.transferToImageBitmap(), complete: true };
}
