"""What is kept of every layer while a text is read, and how it outlives an interruption.

Tallies of two parts of a text merge into that of both. So memory grows with the features that are ever active, and
never with the text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from replacement_model.evidence.activity import Activity
from replacement_model.evidence.contexts import Batch
from replacement_model.evidence.counts import Counts
from replacement_model.evidence.examples import Examples
from replacement_model.formats.files import read_safetensors, write_safetensors

__all__ = ["Tally", "load_tallies", "save_tallies"]

N_DONE = "n_done"


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """One layer over a part of a text."""

    counts: Counts
    examples: Examples

    @classmethod
    def empty(cls) -> "Tally":
        """Of no text."""
        ints, reals = np.empty(0, np.int64), np.empty(0, np.float32)
        counts = Counts(ints, reals, reals, ints, ints, ints)
        return cls(counts, Examples(ints, ints, ints, reals, ints, ints, ints, reals))

    @classmethod
    def of(cls, activity: Activity, batch: Batch) -> "Tally":
        """Of one batch of contexts."""
        examples = Examples.of(activity, batch, batch.prefix_hashes())
        return cls(Counts.of(activity.feature_idx, activity.acts), examples)

    @classmethod
    def merged(cls, parts: "Sequence[Tally]", n_top: int, n_sample: int) -> "Tally":
        """Of consecutive parts of a text together, with a bounded number of examples."""
        counts = Counts.merged([part.counts for part in parts])
        return cls(counts, Examples.merged([part.examples for part in parts], n_top, n_sample))

    @property
    def size(self) -> int:
        """How many numbers it holds, about."""
        return len(self.counts.bin) + len(self.examples) + len(self.examples.pos)


def save_tallies(path: Path, tallies: Mapping[int, Tally], n_done: int) -> None:
    """Write the tallies of all layers over the first `n_done` contexts, all or nothing."""
    arrays = {
        f"{layer}.{part}.{name}": getattr(getattr(tally, part), name)
        for layer, tally in tallies.items()
        for part, kind in (("counts", Counts), ("examples", Examples))
        for name in kind.__slots__
    }
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    write_safetensors(path, tensors | {N_DONE: torch.tensor([n_done])})


def load_tallies(path: Path, layers: Sequence[int]) -> tuple[dict[int, Tally], int]:
    """What `save_tallies` wrote, and how many contexts it covers.

    Raises:
        WeightsError: the file is damaged.
    """
    # Copied, since the next checkpoint takes the file's place.
    arrays = {name: np.array(tensor.numpy()) for name, tensor in read_safetensors(path).items()}

    def read(layer: int) -> Tally:
        counts = Counts(*(arrays[f"{layer}.counts.{name}"] for name in Counts.__slots__))
        return Tally(counts, Examples(*(arrays[f"{layer}.examples.{name}"] for name in Examples.__slots__)))

    return {layer: read(layer) for layer in layers}, int(arrays[N_DONE][0])
