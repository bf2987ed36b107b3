"""The replacement model: a host, its tokenizer, and a transcoder that stands in for its MLPs."""

from dataclasses import replace
from functools import cached_property
from operator import index
from pathlib import Path
from typing import Any, SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from replacement_model.capture import Capture, capture, working_dtype
from replacement_model.decomposition import Decomposition, decompose
from replacement_model.errors import InputError, WeightsError
from replacement_model.formats import ReadOptions, read_draft
from replacement_model.frozen import UNEMBEDDED_AT_ONCE
from replacement_model.host import Host
from replacement_model.labels import FeatureLabels, load_labels
from replacement_model.loading import load_host_model, load_tokenizer
from replacement_model.prompt import Prompt, PromptLike, read_prompt
from replacement_model.source import Source, locate_model, locate_transcoder, weight_hashes
from replacement_model.structure import find_host
from replacement_model.transcoder import Transcoder

__all__ = ["ReplacementModel"]

LABELS_NAME = "labels.json"


class ReplacementModel:
    """A language model whose MLPs are explained by a transcoder.

    Args:
        model: a Hugging Face causal language model, or its pieces; only ever changed within a call, and put back.
        tokenizer: its tokenizer; None if prompts are given as token ids.
        transcoder: one for the same number of layers and d_model. Its weights stay where they are; what is read of them
            is computed with on the model's device, in the working dtype (float64 for a float64 model, else float32).
        labels: labels of its features.
        model_source, transcoder_source: where they came from, for the graph's header.

    Raises:
        UnsupportedModelError: there is no adapter for the model.
        WeightsError: model and transcoder do not fit each other.

    Example:
        >>> model = ReplacementModel.from_pretrained("pocket")
        >>> model.read_prompt("the capital of the state containing Dallas is").tokens[:3]
        ('<bos>', 'the', 'capital')
    """

    def __init__(
        self,
        model: nn.Module | Host,
        tokenizer: PreTrainedTokenizerBase | None,
        transcoder: Transcoder,
        labels: FeatureLabels | None = None,
        model_source: Source | None = None,
        transcoder_source: Source | None = None,
    ) -> None:
        self.host = model if isinstance(model, Host) else find_host(model)
        if (transcoder.n_layers, transcoder.d_model) != (self.host.n_layers, self.host.d_model):
            raise WeightsError(
                f"the transcoder is for {transcoder.n_layers} layers of d_model {transcoder.d_model}, "
                f"the model has {self.host.n_layers} of {self.host.d_model}; use one that was trained on this model"
            )
        self.tokenizer = tokenizer
        self.transcoder = transcoder.values_in(self.host.device, self.dtype)
        self.labels = FeatureLabels() if labels is None else labels
        self.model_source, self.transcoder_source = model_source, transcoder_source

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | Source,
        transcoder: str | Path | Source | None = None,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        device_map: str | dict[str, Any] | None = None,
        read: ReadOptions | None = None,
    ) -> "ReplacementModel":
        """Load a model and its transcoder.

        Args:
            model: a local folder, a name on the Hugging Face hub (`owner/name[@revision]`), or "pocket".
            transcoder: a local folder or `owner/name[//folder][@revision]`; for the pocket model "clt" (the default) or
                "plt". Both may be what `locate_model` and `locate_transcoder` of `replacement_model.source` gave.
            dtype: of the host; None keeps the checkpoint's.
            device: where to run; None is the CPU. The transcoder goes there too if it takes at most half of what is
                free; else its weights are read from its files as they are needed.
            device_map: "auto", or a device for each module, to spread the host over several; needs `accelerate`.
            read: of the transcoder, what its files leave open or say wrongly; the number of layers is the model's.

        Raises:
            InputError: a name is neither a folder nor a repository in reach, or both `device` and `device_map` given.
            MissingDependencyError: `device_map` without `accelerate`.
            WeightsError: files are missing, damaged, or do not fit each other.
            UnsupportedModelError: there is no adapter for the architecture.
        """
        model_at = locate_model(model)
        transcoder_at = locate_transcoder(model_at.name, transcoder)
        if device is not None and device_map is not None:
            raise InputError(f"give either device or device_map, got {device} and {device_map}")
        host_model = load_host_model(model_at.folder, dtype, device_map)
        host = find_host(host_model if device is None else host_model.to(device))
        options = ReadOptions() if read is None else read
        draft = read_draft(transcoder_at.folder, replace(options, n_layers=options.n_layers or host.n_layers))
        labels_path = transcoder_at.folder / LABELS_NAME
        return cls(
            host,
            load_tokenizer(model_at.folder),
            _placed(draft.load(), host.device),
            labels=load_labels(labels_path) if labels_path.is_file() else None,
            model_source=model_at,
            transcoder_source=transcoder_at,
        )

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that attribution runs in."""
        return working_dtype(self.host.dtype)

    @property
    def name(self) -> str:
        """The model's name, for the graph's header."""
        if self.model_source is not None:
            return self.model_source.name
        config: Any = self.host.model.config
        return str(config._name_or_path) or type(self.host.model).__name__

    @cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of the weight files of model and transcoder; empty for objects made in memory."""
        found = {} if self.model_source is None else weight_hashes(self.model_source.folder)
        model = {f"model/{name}": value for name, value in found.items()}
        return model | {f"transcoder/{name}": value for name, value in self.transcoder.hashes}

    def read_prompt(self, prompt: PromptLike, prepend: bool = True, n_ignored_pos: int | None = None) -> Prompt:
        """Tokenise `prompt`, with a special token in front unless it has one (see `replacement_model.prompt`)."""
        prefix = self.transcoder.prefix
        return read_prompt(prompt, self.tokenizer, self.host.d_vocab, prepend, n_ignored_pos, prefix)

    def capture(self, prompt: Prompt, logit_positions: tuple[int, ...] = (-1,), keep_patterns: bool = True) -> Capture:
        """Run the host once and capture it; see `replacement_model.capture`."""
        n_pos = len(prompt.token_ids)
        positions = tuple(position % n_pos for position in logit_positions)
        return capture(self.host, prompt.token_ids.to(self.host.device), positions, keep_patterns)

    def decompose(self, captured: Capture, n_ignored_pos: int) -> Decomposition:
        """Active features, errors and constants of a captured prompt."""
        return decompose(captured, self.transcoder, n_ignored_pos)

    def token_id(self, token: str | SupportsIndex) -> int:
        """The id of a token given by its text (with or without its leading space) or its id.

        Raises:
            InputError: the text is no single token, or the id is outside the vocabulary.
        """
        if not isinstance(token, str):
            token_id = index(token)  # numpy's whole numbers too
            if not 0 <= token_id < self.host.d_vocab:
                raise InputError(f"token id {token_id} is outside the vocabulary (0 to {self.host.d_vocab - 1})")
            return token_id
        if self.tokenizer is None:
            raise InputError(f"this model has no tokenizer; give a token id instead of {token!r}")
        for text in (token, f" {token}"):
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            if len(ids) == 1 and ids[0] != self.tokenizer.unk_token_id:
                return int(ids[0])
        raise InputError(f"{token!r} is not a single token of this model; give one token, or its id")

    def token_string(self, token_id: int) -> str:
        """The text of a token."""
        return str(token_id) if self.tokenizer is None else str(self.tokenizer.decode([token_id]))

    def unembedding(self, token_id: int) -> Float[Tensor, "d_model"]:
        """The unembedding row of a token."""
        return self.host.W_U[token_id].to(self.dtype)

    def unembedding_bias(self, token_id: int) -> Float[Tensor, ""]:
        """The unembedding bias of a token, zero where there is none."""
        if self.host.b_U is None:
            return torch.zeros((), dtype=self.dtype, device=self.host.device)
        return self.host.b_U[token_id].to(self.dtype)

    @cached_property
    def mean_unembedding(self) -> Float[Tensor, "d_model"]:
        """The mean unembedding row over the vocabulary."""
        total = torch.zeros(self.host.d_model, dtype=self.dtype, device=self.host.device)
        for rows in self.host.W_U.split(UNEMBEDDED_AT_ONCE):  # half precision is copied to be added up
            total += rows.sum(0, dtype=self.dtype)
        return total / self.host.d_vocab

    @cached_property
    def mean_unembedding_bias(self) -> Float[Tensor, ""]:
        """The mean unembedding bias, zero where there is none."""
        if self.host.b_U is None:
            return torch.zeros((), dtype=self.dtype, device=self.host.device)
        return self.host.b_U.mean(dtype=self.dtype)


def _placed(transcoder: Transcoder, device: torch.device) -> Transcoder:
    """On an accelerator if it takes at most half of what is free there, so that patterns and gradients fit too."""
    if device.type != "cuda":
        return transcoder  # the CPU maps its files, and no other kind of device says how much it has
    free, _ = torch.cuda.mem_get_info(device)
    return transcoder.to(device) if 2 * transcoder.n_bytes <= free else transcoder
