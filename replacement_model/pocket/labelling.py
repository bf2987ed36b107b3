"""Labels from evidence: the concept whose contexts a feature marks best.

It is chosen on a random half of the contexts and scored on the other, and on no test prompt. "is" ends thousands of
contexts and "Dallas" a dozen: a context counts by one over the square root of how many end in its word, or a feature of
many rare words would pass for one of a common word.
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
HALVES_SEED = 11
N_LOGITS = 4


@dataclass(frozen=True, slots=True, eq=False)
class _Match:
    """Best concept of each feature of a layer, chosen on one half of the contexts, and its scores on the other."""

    concept: np.ndarray
    n_active: np.ndarray
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
    chosen = np.random.default_rng(HALVES_SEED).random(data.n_contexts) < 0.5
    for layer, weights in enumerate(transcoder.layers):
        if weights is None:
            continue
        active = csr_array((transcoder.encode(layer, data.inputs[layer]) > 0).numpy().astype(np.float32))
        match = _match(active, concepts.holds, concepts.weights, chosen)
        effects = _logit_effects(model, torch.stack(weights.W_dec).sum(0))
        tops = effects.topk(N_LOGITS, dim=-1).indices.tolist()
        bottoms = (-effects).topk(N_LOGITS, dim=-1).indices.tolist()
        for idx in range(weights.d_transcoder):
            words = [tuple(vocabulary[token] for token in ids[idx]) for ids in (tops, bottoms)]
            labels[layer, idx] = _label(match, idx, concepts.names, words[0], words[1])
    return FeatureLabels(labels)


def _match(active: csr_array, holds: csr_array, weights: np.ndarray, chosen: np.ndarray) -> _Match:
    f1, _, _ = _scores(active[chosen], holds[chosen], weights[chosen])  # [feature, concept]
    best = f1.argmax(-1)
    features = np.arange(len(best))
    held = (scores[features, best] for scores in _scores(active[~chosen], holds[~chosen], weights[~chosen]))
    return _Match(best, np.asarray(active.sum(0)), *held)


def _scores(active: csr_array, holds: csr_array, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F1, precision and recall of every feature as a sign of every concept; 0 where nothing is active."""
    weighted = holds.multiply(weights[:, None]).tocsr()
    both = (active.T @ weighted).toarray()
    n_active, n_holds = (active.T @ weights)[:, None], (holds.T @ weights)[None]
    pairs = ((2 * both, n_active + n_holds), (both, n_active), (both, n_holds))
    f1, precision, recall = (np.divide(a, b, out=np.zeros_like(a), where=b > 0) for a, b in pairs)
    return f1, precision, recall


def _label(
    match: _Match, idx: int, names: Sequence[str], top: tuple[str, ...], bottom: tuple[str, ...]
) -> FeatureLabel:
    f1, precision, recall = (round(float(x[idx]), 3) for x in (match.f1, match.precision, match.recall))
    if match.n_active[idx] == 0:
        return FeatureLabel("never active in the corpus", top_logits=top, bottom_logits=bottom)
    concept = names[match.concept[idx]]
    if f1 < MIN_F1:
        # What it raises is measured too, and says more to a reader than how far the best concept is off.
        return FeatureLabel(f"no match; raises {', '.join(top[:2])}", None, f1, precision, recall, top, bottom)
    return FeatureLabel(concept, concept, f1, precision, recall, top, bottom)


@torch.no_grad()
def _logit_effects(
    model: Gemma3ForCausalLM, written: Float[Tensor, "feature d_model"]
) -> Float[Tensor, "feature d_vocab"]:
    """Direct effect on the logits up to the final norm's denominator, the mean over the vocabulary removed."""
    W_U = model.lm_head.weight - model.lm_head.weight.mean(0)
    return (written * (1 + model.model.norm.weight)) @ W_U.T
