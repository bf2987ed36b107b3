import type { Labels } from "./draw";
import type { Scene } from "./scene";
import { type DrawRequest, drawn, type Layer, type Request } from "./worker";

const scope = self as unknown as DedicatedWorkerGlobalScope;
const waiting = new Map<Layer, DrawRequest>(); // the latest of each layer; earlier ones are never drawn
const PAUSE = 150; // milliseconds without a newer request, before what takes longer is drawn
let scene: Scene | null = null;
let labels: Labels = [];
let isBusy = false;

scope.onmessage = ({ data }: MessageEvent<Request>) => {
  if (data.type === "scene") scene = data.scene;
  else if (data.type === "labels") labels = data.labels;
  else waiting.set(data.layer, data);
  if (!isBusy) work();
};

async function work(): Promise<void> {
  isBusy = true;
  for (let request = next(); request !== undefined; request = next()) {
    if (scene === null) continue;
    for (const result of drawn(scene, labels, request)) {
      if (result !== null) scope.postMessage(result, [result.bitmap]);
      await pause(result?.complete === false ? PAUSE : 0); // newer messages first
      if (waiting.size === 0 || result?.complete) continue;
      if (!waiting.has(request.layer)) waiting.set(request.layer, { ...request, near: null });
      break;
    }
  }
  isBusy = false;
}

const pause = (milliseconds: number) => new Promise((done) => setTimeout(done, milliseconds));

function next(): DrawRequest | undefined {
  const request = waiting.get("focus") ?? waiting.get("graph");
  if (request !== undefined) waiting.delete(request.layer);
  return request;
}
