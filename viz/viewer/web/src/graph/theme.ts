// The colours of the canvas are those of the style sheet.
import type { Colours } from "./draw";

export function readColours(root: HTMLElement): Colours {
  const probe = root.appendChild(document.createElement("i"));
  const style = getComputedStyle(probe);
  const read = (name: string) => {
    probe.style.color = `var(--${name})`; // as a colour, in which light-dark() is decided
    return style.color;
  };
  const colours = {
    text: read("text"),
    muted: read("muted"),
    line: read("line"),
    surface: read("surface"),
    halo: read("canvas"),
    band: read("band"),
    positive: read("positive"),
    negative: read("negative"),
    kinds: ["feature", "error", "token", "logit"].map(read),
    accent: read("accent"),
    only: read("only"),
    font: style.fontFamily,
  };
  probe.remove();
  return colours;
}
