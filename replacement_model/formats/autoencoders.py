"""Sparse autoencoders in the layouts of Gemma Scope 1 and 2, SAELens and sparsify, one folder each."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from replacement_model.activation import Activation
from replacement_model.autoencoder import Autoencoder, AutoencoderSite
from replacement_model.errors import InputError, WeightsError
from replacement_model.formats import gemma_scope_1, gemma_scope_2, gemma_scope_2_config, saelens
from replacement_model.formats.draft import take
from replacement_model.formats.files import read_json, read_safetensors
from replacement_model.formats.folding import without_shift
from replacement_model.formats.hooks import parse_hook
from replacement_model.formats.layer_folders import layer_in_path
from replacement_model.formats.npz import read_npz

__all__ = ["load_autoencoder"]

SITES = {
    "hook_resid_pre": AutoencoderSite.RESID_PRE,
    "hook_resid_mid": AutoencoderSite.RESID_MID,
    "hook_resid_post": AutoencoderSite.RESID_POST,
    "attn.hook_z": AutoencoderSite.HEADS,
    "hook_attn_out": AutoencoderSite.ATTN_OUT,
    "hook_mlp_out": AutoencoderSite.MLP_OUT,
    "output": AutoencoderSite.RESID_POST,
    "": AutoencoderSite.RESID_POST,  # a layer's name alone is its output
    "self_attn.o_proj.input": AutoencoderSite.HEADS,
    "post_feedforward_layernorm.output": AutoencoderSite.MLP_OUT,
}
# Without a config.json, the folder that the suite puts them in.
SUITE_FOLDERS = {
    "resid_post": AutoencoderSite.RESID_POST,
    "attn_out": AutoencoderSite.HEADS,
    "mlp_out": AutoencoderSite.MLP_OUT,
}
SPARSIFY = {"encoder.weight": 2, "encoder.bias": 1, "W_dec": 2, "b_dec": 1}
ARCHITECTURES = ("standard", "jumprelu", "topk")


def load_autoencoder(folder: str | Path, *, site: AutoencoderSite | str | None = None) -> Autoencoder:
    """Read a sparse autoencoder from a local folder.

    Args:
        folder: of one autoencoder.
        site: where it reads; needed where the files do not say it, and else wins.

    Raises:
        InputError: nothing says where it reads.
        WeightsError: no such folder, no known layout, another kind of coder, or damaged files.
    """
    folder, asked = Path(folder), None if site is None else AutoencoderSite(site)
    if (folder / gemma_scope_2.ONE_FILE).is_file():
        return _gemma_scope_2(folder, asked)
    if (folder / gemma_scope_1.FILE_NAME).is_file():
        return _gemma_scope_1(folder, asked)
    if (folder / saelens.FILE_NAME).is_file():
        return _saelens(folder, asked)
    if (folder / "sae.safetensors").is_file():
        return _sparsify(folder, asked)
    raise WeightsError(
        f"{folder} holds no known autoencoder (params.safetensors, params.npz, sae_weights.safetensors or "
        "sae.safetensors); name the folder of one"
    )


def _site(names: Iterable[Any], asked: AutoencoderSite | None, folder: Path) -> AutoencoderSite:
    if asked is not None:
        return asked
    said = [name for name in names if isinstance(name, str)]
    known = [SITES[point] for point in (parse_hook(name).point for name in said) if point in SITES]
    if known:
        return known[0]
    choices = f"give site, one of {', '.join(site.value for site in AutoencoderSite)}"
    if said:
        raise WeightsError(f"{folder} reads {' and '.join(map(repr, said))}, which is not known; {choices}")
    raise InputError(f"{folder} does not say where it reads; {choices}")


def _layer(names: Iterable[Any], folder: Path) -> int:
    layers = [parse_hook(name).layer for name in names if isinstance(name, str)]
    named = [layer for layer in layers if layer is not None]
    return named[0] if named else layer_in_path(folder)


def _gemma_scope_2(folder: Path, asked: AutoencoderSite | None) -> Autoencoder:
    settings = gemma_scope_2_config.settings_of(folder)
    kind = gemma_scope_2_config.kind_of(folder, settings)
    if kind not in ("sae", None):
        raise WeightsError(f"{folder} is a {kind}, no autoencoder; read it with load_transcoder")
    path = folder / gemma_scope_2.ONE_FILE
    tensors = take(read_safetensors(path), path, gemma_scope_2.VECTORS | {"w_enc": 2, "w_dec": 2})
    names = [(settings or {}).get("hf_hook_point_in")]
    by_layout = next((SUITE_FOLDERS[name] for name in _suite_names(folder) if name in SUITE_FOLDERS), None)
    model_name = gemma_scope_2_config.model_name_of(settings or {})
    return Autoencoder(
        W_enc=tensors["w_enc"].T,
        b_enc=tensors["b_enc"],
        W_dec=tensors["w_dec"],
        b_dec=tensors["b_dec"],
        activation=Activation("jumprelu", threshold=tensors["threshold"]),
        layer=_layer(names, folder),
        site=_site(names, asked or (by_layout if settings is None else None), folder),
        name=folder.name,
        files=((path.name, path),),
        model_name=model_name,
        notes=("no config.json: read where the suite's folder says",) if settings is None and asked is None else (),
        prefix=gemma_scope_2_config.prefix_of(model_name),
    )


def _suite_names(folder: Path) -> list[str]:
    return [part.removesuffix("_all") for part in reversed(folder.parts)]


def _gemma_scope_1(folder: Path, asked: AutoencoderSite | None) -> Autoencoder:
    path = folder / gemma_scope_1.FILE_NAME
    tensors = take(read_npz(path), path, gemma_scope_1.TENSORS)
    return Autoencoder(
        W_enc=tensors["W_enc"].T,
        b_enc=tensors["b_enc"],
        W_dec=tensors["W_dec"],
        b_dec=tensors["b_dec"],
        activation=Activation("jumprelu", threshold=tensors["threshold"]),
        layer=layer_in_path(folder),
        site=_site([], asked, folder),
        name="/".join(folder.parts[-2:]),
        files=((path.name, path),),
    )


def _saelens(folder: Path, asked: AutoencoderSite | None) -> Autoencoder:
    file = saelens.open_saelens(folder)
    if file.is_transcoder:
        raise WeightsError(f"{folder} is a {file.architecture}, no autoencoder; read it with load_transcoder")
    if file.architecture not in ARCHITECTURES or file.config.get("rescale_acts_by_decoder_norm"):
        raise WeightsError(f"{folder}: autoencoders must be one of {', '.join(ARCHITECTURES)}, not {file.architecture}")
    tensors = file.tensors
    subtracts = bool(file.config.get("apply_b_dec_to_input", True))
    b_enc = without_shift(tensors["b_enc"], tensors["W_enc"].T, tensors["b_dec"]) if subtracts else tensors["b_enc"]
    return Autoencoder(
        W_enc=tensors["W_enc"].T,
        b_enc=b_enc,
        W_dec=tensors["W_dec"],
        b_dec=tensors["b_dec"],
        activation=saelens.activation_of(file),
        layer=file.layer,
        site=_site(file.reads, asked, folder),
        name=folder.name,
        files=((file.path.name, file.path),),
        model_name=file.model_name,
    )


def _sparsify(folder: Path, asked: AutoencoderSite | None) -> Autoencoder:
    path, config = folder / "sae.safetensors", read_json(folder / "cfg.json")
    if config.get("transcode"):
        raise WeightsError(f"{folder} is a transcoder, no autoencoder; read it with load_transcoder")
    tensors = take(read_safetensors(path), path, SPARSIFY)
    return Autoencoder(
        W_enc=tensors["encoder.weight"],
        b_enc=without_shift(tensors["encoder.bias"], tensors["encoder.weight"], tensors["b_dec"]),
        W_dec=tensors["W_dec"],
        b_dec=tensors["b_dec"],
        activation=Activation(str(config.get("activation", "topk")), k=config.get("k")),
        layer=layer_in_path(folder),
        site=_site([folder.name], asked, folder),
        name=folder.name,
        files=((path.name, path),),
    )
