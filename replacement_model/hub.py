"""Fetching from the Hugging Face hub or its local cache: only what is needed, with errors that say what to do."""

import glob
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import huggingface_hub
from huggingface_hub import HfApi, constants, errors, hf_hub_download, snapshot_download
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from replacement_model.errors import InputError, WeightsError
from replacement_model.repository import HubName, needed_files

__all__ = ["HUB_ERRORS", "downloads_shown", "fetch_file", "fetch_folder", "list_files", "refusal"]

# What the hub's client raises on purpose, and what the network below it does.
HUB_ERRORS = (
    errors.HfHubHTTPError,
    errors.HFValidationError,
    errors.LocalEntryNotFoundError,
    errors.HTTPError,  # type: ignore[attr-defined] # of the HTTP library that the client's version uses
    OSError,
)

_SHOWN: ContextVar[bool] = ContextVar("downloads_shown", default=False)


@contextmanager
def downloads_shown() -> Iterator[None]:
    """Within the block, downloads show the hub client's own progress bars; elsewhere they are quiet."""
    token = _SHOWN.set(True)
    try:
        yield
    finally:
        _SHOWN.reset(token)


def fetch_file(repository: str, path: str, revision: str | None = None) -> Path:
    """The local path of one file of a repository, downloaded unless the cache has it.

    Raises:
        InputError: there is no such repository, revision or file, it is gated, or neither hub nor cache has it.
    """
    where = HubName(repository, path, revision)
    try:
        with _bars():
            return Path(hf_hub_download(repository, path, revision=revision))
    except errors.LocalEntryNotFoundError as error:
        raise InputError(
            f"{where} is not in the cache and the hub is out of reach ({_reason(error)}); "
            f"get it with: {_command(where, path)}"
        ) from error
    except HUB_ERRORS as error:
        raise refusal(where, error) from error


def fetch_folder(where: HubName, patterns: Sequence[str]) -> Path:
    """The snapshot of a repository in the local cache, with the files that `needed_files` chooses and no others.

    Raises:
        InputError: there is no such repository, revision or folder, it is gated, or neither hub nor cache has it.
        WeightsError: the hub is out of reach and the cache has only a part of the files.
    """
    try:
        listed = list_files(where)
    except HUB_ERRORS as error:
        # As the hub's client does: what was downloaded before serves, whatever the reason is.
        root = _cached_snapshot(where, error)
        needed = needed_files(_cached_files(where, root), where, patterns)
        if "*.safetensors" in patterns:
            needed += _shards(root, needed)
        _check_complete(where, root, needed, error)
        return root
    exact = [glob.escape(path) for path in needed_files(listed, where, patterns)]
    try:
        with _bars():
            return Path(snapshot_download(where.repository, revision=where.revision, allow_patterns=exact))
    except HUB_ERRORS as error:
        raise refusal(where, error) from error


def list_files(where: HubName) -> list[str]:
    """Every file that may lie in the folder asked for, as the hub lists them now."""
    api, folder = HfApi(), None if "*" in where.folder else where.folder or None
    try:
        # Asked first because it fails at once without network, where a listing would be tried again and again.
        commit = api.repo_info(where.repository, revision=where.revision, timeout=constants.HF_HUB_ETAG_TIMEOUT).sha
        tree = api.list_repo_tree(where.repository, folder, recursive=True, revision=commit)
        return [entry.path for entry in tree if isinstance(entry, RepoFile)]
    except errors.RevisionNotFoundError as error:
        raise refusal(where, error) from error
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise
        return []


def _cached_snapshot(where: HubName, problem: Exception) -> Path:
    try:
        # No patterns, so that nothing counts as missing yet.
        return Path(
            snapshot_download(where.repository, revision=where.revision, local_files_only=True, allow_patterns=[])
        )
    except (errors.HFValidationError, errors.LocalEntryNotFoundError, OSError) as error:
        raise refusal(where, problem) from error


def _cached_files(where: HubName, root: Path) -> list[str]:
    """Files of a snapshot in the cache, and those that the hub listed when it was downloaded."""
    found = {Path(folder, name).relative_to(root).as_posix() for folder, _, names in os.walk(root) for name in names}
    if hasattr(huggingface_hub, "get_cached_repo_tree"):  # since 2.0
        try:
            listed = huggingface_hub.get_cached_repo_tree(where.repository, revision=root.name)
        except errors.CachedRepoTreeNotFoundError:
            listed = []
        found |= {entry.path for entry in listed}
    return sorted(found)


def _shards(root: Path, files: Sequence[str]) -> list[str]:
    """The weight files that indices among `files` list."""
    found = []
    for path in files:
        if path.endswith(".safetensors.index.json") and (root / path).is_file():
            listed = json.loads((root / path).read_text(encoding="utf-8")).get("weight_map", {})
            found += [(Path(path).parent / shard).as_posix() for shard in listed.values()]
    return found


def _check_complete(where: HubName, root: Path, needed: Sequence[str], problem: Exception) -> None:
    missing = [
        path for path in dict.fromkeys(needed) if not (root / path).is_file()
    ]  # a link without its blob is no file
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise WeightsError(
            f"the cache has only a part of {where}: it lacks {', '.join(missing[:3])}{more}, and the hub is out of "
            f"reach ({_reason(problem)}); complete it with: "
            f"{_command(where, f'{where.folder}/*' if where.folder else None)}"
        )


def _command(where: HubName, pattern: str | None) -> str:
    include = f" --include '{pattern}'" if pattern else ""
    return f"hf download {where.repository}{include}{f' --revision {where.revision}' if where.revision else ''}"


def refusal(where: HubName, error: Exception) -> InputError:
    """What the hub's client said of `where`, as one line that says what to do."""
    revision = where.revision or "main"
    if isinstance(error, errors.GatedRepoError):
        return InputError(
            f"{where.repository} is gated: accept its conditions at {where.url}, then log in with `hf auth login` "
            "(or set HF_TOKEN)"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return InputError(f"{where.repository} has no revision {revision!r}; look at {where.url}/tree/main")
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return InputError(
            f"{where.repository} has no file {where.folder!r} at revision {revision}; look at {where.files_url}"
        )
    login = (
        "; if it is private, log in with `hf auth login`" if isinstance(error, errors.RepositoryNotFoundError) else ""
    )
    return InputError(
        f"{str(where)!r} is neither a local folder nor a repository in reach ({_reason(error)}); "
        f"check the name, or try 'pocket'{login}"
    )


def _reason(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


@contextmanager
def _bars() -> Iterator[None]:
    """The client's progress bars off, unless they are to be shown or the user's environment decides."""
    if _SHOWN.get() or are_progress_bars_disabled() or constants.HF_HUB_DISABLE_PROGRESS_BARS is not None:
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
