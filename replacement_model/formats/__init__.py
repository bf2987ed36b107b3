"""Transcoder files, one module a layout, told apart by what a folder contains.

Each module has a function that recognises its layout and one that reads it, as a `Draft`: configs and headers only.
Nothing of a weight file is read until values are used; tensors that need no change are views of the mapped file.
"""

from pathlib import Path

from replacement_model.errors import WeightsError
from replacement_model.formats.autoencoders import load_autoencoder
from replacement_model.formats.circuit_tracer import is_circuit_tracer, read_circuit_tracer
from replacement_model.formats.clt_forge import is_clt_forge, read_clt_forge
from replacement_model.formats.conversion import WRITERS, convert
from replacement_model.formats.crosslayer import is_crosslayer, read_crosslayer
from replacement_model.formats.draft import Draft, ReadOptions
from replacement_model.formats.eleuther import is_eleuther, read_eleuther
from replacement_model.formats.gemma_scope_1 import is_gemma_scope_1, read_gemma_scope_1
from replacement_model.formats.gemma_scope_2 import is_gemma_scope_2, read_gemma_scope_2
from replacement_model.formats.orrery import is_orrery, read_orrery, save_transcoder
from replacement_model.formats.saelens import is_saelens, read_saelens
from replacement_model.transcoder import DecoderSite, EncoderTap, Transcoder

__all__ = [
    "READERS",
    "WRITERS",
    "ReadOptions",
    "convert",
    "load_autoencoder",
    "load_transcoder",
    "read_draft",
    "save_transcoder",
]

READERS = {
    "orrery": (is_orrery, read_orrery),
    "circuit-tracer": (is_circuit_tracer, read_circuit_tracer),
    "gemma-scope-2": (is_gemma_scope_2, read_gemma_scope_2),
    "gemma-scope-1": (is_gemma_scope_1, read_gemma_scope_1),
    "eleuther": (is_eleuther, read_eleuther),
    "saelens": (is_saelens, read_saelens),
    "crosslayer-transcoder": (is_crosslayer, read_crosslayer),
    "clt-forge": (is_clt_forge, read_clt_forge),
}


def load_transcoder(
    folder: str | Path,
    *,
    encoder_tap: EncoderTap | str | None = None,
    decoder_site: DecoderSite | str | None = None,
    n_layers: int | None = None,
    l0: int | None = None,
) -> Transcoder:
    """Read a transcoder from a local folder, in any layout that is known.

    Args:
        folder: its parts may hold `*` for a set with a folder a layer: `transcoder_all/layer_*_width_16k_l0_small`.
        encoder_tap, decoder_site: where it reads and writes; needed where the files do not say it, and else win.
        n_layers: of the model, for a set that lacks some and does not say it.
        l0: of several transcoders of a layer, that whose average L0 is nearest.

    Raises:
        InputError: something must be given that the files do not say.
        WeightsError: no such folder, no known layout, or damaged files.
    """
    tap = None if encoder_tap is None else EncoderTap(encoder_tap)
    site = None if decoder_site is None else DecoderSite(decoder_site)
    return read_draft(folder, ReadOptions(tap, site, n_layers, l0)).load()


def read_draft(folder: str | Path, options: ReadOptions | None = None) -> Draft:
    """What `load_transcoder` would read; errors are the same."""
    folder = Path(folder)
    starred = any("*" in part for part in folder.parts)
    if not starred and not folder.is_dir():
        raise WeightsError(f"transcoder folder {folder} does not exist; check the path")
    found = [name for name, (recognises, _) in READERS.items() if recognises(folder)]
    if len(found) == 1:
        return READERS[found[0]][1](folder, ReadOptions() if options is None else options)
    if found:
        raise WeightsError(f"{folder} holds several layouts: {', '.join(found)}; name a folder with one of them")
    names = "" if starred else ", ".join(sorted(path.name for path in folder.iterdir())[:8])
    raise WeightsError(f"{folder} holds no known transcoder layout ({', '.join(READERS)}), but: {names or 'nothing'}")
