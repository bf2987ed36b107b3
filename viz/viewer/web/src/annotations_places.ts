// Where annotations are kept: beside the graph's file, by the server; or in this browser, under the graph's hash.
import { type Annotations, fingerprint } from "./annotations";
import { merge } from "./annotations_merge";
import type { Payload } from "./payload";

export interface Place {
  // Annotations with their revision; null if nothing was kept yet.
  read(): Promise<Annotations | null>;
  // Keep `next` if what is kept is still at `base`; else what somebody else kept meanwhile.
  write(
    next: Annotations,
    base: Annotations,
    isLast: boolean,
  ): Promise<{ kept: Annotations } | { current: Annotations }>;
}

export const isServed = (facts: Payload) => facts.served !== undefined;

// The token of this run, which the server wants to see before it changes anything.
export function token(): string {
  const data = JSON.parse(document.getElementById("orrery-data")?.textContent ?? "null") as { token?: string } | null;
  return data?.token ?? "";
}

export async function sent(method: "PUT" | "POST", address: string, value: unknown, more: RequestInit = {}) {
  const headers = { ...more.headers, "Content-Type": "application/json", "X-Orrery-Token": token() };
  return fetch(address, { ...more, method, headers, body: JSON.stringify(value) });
}

export async function failure(response: Response): Promise<Error> {
  const answer = await response.json().catch(() => null);
  return new Error(answer?.error ?? `${response.status} ${response.statusText}`);
}

export function serverPlace(slug: string): Place {
  const address = `api/graphs/${encodeURIComponent(slug)}/annotations`;
  return {
    read: async () => {
      const response = await fetch(address);
      if (!response.ok) throw await failure(response);
      return response.json();
    },
    write: async (next, base, isLast) => {
      const headers = { "If-Match": `"${base.revision}"` };
      // Browsers let only small requests outlive the page.
      const keepalive = isLast && JSON.stringify(next).length < MAX_LAST;
      const response = await sent("PUT", address, next, { headers, keepalive });
      if (response.status === 409) return { current: (await response.json()).current };
      if (!response.ok) throw await failure(response);
      return { kept: await response.json() };
    },
  };
}

const MAX_LAST = 20_000; // letters, of up to three bytes each

interface Stored {
  readonly base: Annotations; // those in the file when these were kept
  readonly annotations: Annotations;
  readonly seen?: readonly string[]; // files' own annotations that are already in these
}

const MAX_SEEN = 20;
const seenIn = (found: Stored | null) => found?.seen ?? (found === null ? [] : [fingerprint(found.base)]);

export function browserPlace(facts: Payload): Place {
  const key = keyOf(facts);
  return {
    read: async () => stored(key)?.annotations ?? null,
    write: async (next, base) => {
      const found = stored(key);
      const current = found?.annotations;
      if (current !== undefined && current.revision !== base.revision) return { current };
      const kept = { ...next, revision: base.revision + 1 };
      try {
        const seen = [...new Set([...seenIn(found), fingerprint(facts.annotations)])].slice(-MAX_SEEN);
        localStorage.setItem(
          key,
          JSON.stringify({ base: facts.annotations, annotations: kept, seen } satisfies Stored),
        );
      } catch {
        throw new Error("this browser keeps nothing for this page; save a copy.");
      }
      return { kept };
    },
  };
}

export const keyOf = (facts: Payload) => `orrery:${facts.hash}`;

// What this browser kept of a file's graph, on top of what the file itself has by now.
export function remembered(facts: Payload): Annotations {
  const found = stored(keyOf(facts));
  if (found === null) return facts.annotations;
  if (seenIn(found).includes(fingerprint(facts.annotations))) return found.annotations;
  const merged = merge(found.base, found.annotations, facts.annotations);
  return { ...merged, revision: found.annotations.revision };
}

function stored(key: string): Stored | null {
  try {
    return JSON.parse(localStorage.getItem(key) ?? "null");
  } catch {
    return null; // no storage in this browser, or something else under this name
  }
}
