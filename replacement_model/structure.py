"""The pieces of a model that no adapter describes, found from what its modules compute on a few tokens.

Names are not trusted: a norm is a norm because it computes one, the values are those whose mixture is the attention's
output. The capture then judges the whole, here and on every prompt.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from replacement_model.capture import capture, working_dtype
from replacement_model.errors import CaptureError, NoAdapterError, UnsupportedModelError
from replacement_model.host import Block, Host, NoNorm, Norm, adapt, place
from replacement_model.probe import Call, Probe, probe, same
from replacement_model.projections import close, find_projections

__all__ = ["find_host", "host_by_structure"]

logger = logging.getLogger(__name__)

EPS_NAMES = ("eps", "variance_epsilon", "epsilon", "norm_eps", "layer_norm_eps", "rms_norm_eps", "layer_norm_epsilon")
HELP = "docs/host-adapters.md shows how to write an adapter in about 20 lines"


def find_host(model: nn.Module) -> Host:
    """The pieces of a model: from its adapter, or, where none describes it, by structure.

    Raises:
        UnsupportedModelError: neither finds them, or a config attribute is not handled.
    """
    try:
        return adapt(model)
    except NoAdapterError as error:
        host = host_by_structure(model, str(error))
    logger.warning(
        "%s has no host adapter that fits; its pieces were found by structure. They gave the host's own values on a "
        "few tokens, and every prompt is checked in the same way.",
        type(model).__name__,
    )
    return host


def host_by_structure(model: nn.Module, reason: str) -> Host:
    """The pieces of a model, found from what its modules compute on a few tokens.

    Args:
        model: any causal language model with an eager attention that returns its pattern.
        reason: why there is no adapter, for the error's message.

    Raises:
        UnsupportedModelError: says what was found and what is missing.
    """
    try:
        search = _Search.of(model)
        host = place(search.host())
    except _NotFoundError as error:
        raise UnsupportedModelError(f"{reason}. A search by structure found {error}; {HELP}") from error
    softcap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    # Not every model does what its config says; where both fail, the one without is the clearer message.
    candidates = [replace(host, logit_softcap=cap) for cap in (softcap, None)[softcap is None :]]
    for candidate in candidates:
        try:
            capture(candidate, search.probe.token_ids, (len(search.probe.token_ids) - 1,))
            return candidate
        except CaptureError as error:
            refused = error
    raise UnsupportedModelError(
        f"{reason}. A search by structure found {host.n_layers} layers with attention, MLP and norms, but there is "
        f"more to this model ({refused}); {HELP}"
    ) from refused


class _NotFoundError(Exception):
    """What was found, and what was not."""


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    model: nn.Module
    probe: Probe
    W_E: Tensor
    unembedding: nn.Module
    layers: tuple[nn.Module, ...]

    @classmethod
    def of(cls, model: nn.Module) -> "_Search":
        """Run the model and find its layers."""
        config: Any = getattr(model, "config", None)
        if config is None or getattr(config, "is_encoder_decoder", False):
            raise _NotFoundError("no decoder-only model with a config")
        embedding, unembedding = model.get_input_embeddings(), model.get_output_embeddings()
        if embedding is None or unembedding is None:
            raise _NotFoundError("no pair of token embedding and unembedding (get_output_embeddings is None)")
        W_E = embedding.weight.detach()
        if W_E.is_meta:
            raise _NotFoundError("no weights; a model without an adapter must be loaded to be looked at")
        try:
            found = probe(model, len(W_E), W_E.device)
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise _NotFoundError(f"a model that does not run on plain token ids ({error})") from error
        return cls(model, found, W_E, unembedding, _layers(model, found, W_E.shape[1]))

    def host(self) -> Host:
        """All pieces."""
        blocks = tuple(self._block(layer) for layer in self.layers)
        first, last = self.probe.of(self.layers[0])[0], self.probe.of(self.layers[-1])[0]
        outside = self.probe.inside(self.model, without=self.layers)
        final = next((call for call in outside if same(call.given, last.result)), None)
        final_norm = None if final is None else self._norm(final)
        if final_norm is None:
            raise _NotFoundError("layers, but no norm after the last of them")
        embed_scale, W_pos = self._embedding(first, outside)
        bias = getattr(self.unembedding, "bias", None)
        return Host(
            model=self.model,
            blocks=blocks,
            final_norm=final_norm,
            W_E=self.W_E,
            W_U=self.unembedding.weight.detach(),
            embed_scale=embed_scale,
            b_U=None if bias is None else bias.detach(),
            W_pos=W_pos,
            how="structure",
        )

    def _block(self, layer: nn.Module) -> Block:
        (own,) = self.probe.of(layer)
        where, d_model = own.name, self.W_E.shape[1]
        attn = _attention(self.probe, layer)
        rest = self.probe.inside(layer, without=(attn.module,))
        norms = {id(call): norm for call in rest if (norm := self._norm(call)) is not None}
        mlp = _mlp(where, layer, attn, rest, norms)
        before_attn, before_mlp = (
            [call for call in rest if id(call) in norms and same(call.result, reader.given)] for reader in (attn, mlp)
        )
        mlp_reads = before_mlp[-1] if before_mlp else mlp  # parallel attention and MLP may share a norm, or read as one
        weights = find_projections(self.probe, attn)
        if weights is None:
            raise _NotFoundError(
                f"{where}: an attention whose output is no mixture of values that one projection gives"
            )
        return Block(
            module=layer,
            attn=attn.module,
            mlp=mlp.module,
            attn_norm=norms[id(before_attn[0])] if before_attn else NoNorm(attn.module, d_model=d_model),
            mlp_norm=norms[id(before_mlp[-1])] if before_mlp else NoNorm(mlp.module, d_model=d_model),
            W_V=weights.W_V,
            W_O=weights.W_O,
            n_heads=weights.n_heads,
            n_kv_heads=weights.n_kv_heads,
            b_V=weights.b_V,
            b_O=weights.b_O,
            attn_post_norm=_norm_after(attn, rest, norms),
            mlp_post_norm=_norm_after(mlp, rest, norms),
            parallel=same(mlp_reads.given, own.given),
        )

    def _norm(self, call: Call) -> Norm | None:
        """The norm that a module computes, None if it computes none."""
        weight = getattr(call.module, "weight", None)
        given, result = call.given, call.result
        if not isinstance(weight, Tensor) or weight.shape != self.W_E.shape[1:] or given is None or result is None:
            return None
        if given.shape != result.shape:
            return None
        for eps in self._eps(call.module):
            for gain_offset in (0.0, 1.0):
                for centres in (False, True):
                    norm = Norm(call.module, eps, gain_offset, centres)
                    if close(result, norm(given.to(working_dtype(given.dtype)))):
                        return norm
        return None

    def _eps(self, module: nn.Module) -> Iterator[float]:
        for owner in (module, self.model.config.get_text_config()):
            for name in EPS_NAMES:
                if isinstance(getattr(owner, name, None), float):
                    yield getattr(owner, name)

    def _embedding(self, first: Call, outside: list[Call]) -> tuple[float, Tensor | None]:
        """The scale of token vectors, and learned positions."""
        tokens, W_pos = self.W_E[self.probe.token_ids], None
        resid = first.given[0] if first.given is not None else tokens
        for call in outside:
            weight = getattr(call.module, "weight", None)
            if isinstance(weight, Tensor) and weight.ndim == 2 and weight.shape[1] == self.W_E.shape[1]:
                found = None if weight is self.model.get_input_embeddings().weight else _rows_from(weight, call.result)
                W_pos = found if found is not None else W_pos
        rest = resid if W_pos is None else resid - W_pos[: len(resid)]
        tokens, rest = tokens.double(), rest.double()
        scale = float((tokens * rest).sum() / tokens.square().sum())
        allowed = {torch.float64: 1e-12, torch.float32: 1e-6}.get(self.W_E.dtype, 5e-3)
        for usual in (1.0, float(torch.tensor(self.W_E.shape[1] ** 0.5, dtype=self.W_E.dtype))):
            if abs(scale / usual - 1) < allowed:
                return usual, W_pos
        return scale, W_pos


def _layers(model: nn.Module, found: Probe, d_model: int) -> tuple[nn.Module, ...]:
    """The longest list of modules that each read a residual stream once, one after the other, and hold an attention."""
    best: tuple[nn.Module, ...] = ()
    for modules in (module for module in model.modules() if isinstance(module, nn.ModuleList)):
        calls = [call for module in modules for call in found.of(module)]
        read = [call.given is not None and call.given.shape[2:] == (d_model,) for call in calls]
        attentions = [any(call.pattern is not None for call in found.inside(module)) for module in modules]
        if len(calls) == len(modules) > len(best) and all(read) and all(attentions):
            best = tuple(modules)
    if not best:
        raise _NotFoundError("no list of layers that each hold an attention which returns its pattern")
    return best


def _attention(found: Probe, layer: nn.Module) -> Call:
    """The innermost module that gives a pattern."""
    calls = [call for call in found.inside(layer) if call.pattern is not None]
    return min(calls, key=lambda call: len(list(call.module.modules())))


def _mlp(where: str, layer: nn.Module, attn: Call, rest: list[Call], norms: dict[int, Norm]) -> Call:
    """The only child of the layer that computes something and is neither attention nor norm."""
    children = {
        id(child)
        for child in layer.children()
        if attn.module not in child.modules() and any(True for _ in child.parameters())
    }
    calls = [call for call in rest if id(call.module) in children and id(call) not in norms]
    if len(calls) != 1 or calls[0].result is None:
        names = ", ".join(call.name for call in calls) or "none"
        raise _NotFoundError(f"{where}: no single module that is its MLP ({names})")
    return calls[0]


def _norm_after(producer: Call, calls: list[Call], norms: dict[int, Norm]) -> Norm | None:
    return next((norms[id(call)] for call in calls if id(call) in norms and same(call.given, producer.result)), None)


def _rows_from(weight: Tensor, result: Tensor | None) -> Tensor | None:
    """The rows of an embedding from that of the first position on, if it gave consecutive ones."""
    if result is None:
        return None
    rows = result.reshape(-1, weight.shape[1])
    first = (weight == rows[0]).all(1).nonzero()
    if not len(first):
        return None
    found = weight.detach()[int(first[0]) :]
    return found if len(found) >= len(rows) and torch.equal(found[: len(rows)], rows) else None
