"""What the engine needs to know of a host model: where its norms, value, output, embedding and unembedding weights are.

An adapter (one small file an architecture) returns a `Host`. Nothing here computes anything but norms: the capture
rebuilds every block from these pieces and compares it with the host, so a wrong piece is an error, never a wrong graph.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Block", "Host", "NoNorm", "Norm"]


@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    """A norm layer: x -> gain * (x - mean if it centres) * scale + bias, scale = 1 / sqrt(mean square + eps).

    Attributes:
        module: the host's own module.
        eps: added to the mean square.
        gain_offset: added to the module's weight to give the gain (1 for Gemma).
        centres: LayerNorm subtracts the mean first, RMSNorm does not.
        device: where gain and bias are given, None for the module's own.
    """

    module: nn.Module
    eps: float
    gain_offset: float = 0.0
    centres: bool = False
    device: torch.device | None = None

    def gain(self, dtype: torch.dtype) -> Float[Tensor, "d_model"]:
        """The gain, computed in `dtype`."""
        weight: Tensor = self.module.weight.detach().to(self.device, dtype)
        return weight + self.gain_offset if self.gain_offset else weight

    def bias(self, dtype: torch.dtype) -> Float[Tensor, "d_model"] | None:
        """The bias, None where the norm has none."""
        bias = getattr(self.module, "bias", None)
        return None if bias is None else bias.detach().to(self.device, dtype)

    def centre(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """`x` minus its mean over d_model if the norm centres, else `x`. Its own adjoint."""
        return x - x.mean(-1, keepdim=True) if self.centres else x

    def scale(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch 1"]:
        """The reciprocal denominator at `x`."""
        return (self.centre(x).square().mean(-1, keepdim=True) + self.eps).rsqrt()

    def linear(
        self, x: Float[Tensor, "*batch d_model"], scale: Float[Tensor, "*#batch 1"]
    ) -> Float[Tensor, "*batch d_model"]:
        """The norm with a frozen reciprocal denominator and without its bias: linear in `x`."""
        return self.centre(x) * scale * self.gain(x.dtype).to(x.device)

    def affine(
        self, x: Float[Tensor, "*batch d_model"], scale: Float[Tensor, "*#batch 1"]
    ) -> Float[Tensor, "*batch d_model"]:
        """The norm with a frozen reciprocal denominator."""
        bias = self.bias(x.dtype)
        out = self.linear(x, scale)
        return out if bias is None else out + bias.to(x.device)

    def __call__(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The norm as the host computes it, in the dtype of `x`."""
        return self.affine(x, self.scale(x))


@dataclass(frozen=True, slots=True, eq=False)
class NoNorm(Norm):
    """No norm: `module`, attention or MLP, reads the residual stream itself (OLMo 2)."""

    eps: float = 0.0
    d_model: int = 0

    def gain(self, dtype: torch.dtype) -> Float[Tensor, "d_model"]:
        """Ones."""
        device = next(self.module.parameters()).device if self.device is None else self.device
        return torch.ones(self.d_model, dtype=dtype, device=device)

    def bias(self, dtype: torch.dtype) -> None:
        """None."""
        return

    def scale(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch 1"]:
        """Ones."""
        return torch.ones_like(x[..., :1])


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One decoder layer: x += post(attn(norm(x))); x += post(mlp(norm(x))), or both from the same x if parallel.

    Attributes:
        module: the layer; its first input is `resid_pre`.
        attn: returns (attn_out, pattern, ...) under eager attention.
        mlp: what the transcoder replaces.
        attn_norm, mlp_norm: norms before attention and MLP, `NoNorm` where they read the residual stream itself.
        attn_post_norm, mlp_post_norm: norms after them, None where the architecture has none.
        W_V: (n_kv_heads * d_head, d_model).
        W_O: (d_model, n_heads * d_head).
        b_V, b_O: their biases, None where there are none.
        parallel: attention and MLP both read `resid_pre`, each through its own norm or through one that they share;
            `resid_mid`, the stream that the MLP's norm reads, is then `resid_pre`.
    """

    module: nn.Module
    attn: nn.Module
    mlp: nn.Module
    attn_norm: Norm
    mlp_norm: Norm
    W_V: Float[Tensor, "d_kv d_model"]
    W_O: Float[Tensor, "d_model d_heads"]
    n_heads: int
    n_kv_heads: int
    b_V: Float[Tensor, "d_kv"] | None = None
    b_O: Float[Tensor, "d_model"] | None = None
    attn_post_norm: Norm | None = None
    mlp_post_norm: Norm | None = None
    parallel: bool = False

    @property
    def d_head(self) -> int:
        return self.W_V.shape[0] // self.n_kv_heads

    def norms(self) -> tuple[Norm, ...]:
        """Every norm on the residual stream's path, once each (parallel attention and MLP may share one)."""
        found = (self.attn_norm, self.attn_post_norm, self.mlp_norm, self.mlp_post_norm)
        by_module = {id(norm.module): norm for norm in found if norm is not None and not isinstance(norm, NoNorm)}
        return tuple(by_module.values())


@dataclass(frozen=True, slots=True, eq=False)
class Host:
    """A host model and its pieces.

    Attributes:
        model: the Hugging Face model.
        blocks: its layers, in order.
        final_norm: before the unembedding.
        W_E: (d_vocab, d_model), times `embed_scale` gives a token's vector.
        W_U: (d_vocab, d_model).
        b_U: (d_vocab,), None where there is none.
        W_pos: (n_positions, d_model) learned position embeddings, None where there are none.
        logit_softcap: c in c * tanh(logit / c), None where there is none.
        how: who found the pieces, an adapter or a search by structure.
    """

    model: nn.Module
    blocks: tuple[Block, ...]
    final_norm: Norm
    W_E: Float[Tensor, "d_vocab d_model"]
    W_U: Float[Tensor, "d_vocab d_model"]
    embed_scale: float = 1.0
    b_U: Float[Tensor, "d_vocab"] | None = None
    W_pos: Float[Tensor, "n_positions d_model"] | None = None
    logit_softcap: float | None = None
    how: str = "adapter"

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    @property
    def d_model(self) -> int:
        return self.W_U.shape[1]

    @property
    def d_vocab(self) -> int:
        return self.W_U.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype the host runs in."""
        return self.blocks[0].W_O.dtype

    @property
    def device(self) -> torch.device:
        return self.W_E.device

    def capped(self, logits: Float[Tensor, "*batch d_vocab"]) -> Float[Tensor, "*batch d_vocab"]:
        """Logits after the softcap, whose softmax the model's probabilities are."""
        return logits if self.logit_softcap is None else self.logit_softcap * torch.tanh(logits / self.logit_softcap)

    def norms(self) -> tuple[Norm, ...]:
        """Every norm on the residual stream's path, of all layers."""
        return (*(norm for block in self.blocks for norm in block.norms()), self.final_norm)
