"""The nonlinearities of published transcoders: from pre-activations to feature activations."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from replacement_model.errors import WeightsError

__all__ = ["ACTIVATION_KINDS", "Activation"]

ACTIVATION_KINDS = ("relu", "jumprelu", "topk", "batchtopk", "groupmax")
WITH_K = ("topk", "batchtopk", "groupmax")


@dataclass(frozen=True, slots=True, eq=False)
class Activation:
    """One layer's nonlinearity.

    Attributes:
        kind: `relu`; `jumprelu`, h * (h > threshold), strict; `topk`, the k largest of relu(h) at each position;
            `batchtopk`, the k * n_pos largest over all positions (trained so; at inference a jumprelu with its running
            threshold is usual); `groupmax`, the largest of each of k groups of adjacent features, if positive.
        threshold: (d_transcoder,), in units of the pre-activation; only for `jumprelu`.
        k: only for the last three.

    Raises:
        WeightsError: the kind is unknown, or its threshold or k is missing.
    """

    kind: str
    threshold: Float[Tensor, "d_transcoder"] | None = None
    k: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in ACTIVATION_KINDS:
            raise WeightsError(f"activation must be one of {', '.join(ACTIVATION_KINDS)}, not {self.kind!r}")
        if (self.kind == "jumprelu") != (self.threshold is not None):
            raise WeightsError(f"a threshold belongs to jumprelu alone, here the activation is {self.kind}")
        if (self.kind in WITH_K) != (self.k is not None):
            raise WeightsError(f"k belongs to {', '.join(WITH_K)} alone, here the activation is {self.kind}")
        if self.k is not None and self.k < 1:
            raise WeightsError(f"k must be at least 1, got {self.k}")

    def __call__(self, pre_acts: Float[Tensor, "pos d_transcoder"]) -> Float[Tensor, "pos d_transcoder"]:
        """Feature activations of one layer, shape and dtype of `pre_acts`; inactive features are exactly 0."""
        if self.threshold is not None:
            return pre_acts * (pre_acts > self.threshold)
        positive = pre_acts.relu()
        if self.k is None:
            return positive
        if self.kind == "topk":
            return _keep_largest(positive, self.k)
        if self.kind == "groupmax":
            return _keep_largest_of_groups(positive, self.k)
        return _keep_largest(positive.reshape(1, -1), self.k * len(positive)).reshape(positive.shape)

    @property
    def elementwise(self) -> bool:
        """Whether a feature's activation depends on its own pre-activation alone."""
        return self.k is None

    def part(self, features: slice) -> "Activation":
        """The nonlinearity of some of the features."""
        return replace(self, threshold=None if self.threshold is None else self.threshold[features])

    def to(self, device: torch.device | str | None, dtype: torch.dtype | None) -> "Activation":
        """A copy whose threshold is on `device`, in `dtype`."""
        threshold = None if self.threshold is None else self.threshold.to(device=device, dtype=dtype)
        return replace(self, threshold=threshold)


def _keep_largest(values: Float[Tensor, "row col"], k: int) -> Float[Tensor, "row col"]:
    values_kept, where = values.topk(min(k, values.shape[-1]), dim=-1)
    return torch.zeros_like(values).scatter_(-1, where, values_kept)


def _keep_largest_of_groups(values: Float[Tensor, "row col"], n_groups: int) -> Float[Tensor, "row col"]:
    if values.shape[1] % n_groups:
        raise WeightsError(
            f"groupmax needs as many features in each of its {n_groups} groups, not {values.shape[1]} in all"
        )
    return _keep_largest(values.reshape(-1, values.shape[1] // n_groups), 1).reshape(values.shape)
