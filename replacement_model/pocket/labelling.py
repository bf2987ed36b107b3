"""Labels from evidence: the concept whose contexts a feature marks best.

It is chosen on one half of the contexts and scored on the other, and on no test prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array
from torch import Tensor
from transformers import Gemma3ForCausalLM

from replacement_model.labels import FeatureLabel, FeatureLabels
from replacement_model.pocket.concepts import ConceptTable
from replacement_model.training import ActivationDataset
from replacement_model.transcoder import Transcoder

__all__ = ["MIN_F1", "label_features"]

MIN_F1 = 0.5
"""Below this a feature is said to match no concept."""
N_LOGITS = 4


@dataclass(frozen=True, slots=True, eq=False)
class _Match:
    """Best concept of each feature of a layer, and how well it was matched where it was chosen and where it was not."""

    concept: np.ndarray
    chosen_f1: np.ndarray
    f1: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


def label_features(
    model: Gemma3ForCausalLM,
    transcoder: Transcoder,
    data: ActivationDataset,
    concepts: ConceptTable,
    vocabulary: Sequence[str],
) -> FeatureLabels:
    """A label for every feature.

    Args:
        model: the host, for the effect of decoders on the logits.
        transcoder: whose features are labelled.
        data: activations of the contexts that `concepts` describes, in the same order.
        concepts: what holds in each context.
        vocabulary: token texts.
    """
    labels: dict[tuple[int, int], FeatureLabel] = {}
    chosen = np.arange(data.n_contexts) % 2 == 0
    for layer, weights in enumerate(transcoder.layers):
        if weights is None:
            continue
        active = csr_array((transcoder.encode(layer, data.inputs[layer]) > 0).numpy().astype(np.float32))
        match = _match(active, concepts.holds, chosen)
        effects = _logit_effects(model, weights.W_dec.sum(1))
        tops = effects.topk(N_LOGITS, dim=-1).indices.tolist()
        bottoms = (-effects).topk(N_LOGITS, dim=-1).indices.tolist()
        for idx in range(weights.d_transcoder):
            words = [tuple(vocabulary[token] for token in ids[idx]) for ids in (tops, bottoms)]
            labels[layer, idx] = _label(match, idx, concepts.names, words[0], words[1])
    return FeatureLabels(labels)


def _match(active: csr_array, holds: csr_array, chosen: np.ndarray) -> _Match:
    both = active[chosen].T @ holds[chosen]  # [feature, concept]
    f1, _, _ = _scores(both.toarray(), active[chosen].sum(0)[:, None], holds[chosen].sum(0)[None])
    best = f1.argmax(-1)
    rest = ~chosen
    overlap = np.asarray((active[rest].T @ holds[rest]).toarray())[np.arange(len(best)), best]
    held = _scores(overlap, active[rest].sum(0), holds[rest].sum(0)[best])
    return _Match(best, f1[np.arange(len(best)), best], *held)


def _scores(both: np.ndarray, n_active: np.ndarray, n_holds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F1, precision and recall; 0 where nothing is active."""
    return both * 2 / np.maximum(n_active + n_holds, 1), both / np.maximum(n_active, 1), both / np.maximum(n_holds, 1)


def _label(
    match: _Match, idx: int, names: Sequence[str], top: tuple[str, ...], bottom: tuple[str, ...]
) -> FeatureLabel:
    f1, precision, recall = (round(float(x[idx]), 3) for x in (match.f1, match.precision, match.recall))
    if match.chosen_f1[idx] == 0:
        return FeatureLabel("never active in the corpus", top_logits=top, bottom_logits=bottom)
    concept = names[match.concept[idx]]
    if f1 < MIN_F1:
        text = f"no concept matches (best F1 {f1:.2f}: {concept})"
        return FeatureLabel(text, None, f1, precision, recall, top, bottom)
    return FeatureLabel(concept, concept, f1, precision, recall, top, bottom)


@torch.no_grad()
def _logit_effects(
    model: Gemma3ForCausalLM, written: Float[Tensor, "feature d_model"]
) -> Float[Tensor, "feature d_vocab"]:
    """Direct effect on the logits up to the final norm's denominator, the mean over the vocabulary removed."""
    W_U = model.lm_head.weight - model.lm_head.weight.mean(0)
    return (written * (1 + model.model.norm.weight)) @ W_U.T
