"""Models and transcoders by their names: downloads with progress bars first, then a spinner while they are loaded."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from circuits.cli.console import say
from circuits.cli.progress import step
from circuits.cli.startup import collector_paused

if TYPE_CHECKING:
    from replacement_model.formats import ReadOptions
    from replacement_model.source import Source

__all__ = ["loading", "located", "located_headers", "read_options"]


def located(model: str, transcoder: str | None) -> "tuple[Source, Source]":
    """Where model and transcoder are, downloaded if need be with the hub client's own progress bars.

    Raises:
        OrreryError: one of them is nowhere, or demands a login.
    """
    from replacement_model.hub import downloads_shown
    from replacement_model.source import locate_model, locate_transcoder

    with downloads_shown():
        model_at = locate_model(model)
        return model_at, locate_transcoder(model_at.name, transcoder)


@contextmanager
def located_headers(model: str, transcoder: str | None) -> Iterator[tuple[Path, Path]]:
    """Folders that are enough to know all shapes; of what lies on the hub only configs and headers are fetched.

    Raises:
        OrreryError: as in `located`.
    """
    from huggingface_hub import constants

    from replacement_model.headers import headers_of
    from replacement_model.repository import HubName
    from replacement_model.source import CONFIG_FILES, TRANSCODER_FILES, is_local, locate_model, locate_transcoder

    model_at = locate_model(model, CONFIG_FILES)
    if transcoder is None or model_at.name == "pocket" or is_local(transcoder) or constants.HF_HUB_OFFLINE:
        yield model_at.folder, locate_transcoder(model_at.name, transcoder).folder
        return
    with headers_of(HubName.parse(transcoder), TRANSCODER_FILES) as folder:
        yield model_at.folder, folder


def read_options(encoder_tap: str | None, decoder_site: str | None, l0: int | None) -> "ReadOptions":
    """What the options say of a transcoder's files."""
    from replacement_model.formats import ReadOptions
    from replacement_model.transcoder import DecoderSite, EncoderTap

    return ReadOptions(
        encoder_tap=None if encoder_tap is None else EncoderTap(encoder_tap),
        decoder_site=None if decoder_site is None else DecoderSite(decoder_site),
        l0=l0,
    )


@contextmanager
def loading(*sources: "Source") -> Iterator[None]:
    """Say that the sources are being loaded while the block does it."""
    from replacement_model.hub import downloads_shown

    message = f"Loading {sources[0].name}"
    if all(source.revision is None for source in sources):
        with step(message), collector_paused():
            yield
        return
    say(message)  # a set may list files of other repositories, whose bars a spinner would garble
    with downloads_shown(), collector_paused():
        yield
