"""What a graph does not hold about its features: where they write, and when else they are active."""

from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int

from replacement_model import ReplacementModel
from replacement_model.errors import InputError
from replacement_model.evidence.logits import summed_decoders
from replacement_model.prompt import PromptLike

__all__ = ["activation_profiles", "decoder_directions"]


def decoder_directions(model: ReplacementModel, features: Int[np.ndarray, "n 3"]) -> Float[np.ndarray, "n d_model"]:
    """What one unit of each feature adds to the residual stream over all layers, up to norms' denominators.

    Args:
        model: whose transcoder has the features.
        features: (layer, pos, feature_idx), as in `Graph`.
    """
    written = np.zeros((len(features), model.transcoder.d_model))
    for layer in np.unique(features[:, 0]).tolist():
        rows = np.flatnonzero(features[:, 0] == layer)
        idx = torch.from_numpy(features[rows, 2].astype(np.int64))
        written[rows] = summed_decoders(model, layer, idx).cpu().numpy()
    return written


def activation_profiles(
    model: ReplacementModel,
    texts: Sequence[PromptLike],
    features: Int[np.ndarray, "n 3"],
    progress: Callable[[int, int], None] | None = None,
) -> sp.csr_array:
    """Activations of features in every distinct context of some texts.

    A context is a text up to some token; one that several texts begin with counts once. Positions that are ignored in
    tracing (such as <bos>) are no contexts.

    Args:
        model: the model and its transcoder.
        texts: prompts, read as `attribute` reads them.
        features: (layer, pos, feature_idx); the same feature at two positions has the same profile.
        progress: called with (texts done, texts in all).

    Returns:
        (n features, n contexts), contexts in order of appearance.

    Raises:
        InputError: there are no texts, or no contexts in them.
    """
    wanted, row_of = np.unique(features[:, [0, 2]], axis=0, return_inverse=True)
    seen: dict[tuple[int, ...], int] = {}
    found: list[tuple[Int[np.ndarray, "k"], Int[np.ndarray, "k"], Float[np.ndarray, "k"]]] = []
    for number, text in enumerate(texts, 1):
        new = _new_contexts(model, text, seen)
        if new is not None:
            found += _activations(model, text, *new, wanted)
        if progress is not None:
            progress(number, len(texts))
    if not seen:
        raise InputError("expected texts with at least one token after the ignored ones, got none; give other texts")
    rows, contexts, acts = (np.concatenate(parts) for parts in zip(*found, strict=True)) if found else ([], [], [])
    profiles = sp.csr_array((acts, (rows, contexts)), shape=(len(wanted), len(seen)), dtype=np.float64)
    return sp.csr_array(profiles[row_of.ravel()])


def _new_contexts(
    model: ReplacementModel, text: PromptLike, seen: dict[tuple[int, ...], int]
) -> tuple[Int[np.ndarray, "pos"], int] | None:
    """The number of the context at each position, -1 where it is old or ignored, and the first position that counts."""
    prompt = model.read_prompt(text)
    ids = prompt.token_ids.tolist()
    numbers = np.full(len(ids), -1)
    for pos in range(prompt.n_ignored_pos, len(ids)):
        context = tuple(ids[: pos + 1])
        if context not in seen:
            numbers[pos] = seen[context] = len(seen)
    return (numbers, prompt.n_ignored_pos) if (numbers >= 0).any() else None


def _activations(
    model: ReplacementModel,
    text: PromptLike,
    numbers: Int[np.ndarray, "pos"],
    n_ignored_pos: int,
    wanted: Int[np.ndarray, "n 2"],
) -> list[tuple[Int[np.ndarray, "k"], Int[np.ndarray, "k"], Float[np.ndarray, "k"]]]:
    """(row of the feature, number of the context, activation), layer by layer."""
    transcoder = model.transcoder
    captured = model.capture(model.read_prompt(text), keep_patterns=False)
    found = []
    for layer in np.unique(wanted[:, 0]).tolist():
        rows = np.flatnonzero(wanted[:, 0] == layer)
        x = captured.frozen.blocks[layer].tap(captured.resid_mid[layer], transcoder.encoder_tap)
        active = transcoder.active_features(layer, x).since(n_ignored_pos)
        idx, pos = active.feature_idx.cpu().numpy(), active.pos.cpu().numpy()
        place = np.minimum(np.searchsorted(wanted[rows, 1], idx), len(rows) - 1)
        hits = (wanted[rows[place], 1] == idx) & (numbers[pos] >= 0)
        acts = active.acts.double().cpu().numpy()[hits]
        found.append((rows[place[hits]], numbers[pos[hits]], acts))
    return found
