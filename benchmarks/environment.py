"""Where the tools run: the peer's environment, the workers' settings, and the facts that a result must carry."""

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.worker import ROOT, Worker

__all__ = ["Tools", "install_peer", "machine", "peer_is_installed"]

PEER_FOLDER = ROOT / ".venv-4.57"
PEER_PYTHON = PEER_FOLDER / "bin" / "python"
CONSTRAINTS = ROOT / "constraints-4.57.txt"
INSTALLED = PEER_FOLDER / "constraints.txt"
PACKAGES = ("torch", "transformers", "numba", "numpy", "scipy")
MALLOC = {
    "default": {},
    "tuned": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"},
}


@dataclass(frozen=True, slots=True)
class Tools:
    """Starts workers, all with the same number of threads and without a network."""

    n_threads: int

    def peer(self, malloc: str = "default") -> Worker:
        return Worker(PEER_PYTHON, "benchmarks.peer", {**self._env(), **MALLOC[malloc]})

    def own(self) -> Worker:
        return Worker(Path(sys.executable), "benchmarks.own", self._env())

    def _env(self) -> dict[str, str]:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), str(self.n_threads))
        return {**threads, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def peer_is_installed() -> bool:
    """Whether the peer's environment exists, with the versions that constraints-4.57.txt names."""
    return INSTALLED.is_file() and INSTALLED.read_bytes() == CONSTRAINTS.read_bytes()


def install_peer() -> None:
    """Makes the peer's environment, unless it is there."""
    if peer_is_installed():
        return
    target = INSTALLED.relative_to(ROOT)
    subprocess.run(["make", str(target), f"PYTHON={sys.executable}"], cwd=ROOT, check=True)


def machine() -> dict[str, Any]:
    """Processor, memory, load, our versions, and the commit that is measured."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    models = {line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")}
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": ", ".join(sorted(models)),
        "n_cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages * page / 2**30, 1),
        "system": platform.platform(),
        "load_average_at_start": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
