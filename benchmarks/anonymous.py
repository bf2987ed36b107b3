"""Anonymous memory of this process: what it allocated, without the pages of files that it has mapped."""

import threading
import time
from pathlib import Path
from types import TracebackType

__all__ = ["AnonymousPeak", "anonymous_bytes"]

STATUS = Path("/proc/self/status")
INTERVAL = 0.005


def anonymous_bytes() -> int:
    """RssAnon of proc(5)."""
    for line in STATUS.read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"expected RssAnon in {STATUS}; the benchmark needs Linux 4.5 or later")


class AnonymousPeak:
    """The largest anonymous memory inside the block above that at its start, sampled every few milliseconds."""

    def __init__(self) -> None:
        self.extra_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "AnonymousPeak":
        self._start = anonymous_bytes()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.extra_bytes = max(self.extra_bytes, anonymous_bytes() - self._start)

    def _sample(self) -> None:
        while not self._stop.is_set():
            self.extra_bytes = max(self.extra_bytes, anonymous_bytes() - self._start)
            time.sleep(INTERVAL)
