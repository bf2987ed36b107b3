"""What every test runs under: shapes checked, one thread, no network."""

import os
from collections.abc import Iterator
from pathlib import Path

# Set before torch, transformers and numba are imported; a test that needs another value sets it for its own subprocess.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jaxtyping
from jaxtyping import install_import_hook

# Every annotation of the packages is enforced from here on; the library itself never installs this.
# An int may stand for a float, as type checkers have it.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
install_import_hook(["replacement_model", "circuits", "viz"], CHECKER)

import pytest
import torch

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Reference graphs of circuit-tracer: `$ORRERY_GOLDEN`, or `shared/golden` beside the repository."""
    places = [REPOSITORY.parent / "shared" / "golden"]
    if "ORRERY_GOLDEN" in os.environ:
        places = [Path(os.environ["ORRERY_GOLDEN"])]
    for place in places:
        if (place / "README.md").is_file():
            return place
    looked = ", ".join(str(place) for place in places)
    pytest.skip(f"runs where the reference graphs are: set ORRERY_GOLDEN to their folder (looked in {looked})")


@pytest.fixture
def without_shape_checks() -> Iterator[None]:
    """Runs as a user does, without the shape checks that the tests add: the library notices wrong shapes itself."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
