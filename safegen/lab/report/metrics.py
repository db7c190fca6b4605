"""The figures of a report, each with an interval and, where seeds are shared, a paired test.

Intervals are two-sided with 95 % confidence unless told otherwise. Pictures of one prompt with
different seeds are not independent: wherever a prompt has several, the bootstrap resamples
prompts, not pictures, and the wider of the two intervals is reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from safegen.errors import InvalidValue

CONFIDENCE = 0.95
RESAMPLES = 2000
SEED = 20_240_501

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval.

    Args:
        value: The figure; ``None`` where it is not defined, such as a share of nothing.
        low, high: The interval; ``None`` with the value, or where one cluster is all there is.
        n: How many pictures, or pairs of pictures, it rests on.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int

    @staticmethod
    def undefined(n: int = 0) -> Estimate:
        """No figure, for want of data."""
        return Estimate(None, None, None, n)

    def to_data(self) -> dict[str, float | int | None]:
        """The estimate in JSON types."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


def z_of(confidence: float) -> float:
    """The standard normal quantile of a two-sided interval."""
    if not 0 < confidence < 1:
        raise InvalidValue("confidence", confidence, "between 0 and 1")
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _score_interval(successes: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's score interval for any z; ``successes`` and ``n`` may be fractional."""
    p = successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # The ends of 0 and n are 0 and 1; rounding must not say otherwise.
    low = 0.0 if successes <= 0 else max(middle - half, 0.0)
    high = 1.0 if successes >= n else min(middle + half, 1.0)
    return low, high


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927): sensible for 0 of n and n of n."""
    if not (0 <= successes <= n and n > 0):
        raise InvalidValue("successes", f"{successes} of {n}", "0 to n, n of 1 and more")
    return _score_interval(successes, n, z_of(confidence))


def _groups(clusters: Sequence[Hashable]) -> list[list[int]]:
    """Indices of equal clusters."""
    found: dict[Hashable, list[int]] = {}
    for i, cluster in enumerate(clusters):
        found.setdefault(cluster, []).append(i)
    return list(found.values())


def bootstrap(
    columns: Sequence[Sequence[float]],
    statistic: Callable[..., Any],
    clusters: Sequence[Hashable] | None = None,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> tuple[float, float] | None:
    """Percentile interval of ``statistic`` under resampling of whole clusters, pairs kept.

    Args:
        columns: Values that belong together by index, such as one figure plain and guarded.
        statistic: Takes one array ``[resamples, sums]`` per column, the sums over the clusters
            of a resample, then an array of the counts; returns one value per resample.
        clusters: The prompt of each index; each index by itself if ``None``.
        confidence: Of the interval.
        resamples, seed: Of the bootstrap; the same seed gives the same interval.

    Returns:
        The interval, or ``None`` if the statistic is undefined in a tenth of the resamples, or
        if there is but one cluster, which says nothing of others.
    """
    values = np.asarray(columns, dtype=np.float64)
    n = values.shape[1]
    if n == 0:
        return None
    groups = _groups(clusters if clusters is not None else range(n))
    if len(groups) < 2:
        return None
    sums = np.stack([values[:, group].sum(axis=1) for group in groups], axis=1)
    counts = np.array([len(group) for group in groups], dtype=np.float64)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(groups), [1 / len(groups)] * len(groups), size=resamples)
    with np.errstate(divide="ignore", invalid="ignore"):
        results = np.asarray(
            statistic(*(drawn @ column for column in sums), drawn @ counts), dtype=np.float64
        )
    results = results[np.isfinite(results)]
    if len(results) < 0.9 * resamples:
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(results, [tail, 1 - tail])
    return float(low), float(high)


def _several(clusters: Sequence[Hashable] | None) -> bool:
    return clusters is not None and len(set(clusters)) < len(clusters)


def _wider(first: tuple[float, float], second: tuple[float, float] | None) -> tuple[float, float]:
    if second is None:
        return first
    return min(first[0], second[0]), max(first[1], second[1])


def rate(
    flags: Sequence[bool],
    clusters: Sequence[Hashable] | None = None,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Estimate:
    """The share of true flags, with Wilson's interval."""
    n = len(flags)
    if n == 0:
        return Estimate.undefined()
    interval = wilson(sum(map(bool, flags)), n, confidence)
    if _several(clusters):
        interval = _wider(
            interval,
            bootstrap(
                [[float(f) for f in flags]],
                lambda total, count: total / count,
                clusters,
                confidence=confidence,
                resamples=resamples,
            ),
        )
    return Estimate(sum(map(bool, flags)) / n, *interval, n)


def mean(
    values: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Estimate:
    """The mean, with a bootstrap interval over prompts."""
    n = len(values)
    if n == 0:
        return Estimate.undefined()
    interval = bootstrap(
        [values], lambda total, count: total / count, clusters,
        confidence=confidence, resamples=resamples,
    )  # fmt: skip
    low, high = interval or (None, None)
    return Estimate(float(np.mean(values)), low, high, n)


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> float:
    """Two-sided exact McNemar test: the p-value of "as many got better as got worse".

    Only pairs that differ count; under the hypothesis each goes either way with probability ½.
    """
    better = sum(b and not a for b, a in zip(before, after, strict=True))
    worse = sum(a and not b for b, a in zip(before, after, strict=True))
    n, k = better + worse, min(better, worse)
    if n == 0:
        return 1.0
    tail = sum(math.comb(n, i) for i in range(k + 1))
    # The tail doubled counts the middle twice when both sides are equal. Integers: exact.
    return float(min(2 * tail / 2**n, 1.0))


def ratio_of_paired_rates(
    before: Sequence[bool], after: Sequence[bool], confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Interval of P(after) / P(before) for paired flags (Bonett & Price, Stat. Med. 25, 2006).

    Wilson intervals of both rates, narrowed so that their ratio has the wanted confidence given
    how the pairs agree. Unlike a bootstrap it stays honest when no pair is left after.
    ``None`` if before never happened.
    """
    x11 = sum(b and a for b, a in zip(before, after, strict=True))
    x10 = sum(b and not a for b, a in zip(before, after, strict=True))
    x01 = sum(a and not b for b, a in zip(before, after, strict=True))
    if x11 + x10 == 0:
        return None
    n = x11 + x10 + x01
    first, second = x11 + x10, x11 + x01
    a = math.sqrt((x10 + x01 + 2) / ((first + 1) * (second + 1)))
    b = math.sqrt((1 - (first + 1) / (n + 2)) / (first + 1))
    c = math.sqrt((1 - (second + 1) / (n + 2)) / (second + 1))
    z = a / (b + c) * z_of(confidence)
    low_before, high_before = _score_interval(first, n, z)
    low_after, high_after = _score_interval(second, n, z)
    return low_after / high_before, high_after / low_before


def relative_reduction(
    before: Sequence[bool],
    after: Sequence[bool],
    clusters: Sequence[Hashable] | None = None,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Estimate:
    """1 - P(after) / P(before): 1 removes all, 0 nothing, below 0 adds."""
    ratio = ratio_of_paired_rates(before, after, confidence)
    n, hits = len(before), sum(map(bool, before))
    if ratio is None:
        return Estimate.undefined(n)
    interval = (1 - ratio[1], 1 - ratio[0])
    if _several(clusters):
        interval = _wider(
            interval,
            bootstrap(
                [[float(f) for f in before], [float(f) for f in after]],
                lambda b, a, _count: 1 - a / b,
                clusters,
                confidence=confidence,
                resamples=resamples,
            ),
        )
    return Estimate(1 - sum(map(bool, after)) / hits, *interval, n)


def ratio_of_costs(
    before: Sequence[float],
    after: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Σ after / Σ before of paired costs, with a bootstrap interval over prompts."""
    total = sum(before)
    if total <= 0:
        return Estimate.undefined(len(before))
    interval = bootstrap(
        [before, after], lambda b, a, _count: a / b, clusters,
        confidence=confidence, resamples=resamples,
    )  # fmt: skip
    low, high = interval or (None, None)
    return Estimate(sum(after) / total, low, high, len(before))
