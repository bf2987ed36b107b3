"""A Hugging Face causal language model from a folder: strict where transformers only warns, quiet where it chats."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from replacement_model.errors import MissingDependencyError, UnsupportedModelError, WeightsError

__all__ = ["load_config", "load_empty_model", "load_host_model", "load_tokenizer"]

LOADING_ERRORS = (ImportError, OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError)
TOKENIZER_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError)


def load_host_model(
    folder: Path, dtype: torch.dtype | None, device_map: str | dict[str, Any] | None = None
) -> nn.Module:
    """The model in `folder`, from safetensors alone, running no code from it; `dtype` None keeps the files' dtype.

    Raises:
        MissingDependencyError: `device_map` needs accelerate.
        WeightsError: files are missing, damaged, not of the config's shapes, or hold tensors that fit nowhere.
        UnsupportedModelError: transformers does not know the architecture, or has no reader of a quantised one.
    """
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder} has no config.json; expected a Hugging Face checkpoint")
    if device_map is not None and find_spec("accelerate") is None:
        raise MissingDependencyError("a device_map needs the package accelerate: pip install accelerate")
    if not any(folder.glob("*.safetensors")):
        raise WeightsError(f"{folder} has no safetensors file; expected a Hugging Face checkpoint in that format")
    try:
        with _quiet_transformers(), _QuantisedRefusal(folder):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype or "auto",
                device_map=device_map,
                use_safetensors=True,
                output_loading_info=True,
                local_files_only=True,
            )
    except SafetensorError as error:
        raise WeightsError(f"{folder}: damaged or incomplete safetensors ({error}); download it again") from error
    except (OSError, RuntimeError) as error:
        raise WeightsError(f"{folder} cannot be loaded ({_first_line(error)}); check the checkpoint") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UnsupportedModelError(f"{folder}: transformers cannot load this model ({_first_line(error)})") from error
    model, report = loaded
    if getattr(model.config, "attn_logit_softcapping", None) is not None:
        model.set_attn_implementation("eager")  # sdpa, Gemma 2's default in transformers 4.57, leaves the softcap out
    for what in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if report.get(what):
            names = ", ".join(sorted(map(str, report[what]))[:3])
            raise WeightsError(
                f"{folder}: {what.replace('_', ' ')} ({names}); the weights do not belong to this config.json"
            )
    return model


def load_config(folder: Path) -> PretrainedConfig:
    """The model's config.

    Raises:
        WeightsError: there is none.
        UnsupportedModelError: it is damaged, or transformers does not know the architecture.
    """
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder} has no config.json; expected a Hugging Face checkpoint")
    try:
        with _quiet_transformers():
            return AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnsupportedModelError(
            f"{folder}: transformers cannot load this model's config.json ({_first_line(error)})"
        ) from error


def load_empty_model(folder: Path) -> nn.Module:
    """The model of a config without its weights, on the meta device, in the config's dtype.

    Raises:
        WeightsError: there is no config.
        UnsupportedModelError: transformers cannot build the model.
    """
    config = load_config(folder)
    try:
        with torch.device("meta"), _quiet_transformers():
            model: nn.Module = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnsupportedModelError(f"{folder}: transformers cannot build this model ({_first_line(error)})") from error
    return model


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase | None:
    """The tokenizer in `folder`, None if it has none.

    Raises:
        WeightsError: its files are damaged.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")):
        return None
    with _TokenizerRefusal(folder), _quiet_transformers():
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)


class _QuantisedRefusal:
    """Says of a quantised checkpoint that it is one, where transformers cannot load it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if not isinstance(error, LOADING_ERRORS):
            return
        settings = load_config(self._folder).to_dict().get("quantization_config")
        if settings is not None:
            method = settings.get("quant_method", "unknown method")
            raise UnsupportedModelError(
                f"{self._folder} is quantised ({getattr(method, 'value', method)}), and transformers cannot load it "
                f"here ({_first_line(error)}); use a checkpoint that is not, or install what it asks for"
            ) from error


class _TokenizerRefusal:
    """Turns what loading a damaged tokenizer raises into a `WeightsError`.

    The tokenizers library raises plain `Exception`, which transformers 5 wraps and 4.57 does not; it is recognised by
    its exact class, so that its subclasses, which may mean anything, pass.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is not None and (kind is Exception or isinstance(error, TOKENIZER_ERRORS)):
            raise WeightsError(f"{self._folder}: the tokenizer cannot be loaded ({_first_line(error)})") from error


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No progress bars and no warnings while loading: what they would say is checked here."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
