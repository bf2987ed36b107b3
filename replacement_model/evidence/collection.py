"""Collecting evidence: a text goes through the model once, and every feature gets its record.

Interrupted, it continues where it was: finished parts lie in `.collecting` inside the folder, which is complete when
`index.json.gz` is there, and equal input gives equal bytes either way.
"""

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from replacement_model.errors import InputError
from replacement_model.evidence.activity import Activity, active_in, check_host
from replacement_model.evidence.contexts import NOTE_NAME, Batch, Contexts, open_contexts, write_contexts
from replacement_model.evidence.folder import INDEX_NAME, METADATA_NAME, LayerIndex, write_index, write_layer
from replacement_model.evidence.records import RecordOptions, layer_records
from replacement_model.evidence.tally import Tally, load_tallies, save_tallies
from replacement_model.evidence.texts import Text
from replacement_model.formats.files import read_json, write_json
from replacement_model.model import ReplacementModel

__all__ = ["CollectOptions", "collect"]

SCHEMA_VERSION = 1
WORK_NAME, SETTINGS_NAME, TALLIES_NAME = ".collecting", "settings.json", "tallies.safetensors"
PENDING = 2**21  # active features that are kept before they are merged, at least
CHECKPOINT_SECONDS = 60.0

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class CollectOptions:
    """What to collect.

    Attributes:
        context_length: tokens of a context at most, special ones included.
        max_contexts: read no more of the text; None for all.
        batch_tokens: run together.
        record: what is kept of each feature.
    """

    context_length: int = 64
    max_contexts: int | None = None
    batch_tokens: int = 8192
    record: RecordOptions = field(default_factory=RecordOptions)


def collect(
    model: ReplacementModel,
    text: Text,
    folder: Path,
    options: CollectOptions | None = None,
    features: Iterable[tuple[int, int]] | None = None,
    progress: Progress | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> dict[str, Any]:
    """Collect evidence on features over a text, and write it to `folder` in circuit-tracer's `features/` layout.

    Args:
        model: host and transcoder.
        text: documents.
        folder: a new one, or that of an interrupted call with the same arguments, which goes on.
        options: what to collect.
        features: (layer, feature_idx) of those wanted; None for all.
        progress: called with (stage, done, total).
        checkpoint_seconds: how often to write down how far it came.

    Returns:
        What stands in `evidence.json`: settings, and counts of documents, contexts and positions.

    Raises:
        InputError: the text or a feature cannot be used, or the folder holds something else.

    Example:
        collect(model, open_text("pocket:validation"), Path("features"))
    """
    options = CollectOptions() if options is None else options
    chosen = _by_layer(model, features)
    settings = _settings(model, text, options, chosen)
    work = folder / WORK_NAME
    if (folder / INDEX_NAME).is_file():
        known = read_json(folder / METADATA_NAME) if (folder / METADATA_NAME).is_file() else {}
        _check_same(known.get("settings"), settings, folder)
        shutil.rmtree(work, ignore_errors=True)
        return known
    if (work / SETTINGS_NAME).is_file():
        _check_same(read_json(work / SETTINGS_NAME), settings, folder)
    write_json(work / SETTINGS_NAME, settings)
    _remove_torn(folder)
    report = progress or (lambda stage, done, total: None)
    contexts = _contexts(model, text, work, options)
    tallies = _read_text(model, contexts, chosen, work, options, report, checkpoint_seconds)
    index = {}
    for done, (layer, tally) in enumerate(tallies.items()):
        report("Writing layers", done, len(tallies))
        index[layer] = _layer(model, contexts, layer, tally, chosen[layer], folder, options.record)
    known = {"schema_version": SCHEMA_VERSION, "settings": settings, **_facts(contexts)}
    write_json(folder / METADATA_NAME, known)
    write_index(folder, index)
    shutil.rmtree(work)
    return known


def _remove_torn(folder: Path) -> None:
    """Remove what a killed process was writing, which no reader takes for a finished file."""
    for name in ("layer_*.bin", METADATA_NAME, INDEX_NAME, f"{WORK_NAME}/*"):
        for path in (folder / name).parent.glob(f".{Path(name).name}.*"):
            path.unlink()


def _by_layer(model: ReplacementModel, features: Iterable[tuple[int, int]] | None) -> dict[int, np.ndarray | None]:
    """The wanted features of each layer, sorted."""
    layers = {layer: weights.d_transcoder for layer, weights in enumerate(model.transcoder.layers) if weights}
    if features is None:
        return dict.fromkeys(layers)
    wanted = sorted(set(features))
    for layer, idx in wanted:
        if not 0 <= idx < layers.get(layer, 0):
            raise InputError(f"there is no feature {layer}/{idx}; layers and their sizes: {layers}")
    if not wanted:
        raise InputError("no features were chosen; name some, or leave the choice out for all")
    return {layer: np.array([i for one, i in wanted if one == layer]) for layer in sorted({one for one, _ in wanted})}


def _settings(
    model: ReplacementModel, text: Text, options: CollectOptions, chosen: dict[int, np.ndarray | None]
) -> dict[str, Any]:
    listed = repr({layer: None if idx is None else idx.tolist() for layer, idx in chosen.items()})
    everything = all(idx is None for idx in chosen.values())
    return {
        "model": model.name,
        "transcoder": model.transcoder.name,
        "transcoder_asked": None if model.transcoder_source is None else model.transcoder_source.name,
        "hashes": model.hashes,
        "text": {"name": text.name, "field": text.field, "whole": text.whole, "hashes": text.hashes},
        "options": asdict(options),
        "features": "all" if everything else f"sha256:{sha256(listed.encode()).hexdigest()}",
    }


def _check_same(known: Any, settings: dict[str, Any], folder: Path) -> None:
    if known == settings:
        return
    differing = [name for name in settings if not isinstance(known, dict) or known.get(name) != settings[name]]
    raise InputError(
        f"{folder} holds evidence of another {', '.join(differing)}; choose another folder, or delete this one"
    )


def _facts(contexts: Contexts) -> dict[str, Any]:
    return {
        "n_documents": contexts.n_documents,
        "n_contexts": len(contexts),
        "n_positions": contexts.n_positions,
        "tokens_sha256": contexts.digest,
    }


def _contexts(model: ReplacementModel, text: Text, work: Path, options: CollectOptions) -> Contexts:
    if (work / NOTE_NAME).is_file():
        return open_contexts(work)
    return write_contexts(model, text, work, options.context_length, options.max_contexts)


def _read_text(
    model: ReplacementModel,
    contexts: Contexts,
    chosen: dict[int, np.ndarray | None],
    work: Path,
    options: CollectOptions,
    report: Progress,
    checkpoint_seconds: float,
) -> dict[int, Tally]:
    """Tallies of the whole text; a checkpoint is written only after a merge, so that going on repeats nothing else."""
    record, tallies, done = options.record, dict.fromkeys(chosen, Tally.empty()), 0
    if (work / TALLIES_NAME).is_file():
        tallies, done = load_tallies(work / TALLIES_NAME, list(chosen))
    pending: list[tuple[Batch, dict[int, Activity]]] = []
    saved_at, n_pending = time.monotonic(), 0
    for batch in contexts.batches(options.batch_tokens, done):
        report("Reading contexts", batch.first, len(contexts))
        if batch.first == 0:
            check_host(model, batch)
        pending.append((batch, active_in(model, batch, chosen)))
        n_pending += sum(len(activity) for activity in pending[-1][1].values())
        done = batch.first + len(batch.lengths)
        if done < len(contexts) and n_pending < max(PENDING, sum(tally.size for tally in tallies.values())):
            continue
        tallies = {layer: _merged(tally, layer, pending, record) for layer, tally in tallies.items()}
        pending, n_pending = [], 0
        if done == len(contexts) or time.monotonic() - saved_at >= checkpoint_seconds:
            save_tallies(work / TALLIES_NAME, tallies, done)
            saved_at = time.monotonic()
    return tallies


def _merged(tally: Tally, layer: int, pending: list[tuple[Batch, dict[int, Activity]]], record: RecordOptions) -> Tally:
    parts = [Tally.of(activities[layer], batch) for batch, activities in pending]
    return Tally.merged([tally, *parts], record.n_top, record.n_sample)


def _layer(
    model: ReplacementModel,
    contexts: Contexts,
    layer: int,
    tally: Tally,
    chosen: np.ndarray | None,
    folder: Path,
    record: RecordOptions,
) -> LayerIndex:
    """The records of a layer, unless an interrupted call has written them."""
    path, note = folder / f"layer_{layer}.bin", folder / WORK_NAME / f"layer_{layer}.json"
    if not (note.is_file() and path.is_file()):
        written = write_layer(path, layer_records(model, contexts, layer, tally, chosen, record))
        write_json(note, {"offsets": list(written.offsets)})
    return LayerIndex(path.name, tuple(read_json(note)["offsets"]))
