// The tabs of the right side. A panel is a component that is given the active pane; add one by adding a line here.
import type { ComponentType } from "preact";
import type { Pane } from "../state";
import { AboutPanel } from "./about";
import { ComparePanel } from "./compare";
import { NodePanel } from "./node";
import { PinsPanel } from "./pins";
import { SearchPanel } from "./search";
import { SteerPanel } from "./steer";

export interface Tab {
  readonly id: string;
  readonly title: string;
  readonly Panel: ComponentType<{ pane: Pane }>;
}

export const tabs: readonly Tab[] = [
  { id: "node", title: "Node", Panel: NodePanel },
  { id: "search", title: "Search", Panel: SearchPanel },
  { id: "pins", title: "Pins", Panel: PinsPanel },
  { id: "steer", title: "Steer", Panel: SteerPanel },
  { id: "compare", title: "Compare", Panel: ComparePanel },
  { id: "about", title: "About", Panel: AboutPanel },
];
