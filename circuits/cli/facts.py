"""What `orrery info` says about a path: plain values, one function for each kind of thing that lies there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from replacement_model.errors import InputError

__all__ = ["facts_about"]

Facts = dict[str, Any]


def facts_about(name: str) -> Facts:
    """Facts about a graph, a circuit, a transcoder, a model, or the pocket model, by what the path holds.

    Raises:
        InputError: there is nothing at this path, or nothing that is known.
        OrreryError: what is there is damaged or not supported.
    """
    path = Path(name)
    if name == "pocket" and not path.exists():
        return _pocket()
    if path.is_file():
        return _graph(path)
    if not path.is_dir():
        raise InputError(f"expected a graph file, a transcoder's or a model's folder, or pocket; {name} does not exist")
    readers: tuple[tuple[tuple[str, ...], Callable[[Path], Facts]], ...] = (
        (("transcoder.json", "config.yaml"), _transcoder),
        (("config.json",), _model),
    )
    for files, read in readers:
        if any((path / file).is_file() for file in files):
            return read(path)
    raise InputError(f"{name} holds neither a transcoder (transcoder.json, config.yaml) nor a model (config.json)")


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
        "books close to": float(graph.books.residual),
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
        "parameters": transcoder.b_dec.numel() + sum(tensor.numel() for tensor in tensors),
        "dtype": sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors}),
        "hashes": dict(transcoder.hashes),
    }


def _model(path: Path) -> Facts:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from replacement_model.errors import UnsupportedModelError
    from replacement_model.host import adapt

    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True)
        with torch.device("meta"):  # the architecture without its weights
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        raise UnsupportedModelError(f"{path}: transformers cannot build this model ({error})") from error
    host = adapt(model)
    return {
        "kind": "model",
        "architecture": type(model).__name__,
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
