"""What `orrery info` says about a path: plain values, one function for each kind of thing that lies there."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from replacement_model.errors import InputError

if TYPE_CHECKING:
    from replacement_model.source import Source

__all__ = ["facts_about"]

Facts = dict[str, Any]


def facts_about(name: str) -> Facts:
    """Facts about a graph, a circuit, a transcoder, a model, or the pocket model, by what the path or hub name holds.

    Of a model on the hub only the configs are downloaded.

    Raises:
        InputError: there is nothing at this path or under this name, or nothing that is known.
        OrreryError: what is there is damaged or not supported.
    """
    path = Path(name)
    if name == "pocket" and not path.exists():
        return _pocket()
    if path.is_file():
        return _graph(path)
    if (path.is_absolute() or path.suffix == ".safetensors") and not path.exists() and "*" not in name:
        raise InputError(f"expected a graph file, a transcoder's or a model's folder, or pocket; {name} does not exist")
    from replacement_model.formats import READERS
    from replacement_model.source import CONFIG_FILES, TRANSCODER_FILES, locate

    source = locate(name, CONFIG_FILES)
    if _is_model(source.folder):
        return _model(source.folder) | _revision(source)
    folder = locate(name, TRANSCODER_FILES).folder
    if not any(recognises(folder) for recognises, _ in READERS.values()):
        raise InputError(f"{name} holds neither a transcoder ({', '.join(READERS)}) nor a model (config.json)")
    return _transcoder(folder) | _revision(source)


def _is_model(folder: Path) -> bool:
    """Whether a folder holds a model's config, rather than one of a transcoder."""
    from replacement_model.formats.files import read_json

    config = folder / "config.json"
    return config.is_file() and any(key in read_json(config) for key in ("model_type", "architectures"))


def _revision(source: "Source") -> Facts:
    return {} if source.revision is None else {"revision": source.revision}


def _graph(path: Path) -> Facts:
    from circuits import load_graph
    from circuits.graph_file import file_kind

    graph = load_graph(path)
    metadata = graph.metadata
    return {
        "kind": file_kind(path),
        "prompt": metadata.prompt,
        "tokens": len(graph.tokens),
        "targets": [f"{target.label} ({target.kind}, weight {target.weight:.3f})" for target in graph.targets],
        "features": len(graph.features),
        "labelled features": sum(label is not None for label in graph.feature_labels),
        "edges": int(graph.adjacency.nnz),
        "books close to": None if graph.read_from else float(graph.books.residual),
        "FVU per layer": [None if value != value else round(value, 4) for value in graph.fvu],
        "model": metadata.model_name,
        "model revision": metadata.model_revision,
        "transcoder": metadata.transcoder_name,
        "transcoder revision": metadata.transcoder_revision,
        "settings": metadata.settings,
        "versions": metadata.versions,
        "hashes": metadata.hashes,
        "schema version": metadata.schema_version,
    }


def _transcoder(path: Path) -> Facts:
    from replacement_model import load_transcoder

    transcoder = load_transcoder(path)
    layers = [layer for layer in transcoder.layers if layer is not None]
    tensors = [tensor for layer in layers for tensor in layer.tensors().values()]
    return {
        "kind": "cross-layer transcoder" if transcoder.cross_layer else "per-layer transcoders",
        "name": transcoder.name,
        "layers": transcoder.n_layers,
        "layers with features": len(layers),
        "features per layer": sorted({layer.d_transcoder for layer in layers}),
        "d_model": transcoder.d_model,
        "activation": sorted({layer.activation.kind for layer in layers}),
        "skip": any(layer.W_skip is not None for layer in layers),
        "encoder reads": transcoder.encoder_tap.value,
        "decoder writes": transcoder.decoder_site.value,
        "prefix": list(transcoder.prefix),
        "trained on": transcoder.model_name,
        "notes": list(transcoder.notes),
        "parameters": transcoder.b_dec.numel() + sum(tensor.numel() for tensor in tensors),
        "dtype": sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors}),
        "hashes": dict(transcoder.hashes),
    }


def _model(path: Path) -> Facts:
    from replacement_model.errors import NoAdapterError
    from replacement_model.host import adapt
    from replacement_model.loading import load_empty_model

    model = load_empty_model(path)
    known = {"kind": "model", "architecture": type(model).__name__}
    try:
        host = adapt(model)
    except NoAdapterError:
        return {**known, "host adapter": "none; with its weights, a trace looks for the pieces by structure"}
    return {
        **known,
        "layers": host.n_layers,
        "d_model": host.d_model,
        "vocabulary": host.d_vocab,
        "heads": host.blocks[0].n_heads,
        "key-value heads": host.blocks[0].n_kv_heads,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "host adapter": "yes",
    }


def _pocket() -> Facts:
    from replacement_model.pocket import MODEL_DIR, TRANSCODER_DIRS

    transcoders = {name: _transcoder(folder) for name, folder in TRANSCODER_DIRS.items()}
    return {**_model(MODEL_DIR), "kind": "pocket model", "folder": str(MODEL_DIR), "transcoders": transcoders}
