import type { Scene } from "./scene";
import { type DrawRequest, drawn, type Layer, type Request } from "./worker";

const scope = self as unknown as DedicatedWorkerGlobalScope;
const waiting = new Map<Layer, DrawRequest>(); // the latest of each layer; earlier ones are never drawn
let scene: Scene | null = null;
let isBusy = false;

scope.onmessage = ({ data }: MessageEvent<Request>) => {
  if (data.type === "scene") scene = data.scene;
  else waiting.set(data.layer, data);
  if (!isBusy) work();
};

async function work(): Promise<void> {
  isBusy = true;
  for (let request = next(); request !== undefined; request = next()) {
    if (scene === null) continue;
    for (const result of drawn(scene, request)) {
      scope.postMessage(result, [result.bitmap]);
      await new Promise((done) => setTimeout(done)); // newer messages first
      if (waiting.size > 0 && !result.complete) {
        if (!waiting.has(request.layer)) waiting.set(request.layer, request);
        break;
      }
    }
  }
  isBusy = false;
}

function next(): DrawRequest | undefined {
  const request = waiting.get("focus") ?? waiting.get("graph");
  if (request !== undefined) waiting.delete(request.layer);
  return request;
}
