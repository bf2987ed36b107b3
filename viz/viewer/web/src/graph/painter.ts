// Turns requests into bitmaps in a worker, or on the page itself where no worker can be started.
import source from "worker:graph/worker_entry.ts";
import type { Scene } from "./scene";
import { type Drawn, type DrawRequest, drawn } from "./worker";

export interface Painter {
  scene(scene: Scene): void;
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
  let last: Scene | null = null;
  worker.onmessage = ({ data }: MessageEvent<Drawn>) => onDrawn(data);
  worker.onerror = () => {
    spare ??= onPage(onDrawn);
    if (last !== null) spare.scene(last);
  };
  return {
    scene(scene) {
      last = scene;
      if (spare === null) worker.postMessage({ type: "scene", scene });
      else spare.scene(scene);
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
  return {
    scene(scene) {
      current = scene;
    },
    draw(request) {
      if (current !== null) for (const result of drawn(current, request)) if (result.complete) onDrawn(result);
    },
    close() {},
  };
}
