"""Ablation over several prompts: does influence predict it better than the baselines, by how much, how surely?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from circuits.faithfulness.ablation import PREDICTORS, AblationCheck
from circuits.faithfulness.rank import Ranks, spearman
from circuits.studies.statistics import Estimate, weighted_estimate

__all__ = ["BASELINES", "AblationSummary", "summarise_ablations"]

BASELINES = ("activation", "direct edge")


@dataclass(frozen=True, slots=True)
class AblationSummary:
    """Rank correlations with the ablation effect, over prompts; 95% intervals by resampling prompts.

    Attributes:
        n_prompts: those with a correlation for every prediction.
        n_skipped: those without (fewer than three features, or effects that are all equal).
        n_features: all that were ablated.
        mean: of each prediction, the mean of the prompts' correlations.
        gain: influence minus each baseline, of the same means.
        last: the mean over features at the target's position alone, where defined.
        pooled: of each prediction, the correlation over the features of all prompts at once.
        pooled_gain: influence minus each baseline, of the same.
    """

    n_prompts: int
    n_skipped: int
    n_features: int
    mean: Mapping[str, Estimate]
    gain: Mapping[str, Estimate]
    last: Mapping[str, Estimate]
    last_gain: Mapping[str, Estimate]
    pooled: Mapping[str, float]
    pooled_gain: Mapping[str, Estimate]

    @property
    def beats_baselines(self) -> bool:
        """Whether the whole interval of every difference of means is above zero."""
        return all(one.low > 0 for one in self.gain.values())


def summarise_ablations(checks: Sequence[AblationCheck], generator: np.random.Generator) -> AblationSummary:
    """Means, pooled correlations and intervals over prompts.

    Args:
        checks: one of each prompt.
        generator: draws the resamples.

    Raises:
        InputError: no prompt has a correlation.
    """
    usable = [one for one in checks if all(np.isfinite(value) for value in one.spearman.values())]
    last = [one.spearman_last for one in usable if all(np.isfinite(value) for value in one.spearman_last.values())]
    mean, gain = _means([one.spearman for one in usable], generator)
    last_mean, last_gain = _means(last, generator) if last else ({}, {})
    effects = np.concatenate([np.abs(one.effects) for one in usable])
    pooled = {name: np.concatenate([one.predictions[name] for one in usable]) for name in PREDICTORS}
    prompt = np.repeat(np.arange(len(usable)), [len(one.effects) for one in usable])
    return AblationSummary(
        n_prompts=len(usable),
        n_skipped=len(checks) - len(usable),
        n_features=len(effects),
        mean=mean,
        gain=gain,
        last=last_mean,
        last_gain=last_gain,
        pooled={name: spearman(values, effects) for name, values in pooled.items()},
        pooled_gain=_pooled_gain(effects, pooled, prompt, generator),
    )


def _means(
    correlations: Sequence[Mapping[str, float]], generator: np.random.Generator
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    def estimate(values: np.ndarray) -> Estimate:
        names = [str(number) for number in range(len(values))]
        return weighted_estimate(lambda times: times @ values / len(values), names, generator)

    table = {name: np.array([one[name] for one in correlations]) for name in PREDICTORS}
    mean = {name: estimate(values) for name, values in table.items()}
    return mean, {name: estimate(table["influence"] - table[name]) for name in BASELINES}


def _pooled_gain(
    effects: np.ndarray, pooled: Mapping[str, np.ndarray], prompt: np.ndarray, generator: np.random.Generator
) -> dict[str, Estimate]:
    names = [str(number) for number in range(int(prompt.max()) + 1)]
    ranked = {name: Ranks(pooled[name], prompt) for name in ("influence", *BASELINES)}
    measured = Ranks(effects, prompt)

    def gain(name: str) -> Estimate:
        def statistic(times: np.ndarray) -> np.ndarray:
            return ranked["influence"].spearman(measured, times) - ranked[name].spearman(measured, times)

        return weighted_estimate(statistic, names, generator)

    return {name: gain(name) for name in BASELINES}
