// How tokens and numbers are written.

// A token's text with its white space made visible where nothing else is.
export function tokenText(token: string): string {
  const trimmed = token.replace(/\n/g, "⏎").replace(/\t/g, "⇥").trim();
  return trimmed === "" ? "␣".repeat(Math.max(1, token.length)) : trimmed;
}

export function number(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(1).replace("-", "−");
  return String(Number(value.toPrecision(digits))).replace("-", "−");
}

// For columns: the same number of digits for all.
export function signed(value: number): string {
  const size = Math.abs(value);
  const text = size !== 0 && (size >= 1e5 || size < 1e-3) ? value.toExponential(1) : value.toPrecision(2);
  return `${value > 0 ? "+" : ""}${text}`.replaceAll("-", "−");
}

export function percent(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const share = 100 * value;
  return `${share >= 10 || share === 0 ? share.toFixed(0) : share >= 0.1 ? share.toFixed(1) : share.toPrecision(1)} %`;
}

export const plural = (n: number, noun: string) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
