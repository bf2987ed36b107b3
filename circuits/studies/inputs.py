"""Content hashes of everything that a study reads: weights, configs, tokenizer, labels, tables of prompts."""

from collections.abc import Mapping
from pathlib import Path

from replacement_model import ReplacementModel
from replacement_model.file_hashes import file_hashes
from replacement_model.hashing import content_hashes
from replacement_model.model import LABELS_NAME

__all__ = ["file_inputs", "model_inputs"]


def model_inputs(models: Mapping[str, ReplacementModel]) -> dict[str, str]:
    """SHA-256 of the files of one language model and its transcoders.

    Args:
        models: by the transcoder's short name, such as `clt`; all of the same language model.

    Returns:
        `model/NAME` for weights, config and tokenizer, `transcoder/SHORT/NAME` for each transcoder and its labels.
        Models made in memory have no files, and give nothing.
    """
    found: dict[str, str] = {}
    for short, model in models.items():
        for name, value in file_hashes(model).items():
            role, _, file = name.partition("/")
            found[f"{role}/{short}/{file}" if role == "transcoder" else name] = value
        if model.transcoder_source is not None and (labels := model.transcoder_source.folder / LABELS_NAME).is_file():
            found |= file_inputs({f"transcoder/{short}/{LABELS_NAME}": labels})
    return dict(sorted(found.items()))


def file_inputs(files: Mapping[str, Path]) -> dict[str, str]:
    """SHA-256 of files, by the names that they are given here."""
    return dict(sorted(zip(files, content_hashes(list(files.values())), strict=True)))
