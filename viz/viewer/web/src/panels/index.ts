// The tabs of the right side. A panel is a component that is given the active pane; add one by adding a line here.
import type { ComponentType } from "preact";
import type { Pane } from "../state";
import { NodePanel } from "./node";

export interface Tab {
  readonly id: string;
  readonly title: string;
  readonly Panel: ComponentType<{ pane: Pane }>;
}

export const tabs: readonly Tab[] = [{ id: "node", title: "Node", Panel: NodePanel }];
