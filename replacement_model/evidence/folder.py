"""The `features/` layout of circuit-tracer: `index.json.gz`, and a file of compressed records for each layer.

`layer_{i}.bin` is one chunk a feature, in the order of their indices: a little-endian uint32, the number of bytes that
follow, then gzip'd JSON. The index has F + 1 offsets a layer; an empty chunk means that there is no record.
"""

import gzip
import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replacement_model.errors import InputError, WeightsError
from replacement_model.evidence.record import FeatureEvidence
from replacement_model.formats.files import atomic_path, read_json

__all__ = ["INDEX_NAME", "METADATA_NAME", "EvidenceFolder", "LayerIndex", "write_index", "write_layer"]

INDEX_NAME, METADATA_NAME = "index.json.gz", "evidence.json"


@dataclass(frozen=True, slots=True)
class LayerIndex:
    """Where the records of a layer lie.

    Attributes:
        offsets: record `i` is bytes `offsets[i]` to `offsets[i + 1]`.
    """

    filename: str
    offsets: tuple[int, ...]


def write_layer(path: Path, records: Iterable[FeatureEvidence | None]) -> LayerIndex:
    """Write the records of features 0, 1, ... of a layer, all or nothing; None leaves an empty chunk."""
    offsets = [0]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for record in records:
            offsets.append(offsets[-1] + file.write(_chunk(record)))
    return LayerIndex(path.name, tuple(offsets))


def write_index(folder: Path, layers: Mapping[int, LayerIndex]) -> None:
    """Write the index, which makes the folder complete."""
    value = {
        str(layer): {"filename": one.filename, "offsets": list(one.offsets)} for layer, one in sorted(layers.items())
    }
    with atomic_path(folder / INDEX_NAME) as temporary:
        temporary.write_bytes(gzip.compress(_encoded(value), mtime=0))


def _chunk(record: FeatureEvidence | None) -> bytes:
    if record is None:
        return b""
    packed = gzip.compress(_encoded(record.to_json()), compresslevel=6, mtime=0)
    return struct.pack("<I", len(packed)) + packed


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


class EvidenceFolder:
    """A folder in this layout, read one feature at a time.

    Args:
        folder: what `collect` or another program wrote.

    Raises:
        InputError: there is no finished folder here.
        WeightsError: its index is damaged.

    Example:
        evidence = EvidenceFolder(Path("features")).get(3, 1234)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / INDEX_NAME).is_file():
            raise InputError(
                f"{folder} has no {INDEX_NAME}; name a folder that `orrery features collect` has finished "
                "(run it again to finish it)"
            )
        self.layers = _read_index(folder / INDEX_NAME)

    @property
    def metadata(self) -> dict[str, Any]:
        """What `collect` noted: model, transcoder, text, options; empty for the folder of another program."""
        path = self.folder / METADATA_NAME
        return read_json(path) if path.is_file() else {}

    def get(self, layer: int, feature_idx: int) -> FeatureEvidence | None:
        """The evidence on a feature, None where there is no record.

        Raises:
            InputError: there is no such layer or feature.
            WeightsError: the record is damaged.
        """
        if layer not in self.layers:
            raise InputError(f"{self.folder} has layers {_listed(self.layers)}, not {layer}")
        offsets = self.layers[layer].offsets
        if not 0 <= feature_idx < len(offsets) - 1:
            raise InputError(f"layer {layer} has features 0 to {len(offsets) - 2}, not {feature_idx}")
        begin, end = offsets[feature_idx : feature_idx + 2]
        return None if begin == end else self._read(layer, feature_idx, begin, end)

    def keys(self) -> Iterator[tuple[int, int]]:
        """(layer, feature_idx) of every record, in order."""
        for layer, index in sorted(self.layers.items()):
            pairs = zip(index.offsets[:-1], index.offsets[1:], strict=True)
            yield from ((layer, idx) for idx, (begin, end) in enumerate(pairs) if begin != end)

    def _read(self, layer: int, feature_idx: int, begin: int, end: int) -> FeatureEvidence:
        path = self.folder / self.layers[layer].filename
        try:
            with path.open("rb") as file:
                file.seek(begin)
                chunk = file.read(end - begin)
            (size,) = struct.unpack("<I", chunk[:4])
            if size != len(chunk) - 4:
                raise ValueError(f"{size} bytes announced, {len(chunk) - 4} there")
            value = json.loads(gzip.decompress(chunk[4:]))
        except (OSError, EOFError, ValueError, zlib.error, struct.error) as error:
            raise WeightsError(
                f"{path}: the record of feature {feature_idx} is damaged ({error}); collect or download it again"
            ) from error
        return FeatureEvidence.from_json(layer, feature_idx, value)


def _read_index(path: Path) -> dict[int, LayerIndex]:
    try:
        value = json.loads(gzip.decompress(path.read_bytes()))
        found = {
            int(layer): LayerIndex(one["filename"], tuple(int(offset) for offset in one["offsets"]))
            for layer, one in value.items()
        }
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
        raise WeightsError(f"{path} is not an index of features ({error!r}); collect or download it again") from error
    for layer, index in found.items():
        inside = Path(index.filename).name == index.filename
        if not inside or not index.offsets or list(index.offsets) != sorted(index.offsets):
            raise WeightsError(f"{path}, layer {layer}: expected a file name and rising offsets; download it again")
    return found


def _listed(layers: Iterable[int]) -> str:
    return ", ".join(str(layer) for layer in sorted(layers)) or "none"
