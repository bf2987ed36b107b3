"""Is the peer the program that made the reference graphs? Its edges on golden/ against the stored ones."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.edges import Edges, compare
from benchmarks.environment import Tools
from benchmarks.worker import ROOT

__all__ = ["TOLERANCE", "check_peer", "golden_folder"]

TOLERANCE = 1e-5  # absolute, in float32 (golden/README.md)
BATCH_SIZE = 64


def golden_folder() -> Path:
    """$ORRERY_GOLDEN, or shared/golden beside the repository."""
    return Path(os.environ.get("ORRERY_GOLDEN", ROOT.parent / "shared" / "golden"))


def check_peer(tools: Tools, cases: tuple[str, ...], work: Path) -> dict[str, Any]:
    """What the peer is, and under `golden` the largest difference of an edge, by case.

    Raises:
        ValueError: the peer selects other features or its edges differ by more than TOLERANCE.
    """
    differences = {}
    with tools.peer() as peer:
        for case in cases:
            folder, found = golden_folder() / case, work / f"{case}.npz"
            with np.load(folder / "reference.npz") as stored:
                reference = Edges(stored["active_features"], stored["logit_token_ids"], stored["edges"])
                token_ids = stored["tokens"].tolist()
            peer.call("load_model", model=str(folder / "model"), transcoder=str(folder / "transcoder"))
            peer.call("trace", token_ids=token_ids, batch_size=BATCH_SIZE, save_to=str(found))
            agreement = compare(Edges.load(found), reference)
            if agreement.n_selected != (agreement.n_common,) * 2 or agreement.max_difference > TOLERANCE:
                raise ValueError(f"expected the peer to reproduce {case} within {TOLERANCE}, got {agreement}")
            differences[case] = agreement.max_difference
        return {**peer.call("describe"), "golden": differences}
