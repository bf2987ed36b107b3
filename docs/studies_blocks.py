"""Puts the numbers of a study's folder into docs/studies.md: `python docs/studies_blocks.py FOLDER`.

The block is found by its markers, `<!-- NAME -->` and `<!-- /NAME -->`, where NAME is the study's.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("studies.md")
HEAD = ("what", "where", "prompts", "swaps", "clt", "random", "all features", "plt", "random", "all features")


def multi_step(results: dict[str, Any]) -> Iterator[str]:
    """A row for each experiment, operation, hop and group: success with its interval, beside the controls'."""
    yield "| " + " | ".join(HEAD) + " |"
    yield "|" + "---|" * len(HEAD)
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for one in results["experiments"]:
        taken = set()
        for arm in one["arms"]:
            how = arm["arm"]
            kind = "patch" if how["operation"] == "patch" else "control" if how["control"] else "swap"
            key = (one["transcoder"], one["experiment"], how["operation"], how["hop"], arm["group"], kind, how["held"])
            if how["held"] or key in taken:  # the first arm of a kind is the one that was chosen
                continue
            taken.add(key)
            operation = "" if how["operation"] in ("swap", "patch") else f", {how['operation']}"
            if arm["group"] == "all" and any(other["group"] != "all" for other in one["arms"]):
                continue
            best = " *" if how["hop"] == one["main_hop"] and kind == "swap" else ""
            row = rows.setdefault((one["experiment"] + operation, how["hop"], arm["group"]), {})
            row[f"{one['transcoder']} {kind}"] = _text(arm["success"]) + best
            if kind == "swap":
                row["n"] = str(arm["success"]["n"])
    for (what, where, group), row in rows.items():
        cells = [row.get(f"{name} {kind}", "") for name in ("clt", "plt") for kind in ("swap", "control", "patch")]
        yield f"| {what} | {where} | {group} | {row.get('n', '')} | " + " | ".join(cells) + " |"


TABLES: dict[str, Callable[[dict[str, Any]], Iterator[str]]] = {"multi-step": multi_step}


def _text(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.2f} ({estimate['low']:.2f} to {estimate['high']:.2f})"


def main(folder: Path) -> None:
    """Rewrite the block of the study in `folder`."""
    name = json.loads((folder / "study.json").read_text(encoding="utf-8"))["study"]
    table = "\n".join(TABLES[name](json.loads((folder / "results.json").read_text(encoding="utf-8"))))
    block = f"<!-- {name} -->\n{table}\n<!-- /{name} -->"
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(re.sub(rf"(?s)<!-- {name} -->.*<!-- /{name} -->", lambda _: block, text), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
