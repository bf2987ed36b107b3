"""SHA-256 of weight files, computed once: of a hub's cache it is in the file's name, else it is remembered."""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["content_hash", "content_hashes", "sha256"]

MAX_READERS = 8

REMEMBERED_FROM = 2**24  # bytes; smaller files are read again, which takes no time
BLOB = re.compile(r"[0-9a-f]{64}")


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(path: Path) -> str:
    """SHA-256 of a file, without reading a large one twice.

    A link of the hub's cache carries it in its target's name. For other files of 16 MiB and more it is kept in
    `$ORRERY_CACHE`, else `~/.cache/orrery`, for as long as the file's path, size, times and inode stay the same.
    """
    resolved = path.resolve()
    if BLOB.fullmatch(resolved.name):
        return resolved.name
    status = resolved.stat()
    if status.st_size < REMEMBERED_FROM:
        return sha256(resolved)
    identity = [str(resolved), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    record = _folder() / "sha256" / f"{hashlib.sha256(str(resolved).encode()).hexdigest()}.json"
    known = _recall(record)
    if known is not None and known[:-1] == identity and BLOB.fullmatch(str(known[-1])):
        return str(known[-1])
    digest = sha256(resolved)
    _remember(record, [*identity, digest])
    return digest


def content_hashes(paths: Sequence[Path]) -> list[str]:
    """`content_hash` of every file; several are read at once."""
    with ThreadPoolExecutor(min(MAX_READERS, os.cpu_count() or 1)) as readers:
        return list(readers.map(content_hash, paths))


def _folder() -> Path:
    chosen = os.environ.get("ORRERY_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "orrery"


def _recall(record: Path) -> list[object] | None:
    """What was remembered; None if nothing, or if it cannot be read: it is only a shortcut."""
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return known if isinstance(known, list) and known else None


def _remember(record: Path, known: list[object]) -> None:
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, not results
        record.parent.mkdir(parents=True, exist_ok=True)
        temporary = record.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(known), encoding="utf-8")
        temporary.replace(record)
