"""Maximally activating examples as Gemma Scope 2 publishes them, beside each transcoder and SAE.

`examples.safetensors` is larger than the weights, so it stays memory-mapped and one feature's rows are read at a time.
It lists single activations: (feature, rank) -> value, sequence, position. Those of one sequence make one example; where
a sequence has no listed activation of the feature, 0 stands.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from replacement_model.errors import InputError, WeightsError
from replacement_model.evidence.record import Example, FeatureEvidence, Quantile
from replacement_model.formats.files import read_safetensors

__all__ = ["GemmaScopeExamples"]

EXAMPLES_NAME = "examples.safetensors"
LISTED = ("activations", "positions", "seq_ids")
LOGITS = ("top_tokens", "top_logits", "bottom_tokens", "bottom_logits")


class GemmaScopeExamples:
    """One `examples.safetensors`.

    Args:
        path: the file, or the folder that holds it.
        layer: of the model; no key of the file says it.
        token_string: text of a token id.
        n_top: examples to give for a feature.

    Raises:
        WeightsError: the file is missing or damaged, or its tensors do not fit each other.
    """

    def __init__(self, path: Path, layer: int, token_string: Callable[[int], str], n_top: int = 10) -> None:
        self.path = path / EXAMPLES_NAME if path.is_dir() else path
        self.layer, self._token_string, self._n_top = layer, token_string, n_top
        self._tensors = read_safetensors(self.path)
        self._check()

    def __len__(self) -> int:
        return len(self._tensors["activations"])

    def get(self, feature_idx: int) -> FeatureEvidence:
        """The evidence on a feature.

        Raises:
            InputError: there is no such feature.
            WeightsError: it names a sequence or position that is not there.
        """
        if not 0 <= feature_idx < len(self):
            raise InputError(f"{self.path} has features 0 to {len(self) - 1}, not {feature_idx}")
        examples = self._examples(feature_idx)
        frequencies = self._tensors.get("feature_frequencies")
        peaks = [example.acts[example.peak] for example in examples]
        logits = {name: self._tensors[name][feature_idx].tolist() for name in LOGITS if name in self._tensors}
        return FeatureEvidence(
            layer=self.layer,
            feature_idx=feature_idx,
            quantiles=(Quantile("Top", tuple(examples[: self._n_top])),) if examples else (),
            top_logits=tuple(self._token_string(token) for token in logits.get("top_tokens", ())),
            bottom_logits=tuple(self._token_string(token) for token in logits.get("bottom_tokens", ())),
            top_effects=tuple(logits.get("top_logits", ())),
            bottom_effects=tuple(logits.get("bottom_logits", ())),
            act_max=max(peaks, default=0.0),
            frequency=None if frequencies is None else float(frequencies[feature_idx]),
        )

    def _examples(self, feature_idx: int) -> list[Example]:
        """One for each sequence with a positive activation, strongest first."""
        acts, positions, sequences = (self._tensors[name][feature_idx] for name in LISTED)
        tokens = self._tensors["tokens"]
        found: dict[int, dict[int, float]] = {}
        for act, pos, sequence in zip(acts.tolist(), positions.tolist(), sequences.tolist(), strict=True):
            if act <= 0:
                continue  # a feature that is active less often than there are places
            if not (0 <= sequence < len(tokens) and 0 <= pos < tokens.shape[1]):
                raise WeightsError(f"{self.path}: feature {feature_idx} names position {pos} of sequence {sequence}")
            found.setdefault(sequence, {})[pos] = act
        best = sorted(found, key=lambda sequence: (-max(found[sequence].values()), sequence))[: self._n_top]
        return [self._example(tokens[sequence], found[sequence]) for sequence in best]

    def _example(self, token_ids: Tensor, acts: dict[int, float]) -> Example:
        tokens = tuple(self._token_string(token) for token in token_ids.tolist())
        values = tuple(acts.get(pos, 0.0) for pos in range(len(tokens)))
        return Example(tokens, values, max(acts, key=lambda pos: (acts[pos], -pos)))

    def _check(self) -> None:
        missing = [name for name in (*LISTED, "tokens") if name not in self._tensors]
        if missing:
            raise WeightsError(f"{self.path} has no {', '.join(missing)}; it is not a file of examples")
        n_features = len(self)
        rows = [*LISTED, *LOGITS, "feature_frequencies"]
        shapes = {name: tuple(self._tensors[name].shape) for name in rows if name in self._tensors}
        wrong = [name for name, shape in shapes.items() if shape[:1] != (n_features,)]
        listed = {shapes[name] for name in LISTED}
        if wrong or len(listed) != 1 or self._tensors["tokens"].ndim != 2:
            raise WeightsError(f"{self.path}: expected one row a feature in every tensor, found {shapes}")
        if self._tensors["tokens"].dtype not in (torch.int32, torch.int64):
            raise WeightsError(f"{self.path}: tokens must be whole numbers, they are {self._tensors['tokens'].dtype}")
