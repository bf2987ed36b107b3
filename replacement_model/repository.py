"""Names of repositories on the Hugging Face hub, and which of a repository's files are needed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from huggingface_hub import constants

from replacement_model.errors import InputError

__all__ = ["HubName", "needed_files"]

WEIGHTS = (".safetensors", ".npz")
# Beside the weights in published folders, often larger than they are, and read by nothing here.
NOT_NEEDED = ("examples.safetensors", "consolidated*.safetensors", "optimizer*.safetensors")
LISTED_ELSEWHERE = "config.yaml"  # may name weight files of other repositories, so a folder can do without any
NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(//[\w.*/-]+)?(@[\w./-]+)?", re.ASCII)
LAYER_NUMBER = re.compile(r"(?<![a-z])(layers?|blocks?|h)([._])\d+")


@dataclass(frozen=True, slots=True)
class HubName:
    """`owner/repository[//folder][@revision]`; the folder may hold `*`, for sets with a folder a layer."""

    repository: str
    folder: str = ""
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> "HubName":
        """The parts of a name as people write it."""
        address, _, revision = text.partition("@")
        repository, _, folder = address.partition("//")
        return cls(repository, folder.strip("/"), revision or None)

    @classmethod
    def is_name(cls, text: str) -> bool:
        """Whether `text` is such a name, which no absolute path is and none that leads upward."""
        return NAME.fullmatch(text) is not None and ".." not in text

    def __str__(self) -> str:
        folder = f"//{self.folder}" if self.folder else ""
        return f"{self.repository}{folder}{'@' + self.revision if self.revision else ''}"

    @property
    def url(self) -> str:
        """The repository's page."""
        return f"{constants.ENDPOINT}/{self.repository}"

    @property
    def files_url(self) -> str:
        """The page that lists the repository's files at this revision."""
        return f"{self.url}/tree/{self.revision or 'main'}"


def needed_files(files: Sequence[str], where: HubName, patterns: Sequence[str]) -> list[str]:
    """Those of a repository's files that lie in the folder asked for and match `patterns`.

    Where the folder itself holds no weights, those one level below it are meant, a folder a layer.

    Args:
        files: of the repository, at least all that may lie in the folder.
        where: the folder; its parts may hold `*`.
        patterns: of file names.

    Raises:
        InputError: there is no such folder, it holds no weights, or several sets of them.
    """
    here, below = ([path for path in files if _matches(path, where.folder, depth)] for depth in (1, 2))
    if where.folder and not here and not below:
        raise InputError(
            f"{where.repository} has no folder {where.folder!r} at revision {where.revision or 'main'}; "
            f"check the name, or look at {where.files_url}"
        )
    complete = any(_is_weights(path) or path.rpartition("/")[2] == LISTED_ELSEWHERE for path in here)
    chosen = here if complete else [*here, *below]
    sets = sorted({_layerless(path) for path in chosen if _is_weights(path)})
    wanted = sorted(path for path in chosen if _is_any(path, patterns) and not _is_any(path, NOT_NEEDED))
    if len(sets) > 1 or not wanted:
        raise _which_set(where, sets, files)
    return wanted


def _which_set(where: HubName, sets: Sequence[str], files: Sequence[str]) -> InputError:
    found = sets or sorted({_layerless(path) for path in files if _is_weights(path)})
    if not found:
        return InputError(f"{where} holds no weights (.safetensors or .npz); check the name, or look at {where.url}")
    names = ", ".join(f"{where.repository}//{folder}" for folder in found[:4])
    more = f" or {len(found) - 4} others" if len(found) > 4 else ""
    what = "several sets of weights" if sets else "no weights"
    return InputError(f"{where} holds {what} at this place; name one folder: {names}{more}")


def _is_weights(path: str) -> bool:
    return path.endswith(WEIGHTS) and not _is_any(path, NOT_NEEDED)


def _layerless(path: str) -> str:
    """The folder of a file, with `*` for the number of a layer: equal for all files of a set."""
    return LAYER_NUMBER.sub(r"\1\2*", path.rpartition("/")[0])


def _matches(path: str, folder: str, depth: int) -> bool:
    """Whether `path` lies `depth` levels below `folder`, part by part, since `*` stands for a part of one name."""
    parts, wanted = path.split("/"), folder.split("/") if folder else []
    return len(parts) == len(wanted) + depth and all(map(fnmatchcase, parts, wanted))


def _is_any(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(path.rpartition("/")[2], pattern) for pattern in patterns)
