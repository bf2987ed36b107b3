"""What edits do to the prompt: measured in an edited pass, or, where all but attention and skips is held, by the affine
map that the model then is, which loses no digits to a difference of two passes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from replacement_model.interventions.conditions import Conditions
from replacement_model.interventions.edited import EditedPass, Run, feature_changes
from replacement_model.interventions.edits import LayerEdits
from replacement_model.interventions.observation import Observation

__all__ = ["Effect", "direct_effects", "logits_of", "measured_effects"]


@dataclass(frozen=True, slots=True, eq=False)
class Effect:
    """What edits change on the prompt; or each of several, as a batch.

    Attributes:
        tap_changes: change of what the encoder reads, of each layer that has features.
        logits: after the change, before any softcap, at the observation's logit positions.
    """

    tap_changes: dict[int, Float[Tensor, "*batch pos d_model"]]
    logits: Float[Tensor, "*batch n d_vocab"]

    def of(self, index: int) -> "Effect":
        """One of a batch."""
        return Effect({layer: change[index] for layer, change in self.tap_changes.items()}, self.logits[index])


def direct_effects(observed: Observation, edits: Sequence[Mapping[int, LayerEdits]]) -> Effect:
    """The effects, as a batch, with MLP outputs, patterns and norms held: only attention and skips carry them on."""
    capture, transcoder = observed.capture, observed.model.transcoder
    frozen, n_layers = capture.frozen, observed.model.host.n_layers
    tapped = {layer: observed.tapped(layer) for layer in sorted({layer for one in edits for layer in one})}
    writes = capture.embed.new_empty(n_layers, len(edits), *capture.embed.shape)
    for index, one in enumerate(edits):
        changes = {layer: feature_changes(observed, layer, one[layer], tapped[layer], 0) for layer in one}
        for layer in range(n_layers):
            writes[layer, index] = transcoder.written(changes, layer, observed.n_pos)
    skips = tuple(transcoder.skip(layer) for layer in range(n_layers))
    tap, site = transcoder.encoder_tap, transcoder.decoder_site
    resid_mids, final = frozen.run(torch.zeros_like(writes[0]), writes, skips, tap, site, bias=False)
    return Effect(
        tap_changes={layer: frozen.blocks[layer].tap(resid_mids[layer], tap, bias=False) for layer in observed.acts},
        logits=capture.logits + frozen.unembed(final, list(capture.logit_positions), bias=False),
    )


def measured_effects(observed: Observation, run: Run, conditions: Conditions) -> Effect:
    """The effects, as a batch, in an edited pass of the host."""
    done = run(observed.capture.token_ids)
    return Effect(
        tap_changes={layer: x - observed.tapped(layer) for layer, x in done.tapped.items()},
        logits=logits_of(observed, done, conditions, list(observed.capture.logit_positions), 0),
    )


def logits_of(
    observed: Observation, done: EditedPass, conditions: Conditions, rows: list[int], n_done: int
) -> Float[Tensor, "batch n d_vocab"]:
    """Logits before any softcap, in the working dtype, of rows of a pass that began at position `n_done`."""
    frozen = observed.capture.frozen
    scale = frozen.host.final_norm.scale(done.resid_final)
    if conditions.holds_norms and n_done == 0:
        prompt = frozen.final_scale.expand(len(scale), -1, -1)
        scale = torch.cat([prompt, scale[:, observed.n_pos :]], dim=1)
    return frozen.unembed(done.resid_final, rows, scale=scale)
