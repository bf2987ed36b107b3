"""Does influence say what the model needs? Every active feature ablated alone, on test prompts of the pocket model.

Of each prompt the most probable next token is traced, alone, without pruning. Each active feature is then ablated by
itself while the model is free (attention patterns held, MLPs and norms live), and abs(change of the token's logit minus
the mean logit) is ranked against influence, and against two baselines: the feature's activation, and the abs(weight) of
its direct edge to the token. Intervals are bootstraps over prompts.

- All test prompts of a family where it has at most `MOST`, else `MOST` of them, evenly spaced over the corpus.
- Features at the last position are also compared among themselves: elsewhere many features cannot reach the token at
  all, which every method that follows paths knows, and which makes ranking all features easier.
- `total effect`, the graph's prediction with signs along all paths, is no baseline but shown beside them.
- Other ways to ablate (`CONDITIONS`) are run on some of the prompts, to see what the rest of the disagreement is.

    python -m benchmarks.ablation            # measures; writes results/ablation.json and tables in docs/faithfulness.md
    python -m benchmarks.ablation --check    # measures again and compares with results/ablation.json
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
from circuits import TokenTarget, attribute
from circuits.faithfulness.ablation import PREDICTORS, AblationCheck, check_ablation
from circuits.faithfulness.rank import mean_of, spearman
from circuits.faithfulness.summary import BASELINES, AblationSummary, summarise_ablations
from circuits.pocket_scores import evenly_spaced
from replacement_model import Conditions, ReplacementModel, observe
from replacement_model.pocket.corpus import build_corpus
from replacement_model.pocket.prompts import Prompt

RESULTS = Path(__file__).with_name("results") / "ablation.json"
DOCS = Path(__file__).parents[1] / "docs" / "faithfulness.md"
TRANSCODERS = ("clt", "plt")
MOST, MOST_OTHERWISE = 200, 40
PAPER = 0.72  # Ameisen et al. 2025, of their model and prompts
CONDITIONS: Mapping[str, Conditions] = {
    "attention live": Conditions("free", frozen_attention=False),
    "norms held": Conditions("free", frozen_norms=True),
    "iterative": Conditions("iterative"),
    "direct": Conditions("direct"),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__)
    parser.add_argument("--per-family", type=int, default=MOST, help=f"test prompts of each family, at most ({MOST})")
    parser.add_argument("--check", action="store_true", help="compare with results/ablation.json, write nothing")
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


def measure(most: int) -> dict[str, Any]:
    """Everything, as plain values."""
    families: dict[str, list[Prompt]] = {}
    for prompt in build_corpus().select("test"):
        families.setdefault(prompt.task, []).append(prompt)
    found: dict[str, Any] = {"settings": {"most": most, "most_otherwise": MOST_OTHERWISE}, "families": []}
    for kind in TRANSCODERS:
        model = ReplacementModel.from_pretrained("pocket", kind)
        for family, prompts in families.items():
            row = _family(model, evenly_spaced(prompts, most))
            found["families"].append({"transcoder": kind, "family": family, "test_prompts": len(prompts), **row})
            sys.stdout.write(f"{kind} {family}: {json.dumps(row['mean'])} {json.dumps(row['gain'])}\n")
            sys.stdout.flush()
    return found


def _family(model: ReplacementModel, prompts: Sequence[Prompt]) -> dict[str, Any]:
    checks = [_ablate(model, prompt) for prompt in prompts]
    otherwise = {
        name: [_ablate(model, prompt, one) for prompt in evenly_spaced(prompts, MOST_OTHERWISE)]
        for name, one in CONDITIONS.items()
    }
    free = [_ablate(model, prompt) for prompt in evenly_spaced(prompts, MOST_OTHERWISE)]
    summary = summarise_ablations(checks, np.random.default_rng(0))
    return _rounded(
        _summary_dict(summary)
        | {"share_without_influence": float(np.mean([np.mean(one.predictions["influence"] == 0) for one in checks]))}
        | {"otherwise": {name: _both(ones) for name, ones in {"free": free, **otherwise}.items()}}
    )


def _ablate(model: ReplacementModel, prompt: Prompt, conditions: Conditions | None = None) -> AblationCheck:
    observed = observe(model, prompt.text)
    token = int(observed.capture.logits[-1].argmax())
    graph = attribute(model, observed.prompt, [TokenTarget(token)])
    return check_ablation(observed, graph, conditions=conditions)


def _summary_dict(summary: AblationSummary) -> dict[str, Any]:
    parts = {name: getattr(summary, name) for name in ("mean", "gain", "last", "last_gain", "pooled_gain")}
    return {
        "n_prompts": summary.n_prompts,
        "n_skipped": summary.n_skipped,
        "n_features": summary.n_features,
        "beats_baselines": summary.beats_baselines,
        "pooled": dict(summary.pooled),
        **{name: {key: one.to_dict() for key, one in part.items()} for name, part in parts.items()},
    }


def _both(checks: Sequence[AblationCheck]) -> dict[str, float]:
    """Mean rank correlations under some conditions; of the total effect with its sign too."""
    signed = [spearman(one.signed_total, -one.effects) for one in checks]
    return {name: mean_of([one.spearman[name] for one in checks]) for name in PREDICTORS} | {
        "signed total effect": mean_of(signed)
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value


def write_tables(found: Mapping[str, Any], path: Path) -> None:
    """Put the results into a document, between the two comments that mark their place."""
    text = path.read_text(encoding="utf-8")
    block = f"<!-- ablation.json -->\n{tables(found)}<!-- /ablation.json -->"
    pattern = r"(?s)<!-- ablation.json -->.*<!-- /ablation.json -->"
    path.write_text(re.sub(pattern, lambda _: block, text), encoding="utf-8")


def tables(found: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    families = found["families"]
    return "\n".join([_verdict(families), _main_table(families), _last_table(families), _modes_table(families)])


def _verdict(families: Sequence[Mapping[str, Any]]) -> str:
    """In words: how often influence wins, and how often it reaches the paper's figure."""
    lines = []
    for part, gain, where in (("mean", "gain", "All active features"), ("last", "last_gain", "At the last position")):
        n_above = sum(all(one[gain][name]["low"] > 0 for name in BASELINES) for one in families)
        values = [one[part]["influence"]["value"] for one in families]
        n_reached = sum(one[part]["influence"]["low"] >= PAPER for one in families)
        lines.append(
            f"{where}: influence is above both baselines, with its whole interval, in {n_above} of {len(families)} "
            f"rows; its means are {min(values):.3f} to {max(values):.3f}; {PAPER} is below the whole interval in "
            f"{n_reached}."
        )
    shares = [one["share_without_influence"] for one in families]
    lines.append(
        f"{min(shares):.0%} to {max(shares):.0%} of the active features have no influence on the target at all."
    )
    return "\n".join(f"- {line}" for line in lines) + "\n"


def _main_table(families: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for one in families:
        of = one["n_prompts"] + one["n_skipped"]
        prompts = f"{one['n_prompts']} of {one['test_prompts']}" if of < one["test_prompts"] else f"all {of}"
        rows.append(
            [
                one["transcoder"],
                one["family"],
                prompts,
                f"{one['n_features']:,}",
                _estimate(one["mean"]["influence"]),
                *(f"{one['mean'][name]['value']:.3f}" for name in BASELINES),
                *(_gain(one["gain"][name]) for name in BASELINES),
                f"{one['mean']['total effect']['value']:.3f}",
            ]
        )
    head = ["", "family", "test prompts", "features", "influence", *BASELINES]
    return _table([*head, *(f"above {name}" for name in BASELINES), "total effect"], rows)


def _last_table(families: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            one["transcoder"],
            one["family"],
            f"{one['last']['influence']['n']}",
            _estimate(one["last"]["influence"]),
            *(f"{one['last'][name]['value']:.3f}" for name in BASELINES),
            *(_gain(one["last_gain"][name]) for name in BASELINES),
            f"{one['pooled']['influence']:.3f}",
            *(_gain(one["pooled_gain"][name]) for name in BASELINES),
        ]
        for one in families
    ]
    head = ["", "family", "prompts", "influence, last position", *BASELINES, *(f"above {name}" for name in BASELINES)]
    return _table([*head, "influence, pooled", *(f"above {name}, pooled" for name in BASELINES)], rows)


def _modes_table(families: Sequence[Mapping[str, Any]]) -> str:
    modes = list(families[0]["otherwise"])
    names = ("influence", "direct edge", "total effect", "signed total effect")
    rows = []
    for kind in dict.fromkeys(one["transcoder"] for one in families):
        for name in names:
            means = [
                mean_of([o["otherwise"][mode][name] for o in families if o["transcoder"] == kind]) for mode in modes
            ]
            rows.append([kind, name, *(f"{value:.3f}" for value in means)])
    return _table(["", "mean of the families", *modes], rows)


def _estimate(one: Mapping[str, float]) -> str:
    return f"**{one['value']:.3f}** ({one['low']:.3f} to {one['high']:.3f})"


def _gain(one: Mapping[str, float]) -> str:
    return f"{one['value']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
