"""What `orrery check` finds of graphs of the pocket model's test prompts: prompts of every family, both transcoders.

python -m benchmarks.checks            # measures; writes results/checks.json and tables in docs/faithfulness.md
python -m benchmarks.checks --check    # measures again and compares with results/checks.json
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.environment import machine
from circuits import attribute, prune
from circuits.faithfulness.check import Check, check_circuits
from circuits.faithfulness.rank import mean_of
from circuits.pocket_scores import evenly_spaced
from circuits.studies.statistics import weighted_estimate
from replacement_model import ReplacementModel
from replacement_model.pocket.corpus import build_corpus

RESULTS = Path(__file__).with_name("results") / "checks.json"
DOCS = Path(__file__).parents[1] / "docs" / "faithfulness.md"
TRANSCODERS = ("clt", "plt")
GROUPS = {"graph": "influential", "chance": "by chance"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checks", description=__doc__)
    parser.add_argument("--per-family", type=int, default=12, help="test prompts of each family (12)")
    parser.add_argument("--check", action="store_true", help="compare with results/checks.json, write nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(arguments.per_family)
    if arguments.check:
        known = json.loads(RESULTS.read_text(encoding="utf-8"))["measured"]
        same = known == json.loads(json.dumps(found))
        sys.stdout.write("the same numbers as before\n" if same else "other numbers than before\n")
        sys.exit(0 if same else 1)
    RESULTS.write_text(json.dumps({"machine": machine(), "measured": found}, indent=1) + "\n", encoding="utf-8")
    write_tables(found, DOCS)


def measure(n_per_family: int) -> dict[str, Any]:
    """Everything, as plain values."""
    families: dict[str, list[str]] = {}
    for prompt in build_corpus().select("test"):
        families.setdefault(prompt.task, []).append(prompt.text)
    models = {kind: ReplacementModel.from_pretrained("pocket", kind) for kind in TRANSCODERS}
    found: dict[str, Any] = {"settings": {"per_family": n_per_family}, "transcoders": {}, "families": {}}
    for kind in TRANSCODERS:
        other = models["plt"] if kind == "clt" else None
        checks: dict[str, tuple[Check, ...]] = {}
        for family, texts in families.items():
            circuits = [prune(attribute(models[kind], text)) for text in evenly_spaced(texts, n_per_family)]
            checks[family] = check_circuits(models[kind], circuits, other).each
            sys.stdout.write(f"{kind} {family}: {len(circuits)} graphs\n")
            sys.stdout.flush()
        found["transcoders"][kind] = _rounded(summarise([one for each in checks.values() for one in each]))
        if other is not None:
            found["families"] = {family: _rounded(compared(each)) for family, each in checks.items()}
    return found


def summarise(checks: Sequence[Check]) -> dict[str, Any]:
    """Of one transcoder's graphs: the exact parts, effects by distance, stability."""
    rows = [row for one in checks for row in one.downstream]
    effects = []
    for mode, chosen, distance in dict.fromkeys((row.mode, row.chosen, row.distance) for row in rows):
        ours = [row for row in rows if (row.mode, row.chosen, row.distance) == (mode, chosen, distance)]
        cosines = np.array([row.cosine for row in ours if np.isfinite(row.cosine)])
        effects.append(
            {
                "mode": mode,
                "chosen": chosen,
                "distance": distance,
                "n_graphs": len(cosines),
                "cosine": _estimate(cosines),
                "spearman": mean_of([row.spearman for row in ours]),
            }
        )
    stable = [one.stability for one in checks]
    return {
        "n_graphs": len(checks),
        "n_held": sum(one.holds for one in checks),
        "n_effects": sum(one.direct.n_effects for one in checks),
        "worst": max(one.direct.worst for one in checks),
        "effects": effects,
        "node_jaccard": _estimate(np.array([one.node_jaccard for one in stable])),
        "edge_jaccard": _estimate(np.array([one.edge_jaccard for one in stable])),
        "always_nodes": float(np.mean([one.always_nodes / max(one.own_nodes, 1) for one in stable])),
        "always_edges": float(np.mean([one.always_edges / max(one.own_edges, 1) for one in stable])),
    }


def compared(checks: Sequence[Check]) -> dict[str, Any]:
    """Of one family: cross-layer against per-layer graphs of the same prompts."""
    pairs = [one.comparison for one in checks if one.comparison is not None]
    lengths = np.array([[one.first.mean_length, one.second.mean_length] for one in pairs])
    scores = [(one.first.replacement_score, one.second.replacement_score) for one in pairs]
    return {
        "n_graphs": len(pairs),
        "tokens": _estimate(np.array([one.tokens for one in pairs])),
        "tokens_even": float(np.mean([one.tokens_even for one in pairs])),
        "positions": float(np.mean([one.positions for one in pairs])),
        "layers": float(np.mean([one.layers for one in pairs])),
        "lengths": lengths.mean(axis=0).tolist(),
        "longer": _estimate(lengths[:, 1] - lengths[:, 0]),
        "replacement_scores": np.mean(scores, axis=0).tolist(),
    }


def _estimate(values: np.ndarray) -> dict[str, Any] | None:
    """Mean and 95% interval over graphs; None where there are none."""
    if not len(values):
        return None
    names = [str(number) for number in range(len(values))]
    generator = np.random.default_rng(0)
    return weighted_estimate(lambda times: times @ values / len(values), names, generator).to_dict()


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return None if np.isnan(value) else round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def write_tables(found: Mapping[str, Any], path: Path) -> None:
    """Put the results into a document, between the two comments that mark their place."""
    text = path.read_text(encoding="utf-8")
    block = f"<!-- checks.json -->\n{tables(found)}<!-- /checks.json -->"
    path.write_text(re.sub(r"(?s)<!-- checks.json -->.*<!-- /checks.json -->", lambda _: block, text), encoding="utf-8")


def tables(found: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    return "\n".join([_exact(found), _effects(found["transcoders"]), _families(found["families"])])


def _exact(found: Mapping[str, Any]) -> str:
    lines = [
        f"- {kind}: exact in {one['n_held']} of {one['n_graphs']} graphs ({one['n_effects']:,} direct effects, the "
        f"largest error {one['worst']:.0%} of what is allowed); neighbouring thresholds share "
        f"{_text(one['node_jaccard'])} of features and errors and "
        f"{_text(one['edge_jaccard'])} of edges; {one['always_nodes']:.0%} of a circuit's "
        f"features and errors and {one['always_edges']:.0%} of its edges are in all 20 prunings."
        for kind, one in found["transcoders"].items()
    ]
    return "\n".join(lines) + "\n"


def _effects(transcoders: Mapping[str, Any]) -> str:
    lines = ["| features | mode | layers on | clt: cosine | Spearman | plt: cosine | Spearman |", "|" + "---|" * 7]
    for first, second in zip(*(one["effects"] for one in transcoders.values()), strict=True):
        where = "target" if first["distance"] is None else str(first["distance"])
        cells = [cell for one in (first, second) for cell in (_text(one["cosine"]), _number(one["spearman"]))]
        lines.append(f"| {GROUPS[first['chosen']]} | {first['mode']} | {where} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _families(families: Mapping[str, Any]) -> str:
    head = ["family", "prompts", "tokens", "even spread", "positions", "layers", "edges from a token, clt", "plt"]
    head += ["plt - clt", "replacement score, clt", "plt"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for family, one in families.items():
        cells = [family, str(one["n_graphs"]), _text(one["tokens"])]
        cells += [_number(one[name]) for name in ("tokens_even", "positions", "layers")]
        cells += [*map(_number, one["lengths"]), _text(one["longer"]), *map(_number, one["replacement_scores"])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _text(one: Mapping[str, Any] | None) -> str:
    return "none" if one is None else f"{one['value']:.2f} ({one['low']:.2f} to {one['high']:.2f})"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
