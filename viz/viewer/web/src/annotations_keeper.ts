// Saves a pane's annotations a moment after each change, merges what others saved, and says how it went.
import { effect, type Signal, signal } from "@preact/signals";
import { type Annotations, begin, fingerprint } from "./annotations";
import { browserPlace, isServed, keyOf, type Place, remembered, serverPlace } from "./annotations_places";
import { type Pane, panes } from "./state";

export type Status =
  | { readonly kind: "saved" | "waiting" | "saving" }
  | { readonly kind: "failed"; readonly reason: string };

const PAUSE = 400; // milliseconds
const MAX_TRIES = 20;

export class Keeper {
  readonly status: Signal<Status> = signal({ kind: "saved" });
  private base: Annotations;
  private readonly place: Place;
  private timer = 0;
  private sliderTimer = 0;
  private saving: Promise<void> | null = null;
  private readonly stops: (() => void)[] = [];

  constructor(private readonly pane: Pane) {
    const { facts } = pane.graph;
    if (isServed(facts)) {
      this.place = serverPlace(facts.slug);
      this.base = facts.annotations;
    } else {
      this.place = browserPlace(facts);
      this.base = remembered(facts);
      pane.history.value = begin(this.base);
      pane.nodeThreshold.value = Math.min(this.base.node_threshold ?? facts.thresholds.node, facts.thresholds.node_max);
      pane.edgeThreshold.value = this.base.edge_threshold ?? facts.thresholds.edge;
    }
    this.stops.push(effect(() => this.follow(pane.annotations.value)));
    this.stops.push(effect(() => this.followSliders(pane.nodeThreshold.value, pane.edgeThreshold.value)));
    this.listen(window, "focus", () => this.refresh());
    this.listen(window, "storage", (event) => (event as StorageEvent).key === keyOf(facts) && this.refresh());
    this.listen(window, "pagehide", () => this.save(true));
    this.listen(window, "beforeunload", (event) => {
      if (this.status.peek().kind === "failed" && this.isChanged()) event.preventDefault(); // the browser asks
    });
  }

  stop(): void {
    window.clearTimeout(this.sliderTimer);
    this.save(true);
    for (const stop of this.stops) stop();
  }

  // Keep what is there now; again if it changed meanwhile.
  async save(isLast = false): Promise<void> {
    window.clearTimeout(this.timer);
    if (this.saving !== null && !isLast) return this.saving;
    this.saving = this.saved(isLast).finally(() => {
      this.saving = null;
    });
    return this.saving;
  }

  private async saved(isLast: boolean): Promise<void> {
    try {
      for (let i = 0; i < MAX_TRIES && this.isChanged(); i++) {
        this.status.value = { kind: "saving" };
        const next = this.pane.annotations.peek();
        const answer = await this.place.write(next, this.base, isLast);
        if ("current" in answer) this.merge(answer.current);
        else this.base = { ...next, revision: answer.kept.revision };
      }
      this.status.value = { kind: this.isChanged() ? "waiting" : "saved" };
    } catch (error) {
      this.status.value = { kind: "failed", reason: error instanceof Error ? error.message : String(error) };
    }
  }

  private async refresh(): Promise<void> {
    if (this.saving !== null) return;
    try {
      const current = await this.place.read();
      if (current !== null && current.revision > this.base.revision) this.merge(current);
    } catch {
      // The next change says that the place is out of reach.
    }
  }

  private merge(theirs: Annotations): void {
    const { base } = this;
    this.base = theirs;
    this.pane.dispatch({ type: "merge", base, theirs });
  }

  private follow(_: Annotations): void {
    if (!this.isChanged()) return;
    if (this.status.peek().kind !== "saving") this.status.value = { kind: "waiting" };
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.save(), PAUSE);
  }

  // Once the sliders rest.
  private followSliders(node: number, edge: number): void {
    window.clearTimeout(this.sliderTimer);
    this.sliderTimer = window.setTimeout(() => {
      const { thresholds } = this.pane.graph.facts;
      const own = (value: number, given: number) => (value === given ? null : value);
      this.pane.dispatch({ type: "thresholds", node: own(node, thresholds.node), edge: own(edge, thresholds.edge) });
    }, PAUSE);
  }

  private isChanged(): boolean {
    return fingerprint(this.pane.annotations.peek()) !== fingerprint(this.base);
  }

  private listen(target: Window, name: string, act: (event: Event) => void): void {
    target.addEventListener(name, act);
    this.stops.push(() => target.removeEventListener(name, act));
  }
}

const keepers = signal<ReadonlyMap<Pane, Keeper>>(new Map());

export const keeperOf = (pane: Pane) => keepers.value.get(pane) ?? null;

// A keeper for every pane on show.
export function keepAnnotations(): void {
  effect(() => {
    const old = keepers.peek();
    const shown = panes.value;
    for (const [pane, keeper] of old) if (!shown.includes(pane)) keeper.stop();
    keepers.value = new Map(shown.map((pane) => [pane, old.get(pane) ?? new Keeper(pane)]));
  });
}
