"""A prompt as the model reads it without any intervention: measured once, the start of many."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from replacement_model.capture import Capture
from replacement_model.errors import InputError
from replacement_model.interventions.edits import check_feature, current_acts
from replacement_model.interventions.features import Feature, resolve_positions
from replacement_model.model import ReplacementModel
from replacement_model.prompt import Prompt, PromptLike
from replacement_model.transcoder import ActiveFeatures

__all__ = ["Observation", "aligned", "feature_widths", "measure", "observe"]


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """The model on one prompt.

    Attributes:
        acts: active features by layer, without those of ignored positions.
    """

    model: ReplacementModel
    prompt: Prompt
    capture: Capture
    acts: dict[int, ActiveFeatures]

    @property
    def n_pos(self) -> int:
        return self.capture.n_pos

    def tapped(self, layer: int) -> Float[Tensor, "pos d_model"]:
        """What the encoder of `layer` reads."""
        return self.capture.frozen.blocks[layer].tap(self.capture.resid_mid[layer], self.model.transcoder.encoder_tap)


def observe(
    model: ReplacementModel, prompt: PromptLike | Prompt, logit_positions: Sequence[int] = (-1,)
) -> Observation:
    """Run the model once on `prompt`.

    Args:
        model: the replacement model.
        prompt: text, token ids, chat messages, or what `model.read_prompt` gave.
        logit_positions: where logits are wanted.

    Raises:
        InputError: the prompt cannot be read, or a position is outside of it.
    """
    read = prompt if isinstance(prompt, Prompt) else model.read_prompt(prompt)
    n_pos = len(read.token_ids)
    wrong = [pos for pos in logit_positions if not -n_pos <= pos < n_pos]
    if wrong or not logit_positions:
        raise InputError(
            f"logits can be read at positions 0 to {n_pos - 1} (or -1 for the last), got {logit_positions}"
        )
    capture = model.capture(read, tuple(logit_positions))
    bare = Observation(model, read, capture, {})
    transcoder = model.transcoder
    acts = {
        layer: transcoder.active_features(layer, bare.tapped(layer)).since(read.n_ignored_pos)
        for layer in range(transcoder.n_layers)
        if transcoder.layers[layer] is not None
    }
    return Observation(model, read, capture, acts)


def measure(observed: Observation, features: Sequence[Feature]) -> tuple[float, ...]:
    """Activations of features, each at one position.

    Raises:
        InputError: a feature does not exist, or its position is a range.
    """
    widths, n_layers = feature_widths(observed.model), observed.model.host.n_layers
    found = []
    for feature in features:
        check_feature(feature, widths, n_layers)
        start, stop = resolve_positions(feature, observed.n_pos, observed.prompt.n_ignored_pos)
        if stop != start + 1:
            raise InputError(f"{feature.text}: its value is read at one position; give one, such as read_at=-1")
        index = torch.tensor([feature.feature_idx], device=observed.capture.embed.device)
        acts = current_acts(observed.model.transcoder, feature.layer, observed.tapped(feature.layer), index)
        found.append(float(acts[start, 0]))
    return tuple(found)


def feature_widths(model: ReplacementModel) -> dict[int, int]:
    """Number of features of each layer that has some."""
    layers = enumerate(model.transcoder.layers)
    return {layer: weights.d_transcoder for layer, weights in layers if weights is not None}


def aligned(
    first: ActiveFeatures, second: ActiveFeatures
) -> tuple[Int[Tensor, "n"], Int[Tensor, "n"], Float[Tensor, "n"], Float[Tensor, "n"]]:
    """Positions and indices of the features that are in either, and their activations in both; zero where absent."""
    pos, idx = torch.cat([first.pos, second.pos]), torch.cat([first.feature_idx, second.feature_idx])
    width = int(idx.max()) + 1 if len(idx) else 1
    keys, place = torch.unique(pos * width + idx, return_inverse=True)
    acts = first.acts.new_zeros(2, len(keys))
    acts[0, place[: len(first.pos)]] = first.acts
    acts[1, place[len(first.pos) :]] = second.acts
    return keys // width, keys % width, acts[0], acts[1]
