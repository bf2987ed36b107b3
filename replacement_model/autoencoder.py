"""Sparse autoencoders: features of one place in a model, to be read and steered with. They replace nothing."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from replacement_model.activation import Activation
from replacement_model.errors import WeightsError
from replacement_model.hashing import content_hash

__all__ = ["Autoencoder", "AutoencoderSite"]

N_AT_ONCE = 4096  # features whose weights are converted at a time


class AutoencoderSite(Enum):
    """The place in a layer that an autoencoder reads, and would write.

    `heads` is what all attention heads give, side by side, before W_O; the others are (parts of) the residual stream,
    with `attn_out` and `mlp_out` as they are added to it.
    """

    RESID_PRE = "resid_pre"
    RESID_MID = "resid_mid"
    RESID_POST = "resid_post"
    HEADS = "heads"
    ATTN_OUT = "attn_out"
    MLP_OUT = "mlp_out"


@dataclass(frozen=True, slots=True, eq=False)
class Autoencoder:
    """One autoencoder; its weights stay in the dtype and often in the memory of their file.

    Attributes:
        layer, site: where it reads. d_in is d_model, or n_heads * d_head for `heads`.
        b_enc: with what the trainer subtracts from the input folded in.
        name: identifies it.
        files, model_name, notes, prefix: as in `Transcoder`.

    Raises:
        WeightsError: shapes contradict each other.
    """

    W_enc: Float[Tensor, "d_sae d_in"]
    b_enc: Float[Tensor, "d_sae"]
    W_dec: Float[Tensor, "d_sae d_in"]
    b_dec: Float[Tensor, "d_in"]
    activation: Activation
    layer: int
    site: AutoencoderSite
    name: str = "autoencoder"
    files: tuple[tuple[str, Path], ...] = ()
    model_name: str | None = None
    notes: tuple[str, ...] = ()
    prefix: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        d_sae, d_in = self.W_enc.shape
        expected = {"b_enc": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
        found = {name: getattr(self, name) for name in expected}
        if self.activation.threshold is not None:
            found["threshold"], expected["threshold"] = self.activation.threshold, (d_sae,)
        for name, tensor in found.items():
            if tuple(tensor.shape) != expected[name]:
                raise WeightsError(f"{name} must be {expected[name]}, the file has {tuple(tensor.shape)}")

    @property
    def d_sae(self) -> int:
        return self.W_enc.shape[0]

    @property
    def hashes(self) -> tuple[tuple[str, str], ...]:
        """SHA-256 of the files that it was read from."""
        return tuple((name, content_hash(path)) for name, path in self.files)

    def pre_acts(self, x: Float[Tensor, "pos d_in"]) -> Float[Tensor, "pos d_sae"]:
        """Pre-activations of all features, where `x` is the model at the autoencoder's place; dtype of `x`."""
        parts = zip(self.W_enc.split(N_AT_ONCE), self.b_enc.split(N_AT_ONCE), strict=True)
        out = torch.cat([torch.addmm(b.to(x), x, W.to(x).T) for W, b in parts], dim=1)
        if not bool(torch.isfinite(out).all()):
            raise WeightsError(f"{self.name}: W_enc or b_enc holds NaN or infinite values; download the file again")
        return out

    def encode(self, x: Float[Tensor, "pos d_in"]) -> Float[Tensor, "pos d_sae"]:
        """Activations of all features."""
        return self.activation.to(x.device, x.dtype)(self.pre_acts(x))

    def decode(self, acts: Float[Tensor, "pos d_sae"]) -> Float[Tensor, "pos d_in"]:
        """What the features write; only the rows of active ones are read."""
        active = acts.any(0).nonzero().squeeze(1)
        return self.b_dec.to(acts) + acts[:, active] @ self.decoder_rows(active).to(acts)

    def reconstruct(self, x: Float[Tensor, "pos d_in"]) -> Float[Tensor, "pos d_in"]:
        """`x` as the features explain it."""
        return self.decode(self.encode(x))

    def encoder_rows(self, feature_idx: Int[Tensor, "n"]) -> Float[Tensor, "n d_in"]:
        """The directions that features `feature_idx` read."""
        return self.W_enc[feature_idx.to(self.W_enc.device)]

    def decoder_rows(self, feature_idx: Int[Tensor, "n"]) -> Float[Tensor, "n d_in"]:
        """The directions that features `feature_idx` write, per unit of activation: what one steers with."""
        return self.W_dec[feature_idx.to(self.W_dec.device)]
