"""Every mode against a forward pass written out by hand, dense and one step at a time, in every architecture."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from tiny_hosts import ARCHITECTURES
from tiny_models import ACTIVATIONS, N_LAYERS, PROMPT, SITES, TAPS, tiny_model, tiny_transcoder, written_by
from torch import Tensor

from replacement_model import ReplacementModel
from replacement_model.capture import Capture
from replacement_model.contexts import as_captured
from replacement_model.host import Norm
from replacement_model.interventions import Conditions, Feature, Intervention, intervene, observe
from replacement_model.transcoder import DecoderSite, EncoderTap

# (layer, pos, feature_idx) and what becomes of the activation: set, scaled, added to; active and not.
CHANGES: dict[tuple[int, int, int], Callable[[Tensor], Tensor]] = {
    (0, 2, 3): lambda act: act * 0 + 2.5,
    (0, 4, 7): lambda act: act * -1.5,
    (1, 3, 3): lambda act: act + 1.25,
    (1, 6, 20): lambda act: act * 0,
    (2, 5, 11): lambda act: act * 0 + 1.75,
}
INTERVENTIONS = (
    Intervention.set(Feature(0, 3, 2), 2.5),
    Intervention.scale("0/4/7", -1.5),
    Intervention.add(Feature(1, 3, -4), 1.25),
    Intervention.ablate(Feature(1, 20, slice(6, None))),
    Intervention.set([(2, 5, 11)], 1.75),
)
CONDITIONS = (
    Conditions("free"),
    Conditions("free", frozen_attention=False),
    Conditions("free", frozen_norms=True),
    Conditions("direct"),
    Conditions("direct", layers=(1, 2)),
    Conditions("direct", layers=(0, 1, 2), frozen_norms=True),
    Conditions("direct", layers=(0,), frozen_attention=False),
    Conditions("iterative"),
    Conditions("iterative", frozen_attention=False, frozen_norms=False),
)


@dataclass
class ByHand:
    """The model with its MLPs' writes changed, written from the definition of the modes."""

    model: ReplacementModel
    capture: Capture
    conditions: Conditions

    def logits(self) -> Tensor:
        """Before any softcap, [pos, d_vocab]."""
        frozen, host, transcoder = self.capture.frozen, self.model.host, self.model.transcoder
        resid = self.capture.embed + self.capture.pos_embed
        written = torch.zeros(N_LAYERS, *resid.shape, dtype=resid.dtype)
        for layer, block in enumerate(host.blocks):
            held = frozen.blocks[layer]
            attn_in = self.norm(block.attn_norm, resid, held.attn_scale)
            attn = self.norm(block.attn_post_norm, self.attention(layer, attn_in), held.attn_post_scale)
            resid_mid = resid if block.parallel else resid + attn
            tapped = self.tap(layer, resid_mid)
            self.add_writes(layer, tapped, written)
            mlp_in = self.norm(block.mlp_norm, resid_mid, held.mlp_scale)
            mlp_out = block.mlp(mlp_in[None])
            mlp_out = (mlp_out[0] if isinstance(mlp_out, tuple) else mlp_out)[0]
            before_post = transcoder.decoder_site is DecoderSite.MLP_OUT
            change = self.held_change(layer, tapped, written[layer])
            if change is not None:
                mlp_out = self.capture.mlp_out[layer]
            if self.conditions.layers is not None and layer not in self.conditions.layers:
                written[layer] = 0
            extra = written[layer] if change is None else change
            if before_post:
                mlp = self.norm(block.mlp_post_norm, mlp_out + extra, held.mlp_post_scale)
            elif change is not None:
                mlp = self.capture.mlp_write[layer] + extra
            else:
                mlp = self.norm(block.mlp_post_norm, mlp_out, held.mlp_post_scale) + extra
            resid = resid + attn + mlp
        normed = self.norm(host.final_norm, resid, frozen.final_scale)
        return normed @ host.W_U.T + (0 if host.b_U is None else host.b_U)

    def norm(self, norm: Norm | None, x: Tensor, scale: Tensor | None) -> Tensor:
        if norm is None or scale is None:
            return x
        return norm.affine(x, scale) if self.conditions.holds_norms else norm(x)

    def tap(self, layer: int, resid_mid: Tensor) -> Tensor:
        norm, tap = self.model.host.blocks[layer].mlp_norm, self.model.transcoder.encoder_tap
        if tap is EncoderTap.RESID_MID:
            return resid_mid
        scale = self.capture.frozen.blocks[layer].mlp_scale if self.conditions.holds_norms else norm.scale(resid_mid)
        return norm.centre(resid_mid) * scale if tap is EncoderTap.NORMALIZED else norm.affine(resid_mid, scale)

    def attention(self, layer: int, attn_in: Tensor) -> Tensor:
        block, held = self.model.host.blocks[layer], self.capture.frozen.blocks[layer]
        if not self.conditions.frozen_attention:  # the module itself, called as the host called it
            call = held.attention
            kwargs = {key: value for key, value in call.kwargs.items() if key != "hidden_states"}
            return block.attn(attn_in[None], *call.args[1:], **kwargs)[0][0]
        values = attn_in @ block.W_V.T + (0 if block.b_V is None else block.b_V)
        heads, group, pattern = [], block.n_heads // block.n_kv_heads, held.pattern
        for head in range(block.n_heads):
            start = (head // group) * block.d_head
            heads.append(pattern[head] @ values[:, start : start + block.d_head])
        return torch.cat(heads, 1) @ block.W_O.T + (0 if block.b_O is None else block.b_O)

    def base_acts(self, layer: int) -> tuple[Tensor, Tensor]:
        block = self.capture.frozen.blocks[layer]
        tapped = block.tap(self.capture.resid_mid[layer], self.model.transcoder.encoder_tap)
        return tapped, self.model.transcoder.encode(layer, tapped)

    def add_writes(self, layer: int, tapped: Tensor, written: Tensor) -> None:
        """What the features of `layer` write more than (iterative: on the prompt as it is; else: by themselves)."""
        transcoder, mode = self.model.transcoder, self.conditions.mode
        if transcoder.layers[layer] is None:
            return
        _, base = self.base_acts(layer)
        now = base if mode == "direct" else transcoder.encode(layer, tapped)
        wanted = now.clone()
        for (changed, pos, idx), change in CHANGES.items():
            if changed == layer:
                wanted[pos, idx] = change(now[pos, idx])
        delta = wanted - (base if mode == "iterative" else now)
        delta[0] = 0  # ignored
        for pos, idx in delta.nonzero().tolist():
            rows = written_by(transcoder, layer, idx)
            written[layer : layer + len(rows), pos] += delta[pos, idx] * rows

    def held_change(self, layer: int, tapped: Tensor, written: Tensor) -> Tensor | None:
        """Change of a held MLP output; None if the MLP is the host's own."""
        mode, layers = self.conditions.mode, self.conditions.layers
        if mode == "free" or (layers is not None and layer not in layers):
            return None
        skip = self.model.transcoder.skip(layer)
        return written if skip is None else written + (tapped - self.base_acts_input(layer)) @ skip.T

    def base_acts_input(self, layer: int) -> Tensor:
        return self.base_acts(layer)[0]


def kind_of(index: int) -> dict[str, object]:
    return {
        "cross_layer": bool(index % 2),
        "activation": ACTIVATIONS[index % len(ACTIVATIONS)],
        "skip": index % 3 != 0,
        "tap": TAPS[index % 3],
        "site": SITES[(index // 2) % 2],
    }


def cases() -> list[tuple[str, Conditions]]:
    """Two architectures with every mode, a parallel one among them; the others with a third of the modes each."""
    found = []
    for index, architecture in enumerate(ARCHITECTURES):
        every = architecture in ("gemma3", "gpt_neox")
        found += [(architecture, one) for one in (CONDITIONS if every else CONDITIONS[index % 3 :: 3])]
    return found


@pytest.mark.parametrize(("architecture", "conditions"), cases(), ids=lambda one: getattr(one, "text", one))
def test_each_mode_is_what_it_says(architecture: str, conditions: Conditions) -> None:
    index = ARCHITECTURES.index(architecture) + CONDITIONS.index(conditions)
    model = tiny_model(architecture, transcoder=tiny_transcoder(**kind_of(index)))
    observed = observe(model, PROMPT, tuple(range(len(PROMPT))))
    result = intervene(model, observed, INTERVENTIONS, conditions)
    lazy = model.capture(observed.prompt, keep_patterns=False)
    with as_captured(model.host):
        expected = ByHand(model, lazy, conditions).logits()
    torch.testing.assert_close(result.logits_after, expected, rtol=1e-9, atol=1e-9)
    assert float((result.logits_after - result.logits_before).abs().max()) > 1e-2
    assert torch.equal(result.logits_before, observed.capture.logits)


@pytest.mark.parametrize("conditions", CONDITIONS, ids=lambda one: one.text)
def test_layers_without_features_keep_their_mlp(conditions: Conditions) -> None:
    model = tiny_model("gemma3", transcoder=tiny_transcoder(cross_layer=False, skip=True, missing=(1,)))
    observed = observe(model, PROMPT, tuple(range(len(PROMPT))))
    present = [one for one in INTERVENTIONS if one.features[0].layer != 1]
    result = intervene(model, observed, present, conditions)
    lazy = model.capture(observed.prompt, keep_patterns=False)
    with as_captured(model.host):
        expected = ByHand(model, lazy, conditions).logits()
    torch.testing.assert_close(result.logits_after, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("conditions", CONDITIONS, ids=lambda one: one.text)
def test_setting_a_feature_to_what_it_is_changes_nothing(conditions: Conditions) -> None:
    model = tiny_model("gemma2")
    observed = observe(model, PROMPT)
    active = observed.acts[1]
    same = Intervention.set([(1, int(active.pos[0]), int(active.feature_idx[0]))], float(active.acts[0]))
    result = intervene(model, observed, same, conditions)
    torch.testing.assert_close(result.logits_after, result.logits_before, rtol=1e-9, atol=1e-9)
    assert len(result.features) == 0


def test_modes_differ_where_they_should() -> None:
    model = tiny_model("gemma3")
    logits = [intervene(model, PROMPT, INTERVENTIONS, one).logits_after for one in CONDITIONS]
    exact_twins = {(3, 5)}  # held in every layer with held norms is the direct mode, one by hooks and one affine
    for first in range(len(logits)):
        for second in range(first + 1, len(logits)):
            close = torch.allclose(logits[first], logits[second], rtol=0, atol=1e-6)
            assert close == ((first, second) in exact_twins), (CONDITIONS[first], CONDITIONS[second])
