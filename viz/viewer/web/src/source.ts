// Where graphs come from: the page's own data element, or the server that it says it was served by.
import { type FeatureFacts, type Payload, PayloadError } from "./payload";

export interface GraphSummary {
  readonly slug: string;
  readonly title: string;
}

export interface Source {
  readonly served: boolean;
  list(): Promise<readonly GraphSummary[]>;
  graph(slug: string): Promise<Payload>;
  feature(payload: Payload, layer: number, index: number): Promise<FeatureFacts | null>;
}

type Data = Payload | { served: true } | { graphs: readonly Payload[] } | null;

export function openSource(): Source {
  const text = document.getElementById("orrery-data")?.textContent ?? "null";
  const data = JSON.parse(text) as Data;
  if (data === null) throw new PayloadError("This page holds no graph. Make one with orrery export --to html.");
  if ("served" in data) return served();
  return embedded("graphs" in data ? data.graphs : [data]);
}

function embedded(graphs: readonly Payload[]): Source {
  return {
    served: false,
    list: async () => graphs.map(({ slug, title }) => ({ slug, title })),
    graph: async (slug) => {
      const found = graphs.find((graph) => graph.slug === slug);
      if (found === undefined) throw new PayloadError(`This page holds no graph named ${slug}.`);
      return found;
    },
    feature: async (payload, layer, index) => payload.features[`${layer}/${index}`] ?? null,
  };
}

async function json<T>(address: string): Promise<T> {
  const response = await fetch(address);
  if (!response.ok) throw new PayloadError(`${address}: ${response.status} ${response.statusText}`);
  return response.json();
}

function served(): Source {
  return {
    served: true,
    list: async () => (await json<{ graphs: GraphSummary[] }>("api/graphs")).graphs,
    graph: (slug) => json(`api/graphs/${encodeURIComponent(slug)}`),
    feature: async (payload, layer, index) => {
      const known = payload.features[`${layer}/${index}`] ?? null;
      if (payload.served?.features !== true) return known;
      const found = await json<FeatureFacts | null>(`api/features/${layer}/${index}`);
      return found === null ? known : { ...known, ...found };
    },
  };
}
