"""The statistics: against cases computed by hand, and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from safegen.errors import InvalidValue
from safegen.lab.report import metrics


@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 10), (5, 10), (10, 10), (37, 200), (200, 200)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_is_scipys(k: int, n: int, confidence: float) -> None:
    wanted = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert metrics.wilson(k, n, confidence) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_wilson_by_hand() -> None:
    # 0 of n: [0, z²/(n + z²)]; z² = 3.841459 at 95 %.
    assert metrics.wilson(0, 10) == pytest.approx((0.0, 3.841459 / 13.841459), abs=1e-6)
    # 1 of 2 is symmetric about a half, half-width z/(2·sqrt(n + z²)).
    half = 1.959964 / (2 * math.sqrt(2 + 3.841459))
    assert metrics.wilson(1, 2) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
    with pytest.raises(InvalidValue):
        metrics.wilson(3, 2)


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (5, 0), (7, 2), (12, 12), (90, 40)])
def test_mcnemar_is_the_exact_binomial_test(better: int, worse: int) -> None:
    before = [True] * better + [False] * worse + [True, False]
    after = [False] * better + [True] * worse + [True, False]
    n = better + worse
    wanted = stats.binomtest(better, n).pvalue if n else 1.0
    assert metrics.mcnemar(before, after) == pytest.approx(wanted, rel=1e-9)


def test_mcnemar_by_hand() -> None:
    assert metrics.mcnemar([True] * 5, [False] * 5) == 2 / 32
    # (1 + 4) / 2⁴ one-sided.
    assert metrics.mcnemar([True, True, True, False], [False, False, False, True]) == 10 / 16


def test_relative_reduction_by_hand() -> None:
    before = [True] * 8 + [False] * 2
    after = [True] * 2 + [False] * 6 + [False] * 2
    found = metrics.relative_reduction(before, after)
    assert found.value == pytest.approx(0.75)
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < 0.75 < found.high < 1
    assert metrics.relative_reduction([False] * 4, [False] * 4).value is None
    gone = metrics.relative_reduction([True] * 50, [False] * 50)
    assert gone.value == 1.0
    assert gone.high == 1.0
    assert gone.low is not None
    assert 0.8 < gone.low < 1.0  # none left of 50 is not none ever
    worse = metrics.relative_reduction([True, False, False], [True, True, False])
    assert worse.value == -1.0


def test_bonett_price_by_hand() -> None:
    """x11 = 20, x10 = 10, x01 = 5 (the formula, step by step)."""
    before = [True] * 30 + [False] * 5
    after = [True] * 20 + [False] * 10 + [True] * 5
    a = math.sqrt(17 / (31 * 26))
    b = math.sqrt((1 - 31 / 37) / 31)
    c = math.sqrt((1 - 26 / 37) / 26)
    z = a / (b + c) * 1.959963985

    def score(p: float) -> tuple[float, float]:
        middle = 2 * 35 * p + z * z
        root = z * math.sqrt(z * z + 4 * 35 * p * (1 - p))
        return (middle - root) / (2 * (35 + z * z)), (middle + root) / (2 * (35 + z * z))

    one, two = score(30 / 35), score(25 / 35)
    found = metrics.ratio_of_paired_rates(before, after)
    assert found == pytest.approx((two[0] / one[1], two[1] / one[0]), rel=1e-8)


def test_bonett_price_covers_what_it_says() -> None:
    rng = np.random.default_rng(1)
    cells = np.array([0.10, 0.50, 0.02, 0.38])  # both, only before, only after, neither
    truth = (cells[0] + cells[2]) / (cells[0] + cells[1])
    hits = 0
    for counts in rng.multinomial(60, cells, size=800):
        x11, x10, x01, x00 = (int(c) for c in counts)
        before = [True] * (x11 + x10) + [False] * (x01 + x00)
        after = [True] * x11 + [False] * x10 + [True] * x01 + [False] * x00
        low, high = metrics.ratio_of_paired_rates(before, after) or (0, 0)
        hits += low <= truth <= high
    assert 0.93 <= hits / 800 <= 0.99


def test_bootstrap_is_scipys_up_to_chance() -> None:
    rng = np.random.default_rng(2)
    before = rng.gamma(2.0, size=120)
    after = before * rng.uniform(1.2, 1.6, size=120)
    found = metrics.ratio_of_costs(before.tolist(), after.tolist(), resamples=20_000)
    wanted = stats.bootstrap(
        (before, after),
        lambda b, a, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(3),
    ).confidence_interval
    assert found.value == pytest.approx(after.sum() / before.sum())
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=0.004)


def test_pairing_is_what_makes_a_ratio_sharp() -> None:
    rng = np.random.default_rng(4)
    before = rng.gamma(0.5, size=100)
    found = metrics.ratio_of_costs(before.tolist(), (before * 1.5).tolist())
    assert (found.low, found.high) == pytest.approx((1.5, 1.5))


def test_several_seeds_of_a_prompt_are_not_so_many_prompts() -> None:
    """40 pictures of 4 prompts, all alike within a prompt, say no more than 4 pictures."""
    flags = [prompt < 2 for prompt in range(4) for _ in range(10)]
    clusters = [prompt for prompt in range(4) for _ in range(10)]
    naive, honest = metrics.rate(flags), metrics.rate(flags, clusters)
    assert naive.value == honest.value == 0.5
    assert naive.low is not None
    assert honest.low is not None
    assert honest.low == 0.0
    assert naive.low > 0.3
    single = metrics.rate(flags, list(range(40)))
    assert (single.low, single.high) == (naive.low, naive.high)


def test_one_batch_says_nothing_of_others() -> None:
    found = metrics.ratio_of_costs([2.0] * 5, [3.0] * 5, ["batch"] * 5)
    assert (found.value, found.low, found.high) == (1.5, None, None)
    alone = metrics.mean([1.0])
    assert (alone.value, alone.low) == (1.0, None)


def test_the_same_data_give_the_same_interval() -> None:
    values = list(np.random.default_rng(5).normal(size=30))
    assert metrics.mean(values) == metrics.mean(values)


def test_nothing_gives_no_figure() -> None:
    assert metrics.rate([]).value is None
    assert metrics.mean([]).value is None
    assert metrics.ratio_of_costs([0.0], [1.0]).value is None
    with pytest.raises(ValueError, match="zip"):
        metrics.mcnemar([True], [True, False])
