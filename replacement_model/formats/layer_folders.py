"""Sets with a folder a layer: finding the folders, and choosing where a layer has several."""

import re
from collections.abc import Iterable
from pathlib import Path

from replacement_model.errors import InputError, WeightsError

__all__ = ["choose_layers", "holders", "layer_in_path", "starred_folders"]

DEPTH = 3  # of `layer_3/width_16k/average_l0_76`
LAYER = re.compile(r"(?:^|[^a-z])(?:layers?|h|blocks?)[._](\d+)(?!\d)")
AVERAGE_L0 = re.compile(r"average_l0_(\d+)")


def holders(folder: Path, name: str) -> list[Path]:
    """The folders that hold a file `name`: `folder` itself, else those below it; its parts may hold `*`."""
    found: list[Path] = []
    for root in starred_folders(folder):
        if (root / name).is_file():
            found.append(root)
        else:
            found += (path.parent for depth in range(1, DEPTH + 1) for path in root.glob("*/" * depth + name))
    return sorted(found)


def starred_folders(folder: Path) -> list[Path]:
    """The folders that a path means whose parts may hold `*`; a path without is its own only one."""
    parts = folder.parts
    first = next((index for index, part in enumerate(parts) if "*" in part), None)
    return [folder] if first is None else sorted(Path(*parts[:first]).glob("/".join(parts[first:])))


def layer_in_path(path: Path) -> int:
    """The layer that a folder is for, by the last of its parts that names one.

    Raises:
        WeightsError: none does.
    """
    for part in reversed(path.parts):
        numbers = LAYER.findall(part)
        if len(numbers) == 1:
            return int(numbers[0])
    raise WeightsError(f"{path}: expected a folder named after its layer, such as layer_5 or layers.5.mlp")


def choose_layers(folders: Iterable[tuple[int, Path]], l0: int | None, where: Path) -> dict[int, Path]:
    """One folder a layer.

    Args:
        folders: each with its layer.
        l0: of several `average_l0_{n}`, the nearest is taken; the lower of two equally near.
        where: what was asked for, for messages.

    Raises:
        InputError: a layer has several, and nothing says which.
    """
    by_layer: dict[int, list[Path]] = {}
    for layer, path in folders:
        by_layer.setdefault(layer, []).append(path)
    return {layer: _choose(layer, by_layer[layer], l0, where) for layer in sorted(by_layer)}


def _choose(layer: int, paths: list[Path], l0: int | None, where: Path) -> Path:
    if l0 is not None and len(paths) > 1:
        measured = {path: match for path in paths if (match := AVERAGE_L0.search(path.name))}
        if len(measured) == len(paths) and len({path.parent for path in paths}) == 1:
            return min(paths, key=lambda path: (abs(int(measured[path][1]) - l0), int(measured[path][1])))
    if len(paths) > 1:
        names = ", ".join("/".join(path.parts[-2:]) for path in paths[:6])
        more = f" and {len(paths) - 6} more" if len(paths) > 6 else ""
        raise InputError(
            f"{where} has {len(paths)} transcoders of layer {layer}: {names}{more}; name the folders of one set with "
            "a * for the layer, as in layer_*_width_16k_l0_small, or give l0 (--l0) where they differ in average_l0"
        )
    return paths[0]
