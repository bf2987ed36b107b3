"""What a graph explains: salient logits, tokens, differences of logits, any direction, or features.

A direction lives in the final norm's output, or in the residual stream after a layer. Token logits have the mean logit
removed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.folding import tap_adjoint
from circuits.graph import Target
from circuits.sweep import SourceRows, mlp_depth, resid_post_depth
from replacement_model import InputError, ReplacementModel
from replacement_model.capture import Capture

__all__ = [
    "DifferenceTarget",
    "DirectionTarget",
    "FeatureTarget",
    "SalientLogits",
    "TargetRows",
    "TargetSpec",
    "TokenTarget",
    "feature_rows",
    "resolve_targets",
    "target_positions",
]


@dataclass(frozen=True, slots=True)
class SalientLogits:
    """The fewest next tokens whose probabilities add up to `desired_prob`, at most `max_n` of them."""

    max_n: int = 10
    desired_prob: float = 0.95


@dataclass(frozen=True, slots=True)
class TokenTarget:
    """The logit of a token (text or id) minus the mean logit; weighted with its probability."""

    token: str | int
    pos: int = -1


@dataclass(frozen=True, slots=True)
class DifferenceTarget:
    """The logit of `first` minus that of `second`; weight 1."""

    first: str | int
    second: str | int
    pos: int = -1


@dataclass(frozen=True, slots=True, eq=False)
class DirectionTarget:
    """<vector, final norm's output>, or <vector, resid_post[layer]> if a layer is given; weight 1."""

    vector: Float[Tensor, "d_model"]
    label: str
    pos: int = -1
    layer: int | None = None


@dataclass(frozen=True, slots=True)
class FeatureTarget:
    """The pre-activation of a feature, active or not; weight 1."""

    layer: int
    feature_idx: int
    pos: int = -1


TargetSpec = str | int | TokenTarget | DifferenceTarget | DirectionTarget | FeatureTarget


@dataclass(frozen=True, slots=True, eq=False)
class TargetRows:
    """Targets ready for the sweep, with the terms of their books that are known beforehand.

    Attributes:
        targets: one each.
        rows: where and in which direction each reads the residual stream.
        pre_act: the host's own value.
        constant: what does not depend on the residual stream: encoder, unembedding and norm biases.
    """

    targets: tuple[Target, ...]
    rows: SourceRows
    pre_act: Float[Tensor, "n"]
    constant: Float[Tensor, "n"]


def target_positions(specs: Sequence[TargetSpec] | SalientLogits | None, n_pos: int) -> tuple[int, ...]:
    """The positions at which logits are needed, sorted; the last one if no target names another.

    Raises:
        InputError: a position is outside the prompt, or `specs` is a text.
    """
    if isinstance(specs, str):  # a sequence of texts to Python, which would explain its letters
        raise InputError(f"expected a list of targets, got the text {specs!r}; write [{specs!r}]")
    if specs is None or isinstance(specs, SalientLogits):
        return (n_pos - 1,)
    return tuple(sorted({_position(getattr(spec, "pos", -1), n_pos) for spec in specs})) or (n_pos - 1,)


def resolve_targets(
    model: ReplacementModel,
    capture: Capture,
    specs: Sequence[TargetSpec] | SalientLogits | None,
) -> TargetRows:
    """Directions, values and constants of the targets.

    Args:
        model: the replacement model.
        capture: the host on the prompt, with logits at the targets' positions.
        specs: what to explain; None for `SalientLogits()`.

    Raises:
        InputError: a token, layer, feature or direction does not exist in this model, or there is no target.
    """
    if specs is None or isinstance(specs, SalientLogits):
        specs = _salient_tokens(capture, SalientLogits() if specs is None else specs)
    if not specs:
        raise InputError("no targets given; leave them out for the most probable next tokens")
    parts = [_resolve(model, capture, spec) for spec in specs]
    return TargetRows(
        targets=tuple(part.target for part in parts),
        rows=SourceRows(
            depth=torch.tensor([part.depth for part in parts], device=capture.embed.device),
            pos=torch.tensor([part.target.pos for part in parts], device=capture.embed.device),
            direction=torch.stack([part.direction for part in parts]),
        ),
        pre_act=torch.stack([part.pre_act for part in parts]),
        constant=torch.stack([part.constant for part in parts]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Resolved:
    target: Target
    depth: int
    direction: Float[Tensor, "d_model"]
    pre_act: Float[Tensor, ""]
    constant: Float[Tensor, ""]


def _resolve(model: ReplacementModel, capture: Capture, spec: TargetSpec) -> _Resolved:
    if isinstance(spec, (str, int)):
        spec = TokenTarget(spec)
    if isinstance(spec, TokenTarget):
        return _token(model, capture, spec)
    if isinstance(spec, DifferenceTarget):
        return _difference(model, capture, spec)
    if isinstance(spec, DirectionTarget):
        return _direction(model, capture, spec)
    return _feature(model, capture, spec)


def _token(model: ReplacementModel, capture: Capture, spec: TokenTarget) -> _Resolved:
    pos, token_id = _position(spec.pos, capture.n_pos), model.token_id(spec.token)
    logits, probabilities = _logits_at(capture, pos)
    direction = model.unembedding(token_id) - model.mean_unembedding
    bias = model.unembedding_bias(token_id) - model.mean_unembedding_bias
    target = Target(
        kind="logit",
        label=model.token_string(token_id),
        pos=pos,
        weight=float(probabilities[token_id]),
        layer=model.host.n_layers,
        token_ids=(token_id,),
    )
    return _through_final_norm(capture, target, direction, logits[token_id] - logits.mean(), bias)


def _difference(model: ReplacementModel, capture: Capture, spec: DifferenceTarget) -> _Resolved:
    pos, first, second = _position(spec.pos, capture.n_pos), model.token_id(spec.first), model.token_id(spec.second)
    if first == second:
        raise InputError(f"the difference of {spec.first!r} with itself is zero; name two different tokens")
    logits, _ = _logits_at(capture, pos)
    direction = model.unembedding(first) - model.unembedding(second)
    bias = model.unembedding_bias(first) - model.unembedding_bias(second)
    label = f"{model.token_string(first)} − {model.token_string(second)}"
    target = Target("difference", label, pos, 1.0, model.host.n_layers, token_ids=(first, second))
    return _through_final_norm(capture, target, direction, logits[first] - logits[second], bias)


def _direction(model: ReplacementModel, capture: Capture, spec: DirectionTarget) -> _Resolved:
    pos, host = _position(spec.pos, capture.n_pos), model.host
    vector = spec.vector.to(device=capture.embed.device, dtype=capture.embed.dtype)
    if vector.shape != (host.d_model,) or not bool(torch.isfinite(vector).all()) or not bool(vector.any()):
        raise InputError(
            f"direction {spec.label!r} must be {host.d_model} finite numbers, not all zero; "
            f"it has shape {tuple(vector.shape)}"
        )
    zero = vector.new_zeros(())
    if spec.layer is None:
        target = Target("direction", spec.label, pos, 1.0, host.n_layers)
        scale = capture.frozen.final_scale[[pos]]
        pre_act = host.final_norm.affine(capture.resid_final[[pos]], scale)[0] @ vector
        return _through_final_norm(capture, target, vector, pre_act, zero)
    layer = _layer(spec.layer, host.n_layers)
    target = Target("direction", spec.label, pos, 1.0, layer)
    return _Resolved(target, resid_post_depth(layer), vector, capture.resid_post(layer)[pos] @ vector, zero)


def _feature(model: ReplacementModel, capture: Capture, spec: FeatureTarget) -> _Resolved:
    pos, layer = _position(spec.pos, capture.n_pos), _layer(spec.layer, model.host.n_layers)
    weights = model.transcoder.layers[layer]
    if weights is None or not 0 <= spec.feature_idx < weights.d_transcoder:
        held = "no features" if weights is None else f"features 0 to {weights.d_transcoder - 1}"
        raise InputError(f"feature {spec.feature_idx} of layer {layer} does not exist; that layer has {held}")
    label = f"L{layer} #{spec.feature_idx}"
    target = Target("feature", label, pos, 1.0, layer, feature_idx=spec.feature_idx)
    place = torch.tensor([[layer, pos, spec.feature_idx]], device=capture.embed.device)
    rows, pre_acts, constants = feature_rows(model, capture, place)
    return _Resolved(target, int(rows.depth[0]), rows.direction[0], pre_acts[0], constants[0])


def feature_rows(
    model: ReplacementModel, capture: Capture, features: Tensor
) -> tuple[SourceRows, Float[Tensor, "n"], Float[Tensor, "n"]]:
    """Features (n, 3) as targets of the sweep, pre-activations, and constants b_enc + <W_enc, bias of the tap>."""
    transcoder = model.transcoder
    direction = capture.embed.new_empty(len(features), model.host.d_model)
    pre_acts, constants = capture.embed.new_empty(len(features)), capture.embed.new_empty(len(features))
    depth = torch.empty_like(features[:, 0])
    for layer in features[:, 0].unique().tolist():
        where = (features[:, 0] == layer).nonzero().squeeze(1)
        pos, idx = features[where, 1], features[where, 2]
        block = capture.frozen.blocks[layer]
        encoder, b_enc = transcoder.encoder_rows(layer, idx), transcoder.encoder_biases(layer, idx)
        inputs = block.tap(capture.resid_mid[layer], transcoder.encoder_tap)
        bias = block.tap(torch.zeros_like(inputs), transcoder.encoder_tap)
        pre_acts[where] = (encoder * inputs[pos]).sum(-1) + b_enc
        constants[where] = (encoder * bias[pos]).sum(-1) + b_enc
        direction[where] = tap_adjoint(block.block.mlp_norm, block.mlp_scale[pos], transcoder.encoder_tap, encoder)
        depth[where] = mlp_depth(layer, block.block.parallel)
    return SourceRows(depth, features[:, 1], direction), pre_acts, constants


def _through_final_norm(
    capture: Capture, target: Target, direction: Tensor, pre_act: Tensor, bias: Tensor
) -> _Resolved:
    norm, scale = capture.frozen.host.final_norm, capture.frozen.final_scale[target.pos]
    norm_bias = norm.bias(direction.dtype)
    constant = bias if norm_bias is None else bias + norm_bias @ direction
    carried = norm.centre(direction * norm.gain(direction.dtype)) * scale
    depth = resid_post_depth(capture.frozen.host.n_layers - 1)
    return _Resolved(target, depth, carried, pre_act, constant)


def _salient_tokens(capture: Capture, wanted: SalientLogits) -> list[TokenTarget]:
    if wanted.max_n < 1 or not 0 < wanted.desired_prob <= 1:
        raise InputError(
            f"expected max_n of at least 1 and desired_prob in (0, 1], got {wanted.max_n} and {wanted.desired_prob}"
        )
    top = capture.probabilities[-1].topk(min(wanted.max_n, capture.probabilities.shape[1]))
    reached = top.values.cumsum(0) >= wanted.desired_prob
    count = int(reached.int().argmax()) + 1 if bool(reached.any()) else len(reached)
    return [TokenTarget(token_id) for token_id in top.indices[:count].tolist()]


def _logits_at(capture: Capture, pos: int) -> tuple[Tensor, Tensor]:
    row = capture.logit_positions.index(pos)
    return capture.logits[row], capture.probabilities[row]


def _position(pos: int, n_pos: int) -> int:
    if not -n_pos <= pos < n_pos:
        raise InputError(
            f"position {pos} is outside the prompt, which has positions 0 to {n_pos - 1} (or negative, from its end)"
        )
    return pos % n_pos


def _layer(layer: int, n_layers: int) -> int:
    if not 0 <= layer < n_layers:
        raise InputError(f"layer {layer} does not exist; the model has layers 0 to {n_layers - 1}")
    return layer
