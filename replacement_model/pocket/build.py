"""Rebuilding the pocket model from its seed: corpus, language model, transcoders, labels, and their files."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import Gemma3ForCausalLM

from replacement_model.formats import save_transcoder
from replacement_model.formats.files import atomic_path
from replacement_model.labels import FeatureLabels, save_labels
from replacement_model.pocket.concepts import tabulate_concepts
from replacement_model.pocket.contexts import distinct_contexts
from replacement_model.pocket.corpus import Corpus, build_corpus
from replacement_model.pocket.labelling import label_features
from replacement_model.pocket.language_model import LanguageModelConfig, build_language_model, train_language_model
from replacement_model.pocket.tokenizer import build_tokenizer, save_tokenizer
from replacement_model.pocket.transcoders import (
    CLT_CONFIG,
    PLT_CONFIG,
    activation_dataset,
    train_pocket_transcoder,
    training_contexts,
)
from replacement_model.training import TranscoderTrainingConfig
from replacement_model.transcoder import Transcoder

__all__ = ["SHIPPED_SEED", "label_transcoder", "rebuild"]

SHIPPED_SEED = 2
"""The seed of the shipped weights, the best on the validation split of those tried (see the card)."""

STORED_DTYPE = torch.float16
"""Of transcoders on disk: half the size, at a rounding far below their reconstruction error."""

Progress = Callable[[str, int, int], None]

logger = logging.getLogger(__name__)


def rebuild(
    output_dir: str | Path,
    seed: int = SHIPPED_SEED,
    progress: Progress | None = None,
    *,
    model_config: LanguageModelConfig | None = None,
    transcoder_configs: dict[str, TranscoderTrainingConfig] | None = None,
) -> Path:
    """Make everything that is shipped: `model/`, `clt/` and `plt/` with their labels.

    Everything runs on one thread, so that the same seed gives the same weights on the same kind of processor; elsewhere
    sums are rounded differently, training ends at other weights, and these may miss a target that the shipped ones meet
    (`evaluate` tells).

    Args:
        output_dir: folder to write to; existing files of these names are replaced.
        seed: of the embeddings, initial weights and batches; the corpus and its splits do not depend on it.
        progress: called with (stage, step, steps).
        model_config, transcoder_configs: other settings than those of the shipped weights; `transcoder_configs` by
            folder name.

    Returns:
        `output_dir`.
    """
    with _reproducible():
        return _rebuild(
            Path(output_dir),
            seed,
            progress,
            LanguageModelConfig() if model_config is None else model_config,
            {"clt": CLT_CONFIG, "plt": PLT_CONFIG} if transcoder_configs is None else transcoder_configs,
        )


def _rebuild(
    output_dir: Path,
    seed: int,
    progress: Progress | None,
    model_config: LanguageModelConfig,
    transcoder_configs: dict[str, TranscoderTrainingConfig],
) -> Path:
    corpus = build_corpus()
    generator = torch.Generator().manual_seed(seed)
    model = build_language_model(corpus.vocabulary, model_config, seed)
    loss = train_language_model(model, corpus, model_config, generator, progress)
    logger.info("language model trained, loss %.4f nats", loss)
    save_model(model, corpus, output_dir / "model")
    data = activation_dataset(model, training_contexts(corpus))
    for name, config in transcoder_configs.items():
        trained = train_pocket_transcoder(data, config, torch.Generator().manual_seed(seed), progress)
        transcoder = trained.to(dtype=STORED_DTYPE)
        save_transcoder(transcoder, output_dir / name)
        save_labels(label_transcoder(model, transcoder, corpus), output_dir / name / "labels.json")
    return output_dir


def save_model(model: Gemma3ForCausalLM, corpus: Corpus, folder: Path) -> None:
    """Write a Hugging Face checkpoint with its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    # save_pretrained of the model itself would draw a progress bar; this is the file that it writes.
    with atomic_path(folder / "model.safetensors") as temporary:
        save_file(model.state_dict(), temporary, metadata={"format": "pt"})
    save_tokenizer(build_tokenizer(corpus.vocabulary), folder)


def label_transcoder(model: Gemma3ForCausalLM, transcoder: Transcoder, corpus: Corpus) -> FeatureLabels:
    """Labels from the contexts of training and validation prompts; those of the test split stay unseen."""
    prompts = [prompt for prompt in corpus.prompts if prompt.split != "test"]
    contexts = distinct_contexts(prompts, [1.0] * len(prompts), corpus.vocabulary)
    data = activation_dataset(model, contexts)
    transcoder = transcoder.to(dtype=torch.float32)
    return label_features(model, transcoder, data, tabulate_concepts(prompts), corpus.vocabulary)


@contextmanager
def _reproducible() -> Iterator[None]:
    """One thread, so that sums have one order; and denormal numbers are zero, which also makes late training faster."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
        torch.set_flush_denormal(False)
