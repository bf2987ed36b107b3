"""The rules for the files around a graph: features, the list of graphs, supernodes."""

from collections.abc import Callable, Mapping
from typing import Any

from circuits.graph_json.kinds import is_int, is_number, is_text_list
from circuits.supernodes.file import SCHEMA_VERSION
from viz.exchange.graph_rules import check_identity, check_supernode_rows
from viz.exchange.violation import Findings, Missing, pointer

__all__ = ["check_feature", "check_index", "check_supernodes"]


def check_feature(value: Mapping[str, Any], name: str | None, found: Findings) -> None:
    """A feature file; `name` is its file name without the ending, None where it is a record of a larger file."""
    index = value.get("index", Missing())
    if found.require(is_int(index) and index >= 0, "feature-index", "/index", "an integer from 0", index):
        found.require(name in (None, str(index)), "feature-name", "", f"the file name {index}.json", name)
    groups = value.get("examples_quantiles", Missing())
    where = "/examples_quantiles"
    if found.require(isinstance(groups, list), "examples-quantiles", where, "a list", groups):
        for k, group in enumerate(groups):
            _check_group(group, pointer("examples_quantiles", k), found)
    optional: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "top_logits": ("a list of texts", is_text_list),
        "bottom_logits": ("a list of texts", is_text_list),
        "act_min": ("a number", is_number),
        "act_max": ("a number", is_number),
        "histogram": ("a list of numbers", _is_number_list),
        "activation_frequency": ("a number", is_number),
    }
    for key, (expected, fits) in optional.items():
        if value.get(key) is not None:
            found.require(fits(value[key]), "feature-optional", pointer(key), expected, value[key])


def check_index(value: Mapping[str, Any], found: Findings) -> list[dict[str, Any]]:
    """graph-metadata.json; returns the entries that are objects."""
    graphs = value.get("graphs", Missing())
    if not found.require(isinstance(graphs, list), "index-required", "/graphs", "a list", graphs):
        return []
    slugs: dict[str, int] = {}
    for k, entry in enumerate(graphs):
        where = pointer("graphs", k)
        if not found.require(isinstance(entry, dict), "index-required", where, "an object", entry):
            continue
        check_identity(entry, where, "index-required", found)
        title = entry.get("title_prefix", Missing())
        found.require(isinstance(title, str), "title-prefix", f"{where}/title_prefix", "a text", title)
        slug = entry.get("slug")
        if isinstance(slug, str) and slugs.setdefault(slug, k) != k:
            found.add(
                "index-slug-unique", f"{where}/slug", f"another slug than {pointer('graphs', slugs[slug])} has", slug
            )
    return [entry for entry in graphs if isinstance(entry, dict)]


def check_supernodes(value: Mapping[str, Any], found: Findings) -> None:
    """supernodes.json."""
    version, rows = value.get("schema_version", Missing()), value.get("supernodes")
    found.require(version == SCHEMA_VERSION, "supernodes-schema", "/schema_version", str(SCHEMA_VERSION), version)
    if not check_supernode_rows(rows, "/supernodes", found) or not isinstance(rows, list):
        return
    first: dict[str, str] = {}
    for k, row in enumerate(rows):
        for n, name in enumerate(row[1:], 1):
            where = pointer("supernodes", k, n)
            if first.setdefault(name, where) != where:
                found.add("supernodes-once", where, f"another node than {first[name]}", name)


def _check_group(group: Any, where: str, found: Findings) -> None:
    fits = isinstance(group, dict) and isinstance(group.get("quantile_name"), str)
    fits = fits and isinstance(group.get("examples"), list)
    if not found.require(fits, "examples-quantiles", where, "an object with quantile_name and examples", group):
        return
    for k, example in enumerate(group["examples"]):
        _check_example(example, f"{where}/examples/{k}", found)


def _check_example(example: Any, where: str, found: Findings) -> None:
    if not found.require(isinstance(example, dict), "example", where, "an object", example):
        return
    tokens, acts, peak = (example.get(key, Missing()) for key in ("tokens", "tokens_acts_list", "train_token_ind"))
    if found.require(is_text_list(tokens), "example", f"{where}/tokens", "a list of texts", tokens):
        fits = _is_number_list(acts) and len(acts) == len(tokens)
        found.require(fits, "example", f"{where}/tokens_acts_list", f"{len(tokens)} numbers, one a token", acts)
        inside = is_int(peak) and 0 <= peak < len(tokens)
        found.require(inside, "example", f"{where}/train_token_ind", f"a place from 0 to {len(tokens) - 1}", peak)


def _is_number_list(value: Any) -> bool:
    return isinstance(value, list) and all(is_number(one) for one in value)
