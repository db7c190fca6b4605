"""Intervals and tests in which the prompt is the unit: several seeds do not make n larger.

`tests/unit/lab/report/test_interval_coverage.py` holds the intervals to their 95 % in a simulation.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95
RESAMPLES = 9999
SEED = 20_240_501


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval.

    Args:
        value: The figure; ``None`` where it is not defined, such as a share of nothing.
        low, high: The interval; ``None`` with the value, or where one prompt is all there is.
        n: How many prompts it rests on.
        pictures: How many pictures.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    pictures: int = 0

    def to_data(self) -> dict[str, float | int | None]:
        """The estimate in JSON types."""
        return asdict(self)


def _by_prompt(
    values: Sequence[float], prompts: Sequence[Hashable]
) -> tuple[pd.DataFrame, float | None]:
    """Mean and size of each prompt's values, and the mean over all; what is NaN is no value."""
    frame = pd.DataFrame({"value": np.asarray(values, float), "prompt": list(prompts)}).dropna()
    groups = frame.groupby("prompt", sort=False)["value"].agg(["mean", "size"])
    return groups, float(frame["value"].mean()) if len(frame) else None


def _variance(groups: pd.DataFrame, mean: float) -> float:
    """Of the mean over all pictures, with whole prompts drawn (linearised ratio estimator)."""
    count = len(groups)
    share = groups["size"] / groups["size"].mean()
    spread = float((share**2 * (groups["mean"] - mean) ** 2).sum())
    return spread / (count * (count - 1))


def rate(values: Sequence[float], prompts: Sequence[Hashable]) -> Estimate:
    """A share of pictures, with Korn and Graubard's interval (Survey Methodology 24, 1998).

    Clopper and Pearson's exact interval at the effective number of pictures: as many
    independent ones as would vary as much. Where all are alike that is the number of prompts.
    """
    groups, p = _by_prompt(values, prompts)
    count, pictures = len(groups), int(groups["size"].sum())
    if p is None or count < 2:
        return Estimate(p, None, None, count, pictures)
    effective = float(count)
    variance = _variance(groups, p)
    if 0 < p < 1 and variance > 0:
        effective = min(p * (1 - p) / variance, pictures)
        tail = (1 + CONFIDENCE) / 2
        few = stats.t.ppf(tail, pictures - 1) / stats.t.ppf(tail, count - 1)
        effective *= float(few**2)
    low, high = proportion_confint(effective * p, effective, 1 - CONFIDENCE, method="beta")
    low, high = (0.0 if p == 0 else float(low)), (1.0 if p == 1 else float(high))
    return Estimate(p, min(low, p), max(high, p), count, pictures)


def mean(
    values: Sequence[float],
    prompts: Sequence[Hashable],
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """A mean over pictures, with Student's interval over prompts, cut off at ``bounds``."""
    groups, value = _by_prompt(values, prompts)
    count, pictures = len(groups), int(groups["size"].sum())
    if value is None or count < 2:
        return Estimate(value, None, None, count, pictures)
    error = _variance(groups, value) ** 0.5
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    low, high = max(value - half, bounds[0]), min(value + half, bounds[1])
    return Estimate(value, low, high, count, pictures)


def sign_flip(differences: Sequence[float], resamples: int = RESAMPLES) -> float:
    """p of "each prompt's difference could as well have the other sign", two-sided.

    Exact where all sign patterns are no more than ``resamples``.
    """
    found = np.asarray(differences, float)
    if found.size < 2 or not found.any():  # one prompt alone says nothing
        return 1.0
    result: Any = stats.permutation_test(
        (found,), lambda x, axis: np.mean(x, axis=axis), permutation_type="samples",
        vectorized=True, n_resamples=resamples, rng=np.random.default_rng(SEED),
    )  # fmt: skip
    return float(result.pvalue)


def paired(one: pd.Series[float], other: pd.Series[float]) -> list[float]:
    """The difference of each prompt that both have; the series are indexed by prompt."""
    both = pd.concat([one.groupby(level=0).mean(), other.groupby(level=0).mean()], axis=1).dropna()
    return [float(x) for x in both.iloc[:, 0] - both.iloc[:, 1]]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for their number (Holm); ``None`` stays and does not count."""
    there = [p for p in p_values if p is not None]
    if not there:
        return list(p_values)
    corrected = iter(multipletests(there, method="holm")[1])
    return [None if p is None else float(next(corrected)) for p in p_values]
