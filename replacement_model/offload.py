"""Moving modules of the host out of the way while they are not needed, and exactly back."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from replacement_model.errors import InputError

__all__ = ["OffloadTo", "offloaded"]

OffloadTo = Literal["cpu", "disk"]


@contextmanager
def offloaded(modules: Iterable[nn.Module], to: OffloadTo) -> Iterator[None]:
    """Within the block the modules' weights lie elsewhere; after it, also after an error, all is as before.

    "cpu" frees an accelerator's memory: the modules cannot run until the block ends. "disk" frees the memory of either:
    the weights become a memory-mapped file in the system's temporary folder, read again at the end.

    Args:
        modules: their parameters and buffers are moved; a tensor that several share is moved once and stays shared.
        to: "cpu" or "disk".

    Raises:
        InputError: `to` is neither, or the disk is full.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> with offloaded([layer], "disk"):
        ...     pass
    """
    if to not in get_args(OffloadTo):
        raise InputError(f"offload must be one of {', '.join(get_args(OffloadTo))}, got {to!r}")
    tensors = _tensors(modules)
    devices = [tensor.device for tensor in tensors]
    with tempfile.TemporaryDirectory(prefix="orrery-offload-") as folder:
        try:
            for index, tensor in enumerate(tensors):
                path = Path(folder) / f"{index}.safetensors"
                tensor.data = tensor.data.cpu() if to == "cpu" else _on_disk(tensor, path)
            yield
        finally:
            for tensor, device in zip(tensors, devices, strict=True):
                tensor.data = tensor.data.clone() if to == "disk" else tensor.data
                tensor.data = tensor.data.to(device)


def _tensors(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Every parameter and buffer once, in order."""
    found: dict[int, Tensor] = {}
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            found.setdefault(id(tensor), tensor)
    return list(found.values())


def _on_disk(tensor: Tensor, path: Path) -> Tensor:
    """The values as a view of a new file."""
    try:
        save_file({"tensor": tensor.data.cpu().contiguous()}, path)
    except OSError as error:
        raise InputError(f"offloading to {path.parent} failed ({error}); free some space, or set TMPDIR") from error
    return load_file(path)["tensor"]
