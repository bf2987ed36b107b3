"""What a Gemma Scope 2 folder is: `config.json`, and where that is absent, the layout around it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replacement_model.errors import WeightsError
from replacement_model.formats.draft import ReadOptions
from replacement_model.formats.files import read_json
from replacement_model.formats.hooks import choose_site, choose_tap, parse_hook
from replacement_model.transcoder import DecoderSite, EncoderTap

__all__ = ["Config", "kind_of", "layout_kind", "model_name_of", "prefix_of", "read_config", "settings_of"]

N_LAYERS = {"270m": 18, "1b": 26, "4b": 34, "12b": 48, "27b": 62}
MODEL = re.compile(r"(?:google/)?gemma-(?:v3|3)-(270m|1b|4b|12b|27b)(?:-(pt|it))?")
# The suite's folders, and what the file beside the parameters would say of them.
KINDS = {"transcoder": "transcoder", "clt": "clt", "crosscoder": "crosscoder"} | dict.fromkeys(
    ("resid_post", "attn_out", "mlp_out"), "sae"
)
CHAT_PREFIX = (2, 105, 2364, 107)  # <bos><start_of_turn>user\n, with which all prompts of the -it suites began
READS, WRITES = "pre_feedforward_layernorm.output", "post_feedforward_layernorm.output"
OTHER_KINDS = {
    "sae": "a sparse autoencoder, which replaces no MLP; read it with load_autoencoder, to read features or to steer",
    "crosscoder": "a crosscoder, which reads several layers at once and replaces no MLP; Orrery does not read them",
}


@dataclass(frozen=True, slots=True)
class Config:
    """Where a transcoder reads and writes, and what its tensors must be.

    Attributes:
        layer: None for all layers, or where nothing says it.
        n_layers, model_name: of the model, where it is named.
        width: number of features, over all layers for a cross-layer transcoder.
        has_skip: None where nothing says it.
        notes: what no file states.
    """

    encoder_tap: EncoderTap
    decoder_site: DecoderSite
    layer: int | None = None
    n_layers: int | None = None
    model_name: str | None = None
    width: int | None = None
    has_skip: bool | None = None
    notes: tuple[str, ...] = ()

    @property
    def prefix(self) -> tuple[int, ...]:
        """What the prompts that it was trained on began with; empty for a pretrained model."""
        return prefix_of(self.model_name)

    def check(self, where: Path, width: int, has_skip: bool) -> None:
        """Compare with what the tensors are.

        Raises:
            WeightsError: they contradict each other.
        """
        # A set's nominal width is not always a multiple of its number of layers: 262144 is 26 times 10080, and a rest.
        if self.width is not None and not width <= self.width < 1.01 * width:
            raise WeightsError(f"{where}: config.json says {self.width} features, the tensors have {width}")
        if self.has_skip not in (None, has_skip):
            has = "have one" if has_skip else "have none"
            raise WeightsError(f"{where}: config.json says affine_connection: {self.has_skip}, the tensors {has}")


def read_config(folder: Path, options: ReadOptions) -> Config:
    """What the transcoder in `folder` is.

    Raises:
        InputError: there is no config.json, and neither the layout nor the caller says where it reads and writes.
        WeightsError: the config is damaged, or names another kind, activation or place.
    """
    settings = settings_of(folder)
    kind = kind_of(folder, settings)
    asked = options.encoder_tap is not None and options.decoder_site is not None
    if kind in OTHER_KINDS and not (asked and settings is None):
        raise WeightsError(f"{folder} is {OTHER_KINDS[kind]}")
    by_layout = settings is None and kind is not None
    settings = settings or {}
    reads = READS if by_layout else settings.get("hf_hook_point_in")
    writes = WRITES if by_layout else settings.get("hf_hook_point_out")
    where = folder / "config.json"
    model = MODEL.fullmatch(str(settings.get("model_name")))
    return Config(
        encoder_tap=choose_tap([reads], options.encoder_tap, where),
        decoder_site=choose_site([writes], options.decoder_site, where),
        layer=None if reads is None else parse_hook(str(reads)).layer,
        n_layers=N_LAYERS[model[1]] if model else None,
        model_name=model_name_of(settings),
        width=settings.get("width"),
        has_skip=settings.get("affine_connection"),
        notes=(f"no config.json: read and written where the suite's {kind}s are",) if by_layout and not asked else (),
    )


def settings_of(folder: Path) -> dict[str, Any] | None:
    """The folder's config.json; None where there is none.

    Raises:
        WeightsError: it is damaged, or names another architecture.
    """
    path = folder / "config.json"
    if not path.is_file():
        return None
    settings = read_json(path)
    if settings.get("architecture", "jump_relu") != "jump_relu":
        raise WeightsError(f"{path}: architecture must be jump_relu, it is {settings['architecture']!r}")
    return settings


def kind_of(folder: Path, settings: dict[str, Any] | None) -> str | None:
    """`transcoder`, `clt`, `sae` or `crosscoder`; None where neither the config nor the layout says it.

    Raises:
        WeightsError: the config says something else.
    """
    kind = layout_kind(folder) if settings is None else settings.get("type")
    if kind is not None and kind not in KINDS.values():
        raise WeightsError(f"{folder / 'config.json'}: type must be transcoder, clt, sae or crosscoder, it is {kind!r}")
    return kind


def layout_kind(folder: Path) -> str | None:
    """What the folders above say, which the suite names after what is in them."""
    names = (part.removesuffix("_all") for part in reversed(folder.parts))
    return next((KINDS[name] for name in names if name in KINDS), None)


def prefix_of(model_name: str | None) -> tuple[int, ...]:
    """What all prompts began with that a suite for this model was trained on."""
    model = MODEL.fullmatch(model_name or "")
    return CHAT_PREFIX if model and model[2] == "it" else ()


def model_name_of(settings: dict[str, Any]) -> str | None:
    """The model's name on the hub; configs shorten it in several ways."""
    model = MODEL.fullmatch(str(settings.get("model_name")))
    if model is None:
        return settings.get("model_name")
    # The smallest pretrained model alone has no suffix on the hub.
    suffix = "" if model[2] is None or (model[1], model[2]) == ("270m", "pt") else f"-{model[2]}"
    return f"google/gemma-3-{model[1]}{suffix}"
