"""Transcoders: sparse, readable stand-ins for a model's MLPs.

Orientation, here and everywhere after loading (files are turned once, by `replacement_model.formats`):

    W_enc (d_transcoder, d_model)    W_dec n_out of (d_transcoder, d_model)    W_skip (d_model, d_model), x @ W_skip.T

Output `j` of a cross-layer transcoder at layer `l` writes to layer `l + j`, n_out = n_layers - l; a per-layer one has
n_out = 1.

Weights are larger than memory: a cross-layer transcoder of 30 GiB must be traced on a machine with 8. So the tensors
stay as they are in the file, memory-mapped and in its dtype; encoders are read in parts of a bounded size, and of the
decoders only the rows of active features are read at all.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from replacement_model.activation import Activation
from replacement_model.errors import WeightsError
from replacement_model.hashing import content_hashes
from replacement_model.mapped import prefetch_rows

__all__ = ["ActiveFeatures", "DecoderSite", "EncoderTap", "Transcoder", "TranscoderLayer", "check_layer"]

PART_BYTES = 2**26  # what is converted or computed at once, whatever the size of a layer


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
    """The features that read one layer of the model, in the dtype and often in the memory of their file.

    Attributes:
        W_dec: what is written per unit of activation, one matrix for each layer written to.
    """

    W_enc: Float[Tensor, "d_transcoder d_model"]
    b_enc: Float[Tensor, "d_transcoder"]
    W_dec: tuple[Float[Tensor, "d_transcoder d_model"], ...]
    activation: Activation
    W_skip: Float[Tensor, "d_model d_model"] | None = None

    @property
    def d_transcoder(self) -> int:
        return self.W_enc.shape[0]

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by its name; decoders are `W_dec.0`, `W_dec.1`, ..."""
        named = {"W_enc": self.W_enc, "b_enc": self.b_enc}
        named |= {f"W_dec.{j}": matrix for j, matrix in enumerate(self.W_dec)}
        optional = {"W_skip": self.W_skip, "threshold": self.activation.threshold}
        return named | {name: tensor for name, tensor in optional.items() if tensor is not None}

    def to(self, device: torch.device | str | None, dtype: torch.dtype | None) -> "TranscoderLayer":
        """A copy on `device`, in `dtype`."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device=device, dtype=dtype)

        return TranscoderLayer(
            W_enc=move(self.W_enc),
            b_enc=move(self.b_enc),
            W_dec=tuple(move(matrix) for matrix in self.W_dec),
            activation=self.activation.to(device, dtype),
            W_skip=None if self.W_skip is None else move(self.W_skip),
        )


@dataclass(frozen=True, slots=True, eq=False)
class ActiveFeatures:
    """The features of one layer that are active on a prompt, sorted by position, then feature.

    Every nonlinearity here lets an active feature's pre-activation through, so `acts` are both.
    """

    pos: Int[Tensor, "n"]
    feature_idx: Int[Tensor, "n"]
    acts: Float[Tensor, "n"]

    @classmethod
    def of(cls, acts: Float[Tensor, "pos d_transcoder"], first_idx: int = 0) -> "ActiveFeatures":
        """Those that are not zero in a dense array, whose first column is feature `first_idx`."""
        pos, col = acts.nonzero().T
        return cls(pos, col + first_idx, acts[pos, col])

    @classmethod
    def join(cls, parts: "list[ActiveFeatures]") -> "ActiveFeatures":
        """All of them, with the features of each part below those of the next."""
        pos = torch.cat([part.pos for part in parts])
        order = torch.argsort(pos, stable=True)
        feature_idx = torch.cat([part.feature_idx for part in parts])
        return cls(pos[order], feature_idx[order], torch.cat([part.acts for part in parts])[order])

    def since(self, pos: int) -> "ActiveFeatures":
        """Those at `pos` and later."""
        kept = self.pos >= pos
        return ActiveFeatures(self.pos[kept], self.feature_idx[kept], self.acts[kept])


@dataclass(frozen=True, slots=True, eq=False)
class Transcoder:
    """One transcoder for each layer of a model (None: that layer keeps its MLP, as error).

    Attributes:
        layers: index = layer of the model.
        b_dec: (n_layers, d_model), added to what is written at each layer.
        cross_layer: each feature writes to its own layer and all later ones.
        encoder_tap, decoder_site: where it reads and writes; the easiest thing to get wrong.
        name: identifies it in graphs.
        files: what it was read from, by their names within its folder.
        model_name: the model it was trained on, where its files say so.
        notes: what a user should know of how it was read: conventions that no file states, what was left out.
        prefix: token ids that its prompts begin with, where it was trained on nothing else; their features are ignored.
        device, dtype: what the methods give values in, None where tensors are; `values_in` sets both.

    Raises:
        WeightsError: shapes contradict each other, or b_dec is not finite (the rest is checked where it is used).
    """

    layers: tuple[TranscoderLayer | None, ...]
    b_dec: Float[Tensor, "n_layers d_model"]
    cross_layer: bool
    encoder_tap: EncoderTap
    decoder_site: DecoderSite
    name: str = "transcoder"
    files: tuple[tuple[str, Path], ...] = ()
    model_name: str | None = None
    notes: tuple[str, ...] = ()
    prefix: tuple[int, ...] = ()
    device: torch.device | str | None = None
    dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        if self.b_dec.ndim != 2 or len(self.b_dec) != len(self.layers):
            shape = tuple(self.b_dec.shape)
            raise WeightsError(f"b_dec must be (n_layers, d_model), it is {shape} for {len(self.layers)} layers")
        if not bool(torch.isfinite(self.b_dec).all()):
            raise WeightsError(f"{self.name}: b_dec holds NaN or infinite values; download the file again")
        for index, layer in enumerate(self.layers):
            if layer is not None:
                check_layer(layer, index, self.n_out(index), self.d_model)

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @property
    def d_model(self) -> int:
        return self.b_dec.shape[1]

    @property
    def missing_layers(self) -> tuple[int, ...]:
        """Layers without features, whose MLP is kept as error."""
        return tuple(index for index, layer in enumerate(self.layers) if layer is None)

    @property
    def hashes(self) -> tuple[tuple[str, str], ...]:
        """SHA-256 of the files it was read from; a large file is read for it the first time, and then remembered."""
        names = [name for name, _ in self.files]
        return tuple(zip(names, content_hashes([path for _, path in self.files]), strict=True))

    @property
    def n_bytes(self) -> int:
        """Size of all its tensors."""
        tensors = [tensor for layer in self.layers if layer is not None for tensor in layer.tensors().values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in (*tensors, self.b_dec))

    def n_out(self, layer: int) -> int:
        """How many layers the features of `layer` write to."""
        return self.n_layers - layer if self.cross_layer else 1

    def pre_acts(self, layer: int, x: Float[Tensor, "pos d_model"]) -> Float[Tensor, "pos d_transcoder"]:
        """Pre-activations of the features of `layer`, where `x` is the model at the encoder's tap.

        Raises:
            WeightsError: the weights hold NaN or infinite values.
        """
        out = x.new_empty(len(x), self._layer(layer).d_transcoder)
        for part in self._parts(layer, rows=len(x)):
            self._pre_acts(layer, x, part, out[:, part])
        return out

    def encode(self, layer: int, x: Float[Tensor, "pos d_model"]) -> Float[Tensor, "pos d_transcoder"]:
        """Activations of the features of `layer`, where `x` is the model at the encoder's tap."""
        return self.activate(layer, self.pre_acts(layer, x))

    def activate(self, layer: int, pre_acts: Float[Tensor, "pos d_transcoder"]) -> Float[Tensor, "pos d_transcoder"]:
        """Activations of the features of `layer` from their pre-activations."""
        return self._layer(layer).activation.to(pre_acts.device, pre_acts.dtype)(pre_acts)

    def active_features(self, layer: int, x: Float[Tensor, "pos d_model"]) -> ActiveFeatures:
        """What `encode` gives, without ever holding it: part by part, if the nonlinearity looks at single features."""
        activation = self._layer(layer).activation
        if not activation.elementwise:
            return ActiveFeatures.of(self.encode(layer, x))
        found = []
        for part in self._parts(layer, rows=len(x)):
            pre_acts = self._pre_acts(layer, x, part, x.new_empty(len(x), part.stop - part.start))
            acts = activation.part(part).to(x.device, x.dtype)(pre_acts)
            found.append(ActiveFeatures.of(acts, part.start))
        return ActiveFeatures.join(found)

    def encoder_rows(self, layer: int, feature_idx: Int[Tensor, "n"]) -> Float[Tensor, "n d_model"]:
        """Encoder directions of features `feature_idx` of `layer`."""
        return self._rows(self._layer(layer).W_enc, feature_idx)

    def encoder_biases(self, layer: int, feature_idx: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
        """Encoder biases of features `feature_idx` of `layer`."""
        return self._rows(self._layer(layer).b_enc, feature_idx)

    def decoder_rows(
        self, source_layer: int, feature_idx: Int[Tensor, "n"], write_layer: int
    ) -> Float[Tensor, "n d_model"]:
        """What features `feature_idx` of `source_layer` write at `write_layer`, per unit of activation.

        Raises:
            WeightsError: they do not write there, or the rows hold NaN or infinite values.
        """
        if not source_layer <= write_layer < source_layer + self.n_out(source_layer):
            raise WeightsError(f"the features of layer {source_layer} do not write at layer {write_layer}")
        rows = self._rows(self._layer(source_layer).W_dec[write_layer - source_layer], feature_idx)
        self._check_finite(rows, source_layer, "W_dec")
        return rows

    def prefetch_decoders(self, layer: int, feature_idx: Int[Tensor, "n"]) -> None:
        """Begin to read the decoder rows of features `feature_idx` of `layer`, which are wanted soon."""
        prefetch_rows(self._layer(layer).W_dec, feature_idx)

    def source_layers(self, write_layer: int) -> tuple[int, ...]:
        """The layers whose features write at `write_layer`."""
        first = 0 if self.cross_layer else write_layer
        return tuple(layer for layer in range(first, write_layer + 1) if self.layers[layer] is not None)

    def reconstruct(
        self, acts: dict[int, ActiveFeatures], write_layer: int, x: Float[Tensor, "pos d_model"]
    ) -> Float[Tensor, "pos d_model"]:
        """What the transcoder writes at `write_layer`: features, decoder bias and skip.

        Args:
            acts: active features of every source layer, by layer.
            write_layer: layer whose MLP output is reconstructed.
            x: the model at the encoder's tap of `write_layer`, read by the skip.
        """
        out = self.b_dec[write_layer].expand_as(x).clone()
        self._add_features(out, acts, write_layer)
        skip = self.skip(write_layer)
        return out if skip is None else out + x @ skip.T

    def written(self, acts: dict[int, ActiveFeatures], write_layer: int, n_pos: int) -> Float[Tensor, "pos d_model"]:
        """What features (or changes of them) write at `write_layer`, alone; layers that `acts` lacks have none."""
        out = self.b_dec.new_zeros(n_pos, self.d_model)
        self._add_features(out, acts, write_layer)
        return out

    def skip(self, layer: int) -> Float[Tensor, "d_model d_model"] | None:
        """The skip matrix of `layer`, None where there is none."""
        weights = self.layers[layer]
        if weights is None or weights.W_skip is None:
            return None
        skip = weights.W_skip.to(device=self.device, dtype=self.dtype)
        self._check_finite(skip, layer, "W_skip")
        return skip

    def map_layers(self, function: Callable[[TranscoderLayer], TranscoderLayer]) -> tuple[TranscoderLayer | None, ...]:
        """`function` of every layer that is present."""
        return tuple(None if layer is None else function(layer) for layer in self.layers)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Transcoder":
        """A copy with all tensors on `device`, in `dtype`."""
        layers = self.map_layers(lambda layer: layer.to(device, dtype))
        return replace(self, layers=layers, b_dec=self.b_dec.to(device=device, dtype=dtype))

    def values_in(self, device: torch.device | str, dtype: torch.dtype) -> "Transcoder":
        """The same weights where they are; what the methods give is on `device`, in `dtype`."""
        return replace(self, device=device, dtype=dtype, b_dec=self.b_dec.to(device=device, dtype=dtype))

    def _layer(self, layer: int) -> TranscoderLayer:
        weights = self.layers[layer]
        if weights is None:
            raise WeightsError(f"{self.name} has no transcoder for layer {layer}")
        return weights

    def _add_features(
        self, out: Float[Tensor, "pos d_model"], acts: dict[int, ActiveFeatures], write_layer: int
    ) -> None:
        n_rows = max(1, PART_BYTES // (self.d_model * out.element_size()))
        for source in self.source_layers(write_layer):
            if source not in acts:
                continue
            active = acts[source]
            for part in torch.arange(len(active.pos), device=out.device).split(n_rows):
                rows = self.decoder_rows(source, active.feature_idx[part], write_layer)
                out.index_add_(0, active.pos[part], rows * active.acts[part, None])

    def _rows(self, tensor: Float[Tensor, "d_transcoder *rest"], feature_idx: Int[Tensor, "n"]) -> Tensor:
        """Rows of a tensor, read where it lies, given in the transcoder's device and dtype."""
        return tensor[feature_idx.to(tensor.device)].to(device=self.device, dtype=self.dtype)

    def _parts(self, layer: int, rows: int) -> Iterator[slice]:
        """Ranges of the features of `layer`, each small enough to be converted and applied to `rows` inputs."""
        n_features = self._layer(layer).d_transcoder
        step = max(1, PART_BYTES // (4 * max(rows, self.d_model)))
        return (slice(first, min(first + step, n_features)) for first in range(0, n_features, step))

    def _pre_acts(self, layer: int, x: Tensor, part: slice, out: Tensor) -> Tensor:
        weights = self._layer(layer)
        W_enc, b_enc = (tensor[part].to(x.device, x.dtype) for tensor in (weights.W_enc, weights.b_enc))
        torch.addmm(b_enc, x, W_enc.T, out=out)
        self._check_finite(out, layer, "W_enc or b_enc")
        return out

    def _check_finite(self, values: Tensor, layer: int, name: str) -> None:
        # One value that is not finite makes the sum so: the sum is the quicker test, and almost always enough.
        if not bool(torch.isfinite(values.sum())) and not bool(torch.isfinite(values).all()):
            raise WeightsError(
                f"{self.name}, layer {layer}: {name} holds NaN or infinite values; download the file again"
            )


def check_layer(layer: TranscoderLayer, index: int, n_out: int, d_model: int) -> None:
    """Compare the shapes of a layer's tensors with what a transcoder needs.

    Raises:
        WeightsError: one does not fit, or a threshold is NaN, which would silence its feature without a word.
    """
    width = layer.d_transcoder
    if len(layer.W_dec) != n_out:
        raise WeightsError(f"layer {index}: W_dec must write to {n_out} layers, the file has {len(layer.W_dec)}")
    expected = {
        "W_enc": (width, d_model),
        "b_enc": (width,),
        "W_dec": (width, d_model),
        "W_skip": (d_model, d_model),
        "threshold": (width,),
    }
    for name, tensor in layer.tensors().items():
        shape = expected[name.partition(".")[0]]
        if tuple(tensor.shape) != shape:
            raise WeightsError(f"layer {index}: {name} must be {shape}, the file has {tuple(tensor.shape)}")
    if layer.activation.threshold is not None and bool(layer.activation.threshold.isnan().any()):
        raise WeightsError(f"layer {index}: threshold holds NaN; download the file again")
