"""CLT-Forge: `clt_cfg.json` beside `clt_weights.safetensors`, or one `rank{r}_clt_weights.safetensors` a process.

`W_enc` (L, d, F), `b_enc` (L, F), `log_threshold` (L, F): JumpReLU at its exponential. `W_dec` (L (L + 1) / 2, F, d) by
source and target, the upper triangle row by row, `b_dec` alike, summed by target; without cross-layer decoders they are
(L, F, d) and (L, d). Inputs were multiplied by `estimated_norm_scaling_factor_in` (L) and outputs by `..._out`; both
are folded into the weights here. Several files have a part of the features each, which are joined in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from replacement_model.activation import Activation
from replacement_model.errors import WeightsError
from replacement_model.formats.draft import Draft, ReadOptions, take
from replacement_model.formats.files import read_json, read_safetensors
from replacement_model.formats.folding import as_float
from replacement_model.formats.hooks import choose_site, choose_tap
from replacement_model.transcoder import TranscoderLayer

__all__ = ["is_clt_forge", "read_clt_forge"]

CONFIG_NAME, FILE_NAME = "clt_cfg.json", "clt_weights.safetensors"
SCALES = ("estimated_norm_scaling_factor_in", "estimated_norm_scaling_factor_out")
REQUIRED = {"W_enc": 3, "b_enc": 2, "W_dec": 3, "b_dec": 2}
# The last three are of the training run.
OPTIONAL = {"log_threshold": 2, "feature_count": 2, "layer_mask": 2} | dict.fromkeys(SCALES, 1)
FOLD_NOTE = "the scaling of inputs and outputs is folded into the weights"
WHERE = "which its own exporter takes for ln2.hook_normalized (normalized) and hook_mlp_out (post_norm)"


def is_clt_forge(folder: Path) -> bool:
    """Whether `folder` holds this layout."""
    return (folder / CONFIG_NAME).is_file()


def read_clt_forge(folder: Path, options: ReadOptions) -> Draft:
    """Read a cross-layer transcoder, or a set of per-layer ones.

    Raises:
        InputError: nothing says where it reads and writes; the files never do.
        WeightsError: a file is missing or damaged, or the activation is not known.
    """
    config, paths = read_json(folder / CONFIG_NAME), _files(folder)
    shards = [take(read_safetensors(path), path, REQUIRED, OPTIONAL) for path in paths]
    n_layers = len(shards[0]["W_enc"])
    crosses = config.get("cross_layer_decoders", len(shards[0]["W_dec"]) > n_layers)
    for path, shard in zip(paths, shards, strict=True):
        _check_layers(shard, n_layers, bool(crosses), path)
    where = f"{folder}, {WHERE},"
    tap = choose_tap([], options.encoder_tap, where)
    site = choose_site([], options.decoder_site, where)
    scales = _Scales.read(shards[0], n_layers)
    return Draft(
        layers=tuple(
            partial(_make, shards, layer, n_layers, bool(crosses), config, scales) for layer in range(n_layers)
        ),
        b_dec=_biases(shards[0]["b_dec"], n_layers, bool(crosses), scales),
        cross_layer=bool(crosses),
        encoder_tap=tap,
        decoder_site=site,
        name=folder.name,
        files=tuple((path.name, path) for path in paths),
        model_name=config.get("model_name"),
        notes=() if scales is None else (FOLD_NOTE,),
    )


def _files(folder: Path) -> list[Path]:
    if (folder / FILE_NAME).is_file():
        return [folder / FILE_NAME]
    n_shards = len(list(folder.glob(f"rank*_{FILE_NAME}")))
    return [folder / f"rank{rank}_{FILE_NAME}" for rank in range(n_shards)] or [folder / FILE_NAME]


def _check_layers(shard: dict[str, Tensor], n_layers: int, crosses: bool, path: Path) -> None:
    n_decoders = n_layers * (n_layers + 1) // 2 if crosses else n_layers
    for name, tensor in shard.items():
        expected = n_decoders if name in ("W_dec", "b_dec") else n_layers
        if len(tensor) != expected:
            raise WeightsError(f"{path}: {name} must have {expected} layers, its shape is {tuple(tensor.shape)}")


@dataclass(frozen=True, slots=True, eq=False)
class _Scales:
    """What inputs and outputs were multiplied by, a number a layer."""

    inputs: Float[Tensor, "n_layers"]
    outputs: Float[Tensor, "n_layers"]

    @classmethod
    def read(cls, tensors: dict[str, Tensor], n_layers: int) -> "_Scales | None":
        """None where nothing is scaled."""
        inputs, outputs = (as_float(tensors.get(name, torch.ones(n_layers))) for name in SCALES)
        if bool((inputs == 1).all()) and bool((outputs == 1).all()):
            return None
        return cls(inputs, outputs)


def _biases(b_dec: Tensor, n_layers: int, crosses: bool, scales: _Scales | None) -> Float[Tensor, "n_layers d_model"]:
    if crosses:
        _, targets = torch.triu_indices(n_layers, n_layers)
        b_dec = torch.zeros_like(b_dec[:n_layers]).index_add_(0, targets, b_dec)
    return b_dec if scales is None else as_float(b_dec) / scales.outputs[:, None]


def _joined(shards: Sequence[dict[str, Tensor]], name: str, index: int) -> Tensor:
    """One layer of a tensor, (F, ...) or (F,): a view if there is one file."""
    parts = [shard[name][index].T if name == "W_enc" else shard[name][index] for shard in shards]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _make(
    shards: Sequence[dict[str, Tensor]],
    layer: int,
    n_layers: int,
    crosses: bool,
    config: dict[str, Any],
    scales: _Scales | None,
) -> TranscoderLayer:
    # Before it are the decoders of all earlier sources, n_layers of the first, one fewer of each that follows.
    first = layer * n_layers - layer * (layer - 1) // 2 if crosses else layer
    W_enc = _joined(shards, "W_enc", layer)
    W_dec = [_joined(shards, "W_dec", first + j) for j in range(n_layers - layer if crosses else 1)]
    if scales is not None:
        W_enc = as_float(W_enc) * scales.inputs[layer]
        W_dec = [as_float(matrix) / scales.outputs[layer + j] for j, matrix in enumerate(W_dec)]
    return TranscoderLayer(
        W_enc=W_enc,
        b_enc=_joined(shards, "b_enc", layer),
        W_dec=tuple(W_dec),
        activation=_activation(shards, layer, config),
    )


def _activation(shards: Sequence[dict[str, Tensor]], layer: int, config: dict[str, Any]) -> Activation:
    kind = config.get("activation_fn", "jumprelu")
    if kind in ("topk", "groupmax"):
        return Activation(kind, k=config.get("k"))
    if kind != "jumprelu" or "log_threshold" not in shards[0]:
        raise WeightsError(
            f"{CONFIG_NAME}: activation_fn must be jumprelu, with a log_threshold, or topk or groupmax; it is {kind!r}"
        )
    return Activation("jumprelu", threshold=as_float(_joined(shards, "log_threshold", layer)).exp())
