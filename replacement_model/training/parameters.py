"""The parameters of a transcoder in training, and their export."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from replacement_model.activation import Activation
from replacement_model.training.activations import ActivationDataset
from replacement_model.transcoder import DecoderSite, EncoderTap, Transcoder, TranscoderLayer

__all__ = ["Scales", "TranscoderParameters", "standardize"]

DECODER_INIT_SHARE = 0.3
"""Initial size of a decoder row, relative to the typical target; several features share the work of one context."""


class Scales:
    """From raw activations to trained units and back: inputs of unit size, targets of unit variance a dimension."""

    def __init__(self, data: ActivationDataset) -> None:
        share = (data.weights / data.weights.sum())[None, :, None]
        self.input_scale = (data.inputs.square() * share).sum(1).mean(-1).rsqrt()  # [n_layers]
        self.target_mean = (data.targets * share).sum(1)  # [n_layers, d_model]
        variance = ((data.targets - self.target_mean[:, None]).square() * share).sum(1).sum(-1)
        self.target_scale = (data.d_model / variance).sqrt()  # [n_layers]


def standardize(data: ActivationDataset, scales: Scales) -> ActivationDataset:
    """A copy of `data` in trained units."""
    return ActivationDataset(
        inputs=data.inputs * scales.input_scale[:, None, None],
        targets=(data.targets - scales.target_mean[:, None]) * scales.target_scale[:, None, None],
        weights=data.weights,
    )


class TranscoderParameters(nn.Module):
    """Encoder and decoder of every layer, in trained units.

    Each feature starts as one training context: it reads what sets that context's input
    apart from the mean, and writes its targets. Fewer features die so than
    from random directions.
    """

    def __init__(
        self, data: ActivationDataset, d_transcoder: int, cross_layer: bool, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.cross_layer = cross_layer
        self.W_enc, self.b_enc, self.W_dec = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        share = (data.weights / data.weights.sum())[:, None]
        for layer in range(data.n_layers):
            last = data.n_layers if cross_layer else layer + 1
            chosen = torch.multinomial(data.weights, d_transcoder, replacement=True, generator=generator)
            mean = (data.inputs[layer] * share).sum(0)  # [d_model]
            W_enc = nn.functional.normalize(data.inputs[layer, chosen] - mean, dim=-1)  # [d_transcoder, d_model]
            W_dec = data.targets[layer:last, chosen].transpose(0, 1)  # [d_transcoder, n_out, d_model]
            self.W_enc.append(W_enc)
            self.b_enc.append(-(W_enc @ mean))
            self.W_dec.append((W_dec * (DECODER_INIT_SHARE / data.d_model**0.5)).contiguous())
        self.b_dec = nn.Parameter(torch.zeros(data.n_layers, data.d_model))

    @property
    def n_layers(self) -> int:
        return len(self.W_enc)

    @property
    def d_transcoder(self) -> int:
        return self.W_enc[0].shape[0]

    def write_layers(self, layer: int) -> range:
        """The layers that features of `layer` write to."""
        return range(layer, self.n_layers if self.cross_layer else layer + 1)

    def decoder_norms(self) -> Float[Tensor, "n_layers d_transcoder"]:
        """Size of what each feature writes, over all layers, per unit of activation."""
        return torch.stack([W_dec.detach().flatten(1).norm(dim=-1) for W_dec in self.W_dec])

    def export(
        self, scales: Scales, thresholds: Float[Tensor, "n_layers"], tap: EncoderTap, site: DecoderSite, name: str
    ) -> Transcoder:
        """A transcoder in the host's own units whose threshold a layer has become one JumpReLU threshold a feature.

        Args:
            scales: undone here: W_enc takes the input's, W_dec and b_dec the target's.
            thresholds: of each layer, on activation times decoder norm, in trained units.
            tap, site, name: as in `Transcoder`.
        """
        layers = []
        for layer, norms in enumerate(self.decoder_norms()):
            back = (1 / scales.target_scale[list(self.write_layers(layer))])[None, :, None]  # [1, n_out, 1]
            W_dec = self.W_dec[layer].detach() * back
            layers.append(
                TranscoderLayer(
                    W_enc=self.W_enc[layer].detach() * scales.input_scale[layer],
                    b_enc=self.b_enc[layer].detach().clone(),
                    W_dec=tuple(matrix.contiguous() for matrix in W_dec.unbind(1)),
                    activation=Activation("jumprelu", threshold=thresholds[layer] / norms.clamp_min(1e-6)),
                )
            )
        b_dec = self.b_dec.detach() / scales.target_scale[:, None] + scales.target_mean
        return Transcoder(tuple(layers), b_dec, self.cross_layer, tap, site, name)
