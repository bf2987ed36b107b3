"""Transcoders: sparse, readable stand-ins for a model's MLPs.

Orientation, here and everywhere after loading (files are converted once, by `replacement_model.formats`):

    W_enc (d_transcoder, d_model)    W_dec (d_transcoder, n_out, d_model)    W_skip (d_model, d_model), x @ W_skip.T

Output `j` of a cross-layer transcoder at layer `l` writes to layer `l + j`, n_out = n_layers - l; a per-layer one has
n_out = 1.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

import torch
from jaxtyping import Float, Int
from torch import Tensor

from replacement_model.activation import Activation
from replacement_model.errors import WeightsError

__all__ = ["DecoderSite", "EncoderTap", "Transcoder", "TranscoderLayer"]


class EncoderTap(Enum):
    """What the encoder reads: the residual stream before the MLP's norm, or that norm without or with its gain.

    With its gain, it is the MLP's input.
    """

    RESID_MID = "resid_mid"
    NORMALIZED = "normalized"
    MLP_IN = "mlp_in"


class DecoderSite(Enum):
    """What the decoder reconstructs: the MLP's own output, or that after the post-norm (added to the residual stream).

    The two are the same in a model that has no norm after its MLP.
    """

    MLP_OUT = "mlp_out"
    POST_NORM = "post_norm"


@dataclass(frozen=True, slots=True, eq=False)
class TranscoderLayer:
    """The features that read one layer of the model."""

    W_enc: Float[Tensor, "d_transcoder d_model"]
    b_enc: Float[Tensor, "d_transcoder"]
    W_dec: Float[Tensor, "d_transcoder n_out d_model"]
    activation: Activation
    W_skip: Float[Tensor, "d_model d_model"] | None = None

    @property
    def d_transcoder(self) -> int:
        return self.W_enc.shape[0]

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by its name."""
        named = {"W_enc": self.W_enc, "b_enc": self.b_enc, "W_dec": self.W_dec}
        optional = {"W_skip": self.W_skip, "threshold": self.activation.threshold}
        return named | {name: tensor for name, tensor in optional.items() if tensor is not None}

    def to(self, device: torch.device | str | None, dtype: torch.dtype | None) -> "TranscoderLayer":
        """A copy on `device`, in `dtype`."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device=device, dtype=dtype)

        return TranscoderLayer(
            W_enc=move(self.W_enc),
            b_enc=move(self.b_enc),
            W_dec=move(self.W_dec),
            activation=self.activation.to(device, dtype),
            W_skip=None if self.W_skip is None else move(self.W_skip),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Transcoder:
    """One transcoder for each layer of a model (None: that layer keeps its MLP, as error).

    Attributes:
        layers: index = layer of the model.
        b_dec: (n_layers, d_model), added to what is written at each layer.
        cross_layer: each feature writes to its own layer and all later ones.
        encoder_tap, decoder_site: where it reads and writes; the easiest thing to get wrong.
        name: identifies it in graphs.
        hashes: SHA-256 of the files it was read from.

    Raises:
        WeightsError: shapes contradict each other.
    """

    layers: tuple[TranscoderLayer | None, ...]
    b_dec: Float[Tensor, "n_layers d_model"]
    cross_layer: bool
    encoder_tap: EncoderTap
    decoder_site: DecoderSite
    name: str = "transcoder"
    hashes: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.b_dec.ndim != 2 or len(self.b_dec) != len(self.layers):
            shape = tuple(self.b_dec.shape)
            raise WeightsError(f"b_dec must be (n_layers, d_model), it is {shape} for {len(self.layers)} layers")
        for index, layer in enumerate(self.layers):
            if layer is not None:
                _check_layer(layer, index, self.n_out(index), self.d_model)

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @property
    def d_model(self) -> int:
        return self.b_dec.shape[1]

    def n_out(self, layer: int) -> int:
        """How many layers the features of `layer` write to."""
        return self.n_layers - layer if self.cross_layer else 1

    def pre_acts(self, layer: int, x: Float[Tensor, "pos d_model"]) -> Float[Tensor, "pos d_transcoder"]:
        """Pre-activations of the features of `layer`, where `x` is the model at the encoder's tap."""
        weights = self._layer(layer)
        return torch.addmm(weights.b_enc, x, weights.W_enc.T)

    def encode(self, layer: int, x: Float[Tensor, "pos d_model"]) -> Float[Tensor, "pos d_transcoder"]:
        """Activations of the features of `layer`, where `x` is the model at the encoder's tap."""
        return self.activate(layer, self.pre_acts(layer, x))

    def activate(self, layer: int, pre_acts: Float[Tensor, "pos d_transcoder"]) -> Float[Tensor, "pos d_transcoder"]:
        """Activations of the features of `layer` from their pre-activations."""
        return self._layer(layer).activation(pre_acts)

    def encoder_rows(self, layer: int, feature_idx: Int[Tensor, "n"]) -> Float[Tensor, "n d_model"]:
        """Encoder directions of features `feature_idx` of `layer`."""
        return self._layer(layer).W_enc[feature_idx]

    def encoder_biases(self, layer: int, feature_idx: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
        """Encoder biases of features `feature_idx` of `layer`."""
        return self._layer(layer).b_enc[feature_idx]

    def decoder_rows(
        self, source_layer: int, feature_idx: Int[Tensor, "n"], write_layer: int
    ) -> Float[Tensor, "n d_model"]:
        """What features `feature_idx` of `source_layer` write at `write_layer`, per unit of activation."""
        if not source_layer <= write_layer < source_layer + self.n_out(source_layer):
            raise WeightsError(f"the features of layer {source_layer} do not write at layer {write_layer}")
        return self._layer(source_layer).W_dec[feature_idx, write_layer - source_layer]

    def source_layers(self, write_layer: int) -> tuple[int, ...]:
        """The layers whose features write at `write_layer`."""
        first = 0 if self.cross_layer else write_layer
        return tuple(layer for layer in range(first, write_layer + 1) if self.layers[layer] is not None)

    def reconstruct(
        self, acts: dict[int, Float[Tensor, "pos _"]], write_layer: int, x: Float[Tensor, "pos d_model"]
    ) -> Float[Tensor, "pos d_model"]:
        """What the transcoder writes at `write_layer`: features, decoder bias and skip.

        Args:
            acts: activations of every source layer, by layer.
            write_layer: layer whose MLP output is reconstructed.
            x: the model at the encoder's tap of `write_layer`, read by the skip.
        """
        out = self.b_dec[write_layer].expand_as(x).clone()
        for source in self.source_layers(write_layer):
            active = acts[source].any(0).nonzero().squeeze(1)
            out += acts[source][:, active] @ self.decoder_rows(source, active, write_layer)
        skip = self.skip(write_layer)
        return out if skip is None else out + x @ skip.T

    def skip(self, layer: int) -> Float[Tensor, "d_model d_model"] | None:
        """The skip matrix of `layer`, None where there is none."""
        weights = self.layers[layer]
        return None if weights is None else weights.W_skip

    def map_layers(self, function: Callable[[TranscoderLayer], TranscoderLayer]) -> tuple[TranscoderLayer | None, ...]:
        """`function` of every layer that is present."""
        return tuple(None if layer is None else function(layer) for layer in self.layers)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Transcoder":
        """A copy with all tensors on `device`, in `dtype`."""
        layers = self.map_layers(lambda layer: layer.to(device, dtype))
        return replace(self, layers=layers, b_dec=self.b_dec.to(device=device, dtype=dtype))

    def _layer(self, layer: int) -> TranscoderLayer:
        weights = self.layers[layer]
        if weights is None:
            raise WeightsError(f"{self.name} has no transcoder for layer {layer}")
        return weights


def _check_layer(layer: TranscoderLayer, index: int, n_out: int, d_model: int) -> None:
    width = layer.d_transcoder
    expected = {
        "W_enc": (width, d_model),
        "b_enc": (width,),
        "W_dec": (width, n_out, d_model),
        "W_skip": (d_model, d_model),
        "threshold": (width,),
    }
    for name, tensor in layer.tensors().items():
        if tuple(tensor.shape) != expected[name]:
            raise WeightsError(f"layer {index}: {name} must be {expected[name]}, the file has {tuple(tensor.shape)}")
