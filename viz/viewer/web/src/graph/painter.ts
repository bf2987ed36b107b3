// Turns requests into bitmaps in a worker, or on the page itself where no worker can be started.
import source from "worker:graph/worker_entry.ts";
import type { Labels } from "./draw";
import type { Scene } from "./scene";
import { type Drawn, type DrawRequest, drawn } from "./worker";

export interface Painter {
  scene(scene: Scene): void;
  labels(labels: Labels): void;
  draw(request: DrawRequest): void;
  close(): void;
}

export function openPainter(onDrawn: (result: Drawn) => void): Painter {
  try {
    return inWorker(onDrawn);
  } catch {
    return onPage(onDrawn); // a policy or a browser without workers from blobs
  }
}

function inWorker(onDrawn: (result: Drawn) => void): Painter {
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(address);
  let spare: Painter | null = null;
  let last: { scene: Scene | null; labels: Labels } = { scene: null, labels: [] };
  worker.onmessage = ({ data }: MessageEvent<Drawn>) => onDrawn(data);
  worker.onerror = () => {
    spare ??= onPage(onDrawn);
    spare.labels(last.labels);
    if (last.scene !== null) spare.scene(last.scene);
  };
  return {
    scene(scene) {
      last = { ...last, scene };
      if (spare === null) worker.postMessage({ type: "scene", scene });
      else spare.scene(scene);
    },
    labels(labels) {
      last = { ...last, labels };
      if (spare === null) worker.postMessage({ type: "labels", labels });
      else spare.labels(labels);
    },
    draw(request) {
      if (spare === null) worker.postMessage(request);
      else spare.draw(request);
    },
    close() {
      worker.terminate();
      URL.revokeObjectURL(address);
    },
  };
}

function onPage(onDrawn: (result: Drawn) => void): Painter {
  let current: Scene | null = null;
  let names: Labels = [];
  return {
    scene(scene) {
      current = scene;
    },
    labels(labels) {
      names = labels;
    },
    draw(request) {
      if (current !== null) for (const result of drawn(current, names, request)) if (result?.complete) onDrawn(result);
    },
    close() {},
  };
}
