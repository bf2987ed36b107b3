"""SHA-256 of every file that decides what a model computes: weights, configs, tokenizer."""

from replacement_model.hashing import content_hashes
from replacement_model.model import ReplacementModel
from replacement_model.source import MODEL_FILES

__all__ = ["file_hashes"]


def file_hashes(model: ReplacementModel) -> dict[str, str]:
    """`model/NAME` and `transcoder/NAME`, sorted; empty for a model made in memory.

    Beyond `ReplacementModel.hashes` these are the host's config and tokenizer.
    """
    found = dict(model.hashes)
    if model.model_source is not None:
        folder = model.model_source.folder
        paths = sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)})
        others = [path for path in paths if path.suffix != ".safetensors"]
        found |= {f"model/{path.name}": value for path, value in zip(others, content_hashes(others), strict=True)}
    return dict(sorted(found.items()))
