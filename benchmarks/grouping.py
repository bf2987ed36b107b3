"""Do supernodes found from similarity agree with the pocket corpus's concepts better than k-means on decoder rows?

Each circuit's features are grouped, and put into as many groups by k-means. Both partitions are compared with the
features' concepts by adjusted mutual information (AMI), prompt by prompt.

- A feature's concept is the one that its activity marks best (F1) over contexts of training prompts that are not among
  those that activations are compared over. Readings of one concept ("..., at the last word") are one. A feature whose
  F1 is below `MIN_F1` has none and is left out of the AMI, though it is grouped; a prompt with fewer than `MIN_MATCHED`
  features left is skipped, and counted.
- Labels are not compared: they are these concepts.
- Weights, and which decoder rows the baseline gets, are chosen on validation prompts; test prompts are used once.

    python -m benchmarks.grouping            # measures; writes results/grouping.json and a table in docs/supernodes.md
    python -m benchmarks.grouping --check    # measures again and compares with results/grouping.json
"""

import argparse
import json
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from scipy.cluster.vq import kmeans2

from benchmarks.environment import machine
from circuits import Circuit, Graph, attribute, prune
from circuits.pocket_scores import evenly_spaced
from circuits.supernodes.agreement import adjusted_mutual_information
from circuits.supernodes.automatic import kept_features
from circuits.supernodes.clustering import cluster
from circuits.supernodes.evidence import activation_profiles, decoder_directions
from circuits.supernodes.similarity import (
    WEIGHTS,
    combine,
    cosine_similarity,
    incoming_similarity,
    outgoing_similarity,
)
from replacement_model import ReplacementModel
from replacement_model.pocket.concepts import AT_END, AT_WORD, tabulate_concepts
from replacement_model.pocket.contexts import prefixes
from replacement_model.pocket.corpus import Corpus, build_corpus
from replacement_model.pocket.prompts import Prompt
from replacement_model.pocket.transcoders import activation_dataset, training_contexts

RESULTS = Path(__file__).with_name("results") / "grouping.json"
DOCS = Path(__file__).parents[1] / "docs" / "supernodes.md"
TRANSCODERS = ("clt", "plt")
NODE_THRESHOLDS = (0.8, 0.95)
N_TEXTS_PER_TASK = 150
MIN_F1, MIN_MATCHED = 0.3, 3
N_STARTS, N_RESAMPLES = 10, 2000
CANDIDATES: Mapping[str, Mapping[str, float]] = {
    f"activation {weight:g}": {"incoming": 1.0, "outgoing": 1.0, "decoder": 2.0, "activation": weight}
    for weight in (1.0, 2.0, 4.0, 8.0)
}
ABLATIONS: Mapping[str, Mapping[str, float]] = {
    "without activations": {"incoming": 1.0, "outgoing": 1.0, "decoder": 2.0},
    "activations alone": {"activation": 1.0},
    "incoming alone": {"incoming": 1.0},
    "outgoing alone": {"outgoing": 1.0},
    "decoder alone": {"decoder": 1.0},
}


@dataclass(frozen=True, slots=True)
class Case:
    """One circuit: its similarities, decoder rows by the names of their kinds, and what its features stand for."""

    task: str
    parts: Mapping[str, np.ndarray]
    rows: Mapping[str, np.ndarray]
    concepts: np.ndarray
    matched: np.ndarray


@dataclass(frozen=True, slots=True)
class Concepts:
    """The concept that each (layer, feature_idx) marks best, and how well."""

    name: Mapping[tuple[int, int], str]
    f1: Mapping[tuple[int, int], float]


@dataclass(frozen=True, slots=True)
class Profiles:
    """Activations `acts[row, context]`, and the row of each (layer, feature_idx)."""

    acts: sp.csr_array
    row: Mapping[tuple[int, int], int]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grouping", description=__doc__)
    parser.add_argument("--per-task", type=int, default=16, help="prompts of each task and split (16)")
    parser.add_argument("--check", action="store_true", help="compare with results/grouping.json, write nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(arguments.per_task)
    if arguments.check:
        known = json.loads(RESULTS.read_text(encoding="utf-8"))["measured"]
        same = known == json.loads(json.dumps(found))
        sys.stdout.write("the same numbers as before\n" if same else "other numbers than before\n")
        sys.exit(0 if same else 1)
    RESULTS.write_text(json.dumps({"machine": machine(), "measured": found}, indent=1) + "\n", encoding="utf-8")
    write_table(found, DOCS)


def measure(n_per_task: int) -> dict[str, Any]:
    """Everything, as plain values."""
    corpus = build_corpus()
    texts = _texts(corpus)
    found: dict[str, Any] = {"settings": _settings(n_per_task, len(texts)), "cases": []}
    for kind in TRANSCODERS:
        model = ReplacementModel.from_pretrained("pocket", kind)
        concepts = _concepts(model, corpus, texts)
        graphs = {split: _graphs(model, corpus, split, n_per_task) for split in ("validation", "test")}
        profiles = _profiles(model, [graph for ones in graphs.values() for _, graph in ones], texts)
        for threshold in NODE_THRESHOLDS:
            cases = {
                split: [_case(model, task, prune(graph, threshold), concepts, profiles) for task, graph in ones]
                for split, ones in graphs.items()
            }
            chosen = _choose(cases["validation"])
            report = _report(cases["test"], chosen["baseline"])
            found["cases"].append(
                {"transcoder": kind, "node_threshold": threshold, "validation": chosen, "test": report}
            )
            sys.stdout.write(f"{kind} {threshold}: {json.dumps(report['difference'])}\n")
            sys.stdout.flush()
    return found


def _settings(n_per_task: int, n_texts: int) -> dict[str, Any]:
    return {
        "prompts_per_task": n_per_task,
        "texts": n_texts,
        "min_f1": MIN_F1,
        "min_matched": MIN_MATCHED,
        "weights": {name: weight for name, weight in WEIGHTS.items() if name != "labels"},
        "k_means_starts": N_STARTS,
    }


def _by_task(corpus: Corpus, split: str) -> dict[str, list[Prompt]]:
    found: dict[str, list[Prompt]] = {}
    for prompt in corpus.select(split):
        found.setdefault(prompt.task, []).append(prompt)
    return found


def _texts(corpus: Corpus) -> list[Prompt]:
    """What activations are compared over: training prompts of every task alike."""
    return [one for ones in _by_task(corpus, "train").values() for one in evenly_spaced(ones, N_TEXTS_PER_TASK)]


def _graphs(model: ReplacementModel, corpus: Corpus, split: str, count: int) -> list[tuple[str, Graph]]:
    chosen = {task: evenly_spaced(prompts, count) for task, prompts in _by_task(corpus, split).items()}
    return [(task, attribute(model, prompt.text)) for task, prompts in chosen.items() for prompt in prompts]


def _concepts(model: ReplacementModel, corpus: Corpus, texts: Sequence[Prompt]) -> Concepts:
    """Best concepts by F1 over training contexts that are no prefix of `texts`."""
    train = corpus.select("train")
    table = tabulate_concepts(train)
    seen = {prefix for prompt in texts for prefix in prefixes(prompt)}
    every = dict.fromkeys(prefix for prompt in train for prefix in prefixes(prompt))
    rows = np.flatnonzero([prefix not in seen for prefix in every])
    data = activation_dataset(model.host.model, training_contexts(corpus))  # type: ignore[arg-type]
    holds, weights = table.holds[rows], table.weights[rows].astype(np.float64)
    weighted = sp.csr_array(holds.multiply(weights[:, None]))
    name: dict[tuple[int, int], str] = {}
    f1: dict[tuple[int, int], float] = {}
    for layer in range(model.host.n_layers):
        active = sp.csr_array((model.transcoder.encode(layer, data.inputs[layer]) > 0).numpy()[rows].astype(np.float64))
        both = (active.T @ weighted).toarray()
        either = (active.T @ weights)[:, None] + (holds.T @ weights)[None]
        scores = np.divide(2 * both, either, out=np.zeros_like(both), where=either > 0)
        for idx, best in enumerate(scores.argmax(axis=1).tolist()):
            name[layer, idx] = table.names[best].removesuffix(AT_WORD).removesuffix(AT_END)
            f1[layer, idx] = float(scores[idx, best])
    return Concepts(name, f1)


def _profiles(model: ReplacementModel, graphs: Sequence[Graph], texts: Sequence[Prompt]) -> Profiles:
    """Activations over the texts of all features that any of the circuits keeps."""
    circuits = [prune(graph, threshold) for graph in graphs for threshold in NODE_THRESHOLDS]
    kept = np.concatenate([circuit.graph.features[kept_features(circuit)] for circuit in circuits])
    features = np.unique(kept[:, [0, 2]], axis=0)
    acts = activation_profiles(model, [prompt.text for prompt in texts], np.insert(features, 1, 0, axis=1))
    return Profiles(acts, {(layer, idx): row for row, (layer, idx) in enumerate(features.tolist())})


def _case(
    model: ReplacementModel,
    task: str,
    circuit: Circuit,
    concepts: Concepts,
    profiles: Profiles,
) -> Case:
    nodes = kept_features(circuit)
    features = circuit.graph.features[nodes]
    keys = [(layer, idx) for layer, _, idx in features.tolist()]
    summed, apart = decoder_directions(model, features), _decoder_rows(model, features)
    parts = {
        "incoming": incoming_similarity(circuit.graph, nodes),
        "outgoing": outgoing_similarity(circuit.graph, nodes),
        "decoder": cosine_similarity(summed),
        "activation": cosine_similarity(sp.csr_array(profiles.acts[[profiles.row[key] for key in keys]])),
    }
    rows = {"summed": summed, "summed, unit": _unit(summed), "apart": apart, "apart, unit": _unit(apart)}
    matched = np.array([concepts.f1[key] >= MIN_F1 for key in keys], dtype=bool)
    return Case(task, parts, rows, np.array([concepts.name[key] for key in keys]), matched)


def _decoder_rows(model: ReplacementModel, features: np.ndarray) -> np.ndarray:
    """The decoder rows of every layer written to, one after the other; zeros where a feature does not write."""
    transcoder = model.transcoder
    rows = np.zeros((len(features), transcoder.n_layers, transcoder.d_model))
    for number, (layer, _, idx) in enumerate(features.tolist()):
        for j in range(transcoder.n_out(layer)):
            rows[number, layer + j] = transcoder.decoder_rows(layer, torch.tensor([idx]), layer + j)[0].numpy()
    return rows.reshape(len(features), -1)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _choose(cases: Sequence[Case]) -> dict[str, Any]:
    """Scores of every candidate on validation prompts, and the decoder rows with which the baseline does best."""
    usable = [case for case in cases if case.matched.sum() >= MIN_MATCHED]
    ours = {name: [_ours(case, weights)[0] for case in usable] for name, weights in CANDIDATES.items()}
    counts = [_ours(case, _weights())[1] for case in usable]
    baseline = {
        name: float(np.mean([_k_means(case, name, k) for case, k in zip(usable, counts, strict=True)]))
        for name in cases[0].rows
    }
    return {
        "prompts": len(usable),
        "ami": {name: float(np.mean(values)) for name, values in ours.items()},
        "baseline_ami": baseline,
        "baseline": max(baseline, key=lambda name: baseline[name]),
    }


def _report(cases: Sequence[Case], rows: str) -> dict[str, Any]:
    usable = [case for case in cases if case.matched.sum() >= MIN_MATCHED]
    scored = [_ours(case, _weights()) for case in usable]
    ours = np.array([ami for ami, _ in scored])
    k_means = np.array([_k_means(case, rows, k) for case, (_, k) in zip(usable, scored, strict=True)])
    tasks = sorted({case.task for case in usable})
    of_task = {task: np.array([case.task == task for case in usable]) for task in tasks}
    return {
        "prompts": len(usable),
        "skipped": len(cases) - len(usable),
        "features": float(np.mean([len(case.matched) for case in usable])),
        "matched": float(np.mean([case.matched.sum() for case in usable])),
        "concepts": float(np.mean([len(set(case.concepts[case.matched])) for case in usable])),
        "groups": float(np.mean([k for _, k in scored])),
        "ami": _interval(ours),
        "k_means": _interval(k_means),
        "difference": _interval(ours - k_means),
        "tasks": {
            task: {"prompts": int(of.sum()), "ami": float(ours[of].mean()), "k_means": float(k_means[of].mean())}
            for task, of in of_task.items()
        },
        "ablations": {name: _ablation(usable, weights, rows) for name, weights in ABLATIONS.items()},
    }


def _ablation(cases: Sequence[Case], weights: Mapping[str, float], rows: str) -> dict[str, float]:
    """Other weights, against k-means at their own number of groups."""
    scored = [_ours(case, weights) for case in cases]
    k_means = [_k_means(case, rows, k) for case, (_, k) in zip(cases, scored, strict=True)]
    return {
        "ami": float(np.mean([ami for ami, _ in scored])),
        "k_means": float(np.mean(k_means)),
        "groups": float(np.mean([k for _, k in scored])),
    }


def _weights() -> dict[str, float]:
    return {name: weight for name, weight in WEIGHTS.items() if name != "labels"}


def _ours(case: Case, weights: Mapping[str, float]) -> tuple[float, int]:
    """AMI with the concepts, and the number of groups."""
    found = cluster(combine({name: case.parts[name] for name in weights}, weights))
    return _ami(case, found.assignment), found.n_groups


def _k_means(case: Case, rows: str, n_groups: int) -> float:
    """AMI of the best of several k-means runs, by the summed squared distance."""
    points = case.rows[rows]
    best, smallest = np.zeros(len(points), dtype=np.int64), np.inf
    for start in range(N_STARTS):
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # an empty group, where fewer rows differ than groups are asked for
            centres, assignment = kmeans2(points, n_groups, 50, minit="++", rng=np.random.default_rng(start))
        spread = float(((points - centres[assignment]) ** 2).sum())
        if spread < smallest:
            best, smallest = assignment, spread
    return _ami(case, best)


def _ami(case: Case, assignment: np.ndarray) -> float:
    concepts = np.unique(case.concepts[case.matched], return_inverse=True)[1]
    return adjusted_mutual_information(assignment[case.matched], concepts)


def _interval(values: np.ndarray) -> dict[str, float]:
    """Mean, and a 95% interval by resampling the prompts."""
    drawn = np.random.default_rng(0).integers(0, len(values), (N_RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def write_table(found: Mapping[str, Any], path: Path) -> None:
    """Put the results into a document, between the two comments that mark their place."""
    text = path.read_text(encoding="utf-8")
    block = f"<!-- grouping.json -->\n{table(found)}<!-- /grouping.json -->"
    path.write_text(
        re.sub(r"(?s)<!-- grouping.json -->.*<!-- /grouping.json -->", lambda _: block, text), encoding="utf-8"
    )


def table(found: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    head = "| transcoder | node threshold | test prompts | groups of features | AMI | k-means | difference (95%) | "
    ablations = list(ABLATIONS)
    lines = [head + " | ".join(ablations) + " |", "|" + "---|" * (7 + len(ablations))]
    for case in found["cases"]:
        test = case["test"]
        gap = test["difference"]
        cells = [
            case["transcoder"],
            f"{case['node_threshold']:g}",
            f"{test['prompts']}",
            f"{test['groups']:.1f} of {test['features']:.1f}",
            f"{test['ami']['mean']:.3f}",
            f"{test['k_means']['mean']:.3f}",
            f"**{gap['mean']:+.3f}** ({gap['low']:+.3f} to {gap['high']:+.3f})",
            *(f"{test['ablations'][name]['ami']:.3f} ({test['ablations'][name]['k_means']:.3f})" for name in ablations),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
