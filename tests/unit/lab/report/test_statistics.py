"""The statistics, against cases computed by hand and against scipy's own functions."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from safegen.lab.report import statistics


def test_one_picture_a_prompt_is_clopper_and_pearson_nearly() -> None:
    values = [1.0] * 30 + [0.0] * 70
    estimate = statistics.rate(values, range(100))
    exact = stats.binomtest(30, 100).proportion_ci(0.95, method="exact")
    assert estimate.value == 0.3
    assert (estimate.n, estimate.pictures) == (100, 100)
    # The sample variance divides by n - 1, so one picture of a hundred is lost.
    assert estimate.low == pytest.approx(exact.low, abs=0.002)
    assert estimate.high == pytest.approx(exact.high, abs=0.002)


def test_more_seeds_of_the_same_are_no_more_evidence() -> None:
    values = np.array([1.0] * 12 + [0.0] * 28)
    once = statistics.rate(list(values), range(40))
    thrice = statistics.rate(list(np.repeat(values, 3)), list(np.repeat(range(40), 3)))
    assert thrice.value == once.value
    assert thrice.n == once.n == 40
    assert thrice.pictures == 120
    assert thrice.high - thrice.low == pytest.approx(once.high - once.low, rel=0.05)  # type: ignore[operator]
    # Seeds that vary by themselves are evidence.
    mixed = np.random.default_rng(0).permutation(np.tile([1.0, 0.0, 0.0], 40))
    free = statistics.rate(list(mixed), list(np.repeat(range(40), 3)))
    assert free.high - free.low < once.high - once.low  # type: ignore[operator]


def test_none_of_many_is_the_rule_of_three_over_prompts() -> None:
    none = statistics.rate([0.0] * 300, list(np.repeat(range(100), 3)))
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 100))
    whole = statistics.rate([1.0] * 300, list(np.repeat(range(100), 3)))
    assert (whole.low, whole.high) == (pytest.approx(0.025 ** (1 / 100)), 1.0)


def test_a_mean_of_one_value_a_prompt_is_students() -> None:
    values = [1.0, 2.0, 4.0, 7.0]
    estimate = statistics.mean(values, "abcd")
    wanted = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert estimate.value == 3.5
    assert (estimate.low, estimate.high) == pytest.approx((wanted.low, wanted.high))


def test_what_is_missing_is_no_value() -> None:
    assert statistics.mean([1.0, float("nan"), 3.0], "abc").n == 2
    for figure in (statistics.rate, statistics.mean):
        assert figure([], []) == statistics.Estimate()
        alone = figure([1.0, 0.0], "aa")
        assert (alone.value, alone.low, alone.n) == (0.5, None, 1)


def test_sign_flips_by_counting() -> None:
    differences = [0.5, 0.25, -0.1, 1.0, 0.3]
    means = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=5)
    ]
    wanted = sum(m >= abs(sum(differences)) - 1e-12 for m in means) / 32
    assert statistics.sign_flip(differences) == pytest.approx(wanted)
    assert statistics.sign_flip([0.0, 0.0]) == 1.0
    assert statistics.sign_flip([]) == statistics.sign_flip([0.5]) == 1.0
    assert statistics.sign_flip([1.0] * 40, 999) < 0.01


def test_pairs_are_prompts_that_both_have() -> None:
    one = pd.Series([1.0, 0.0, 1.0], index=["a", "a", "b"])
    other = pd.Series([1.0, 1.0, 0.0], index=["a", "c", "b"])
    assert statistics.paired(one, other) == [-0.5, 1.0]


def test_holm_by_hand() -> None:
    found = statistics.holm([0.01, None, 0.04, 0.03])
    assert found == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert statistics.holm([None]) == [None]
