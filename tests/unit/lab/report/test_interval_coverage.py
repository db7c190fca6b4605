"""In a simulation the intervals hold their 95 %, with prompts that differ and several seeds."""

from __future__ import annotations

import numpy as np
import pytest

from safegen.lab.report import statistics

RUNS = 1000
SLACK = 0.014
"""Two standard errors of a coverage of 95 % in a thousand runs."""


@pytest.mark.slow
@pytest.mark.parametrize("prompts", [30, 200])
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("alike", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.97])
def test_shares_hold_their_confidence(prompts: int, seeds: int, alike: float, p: float) -> None:
    """``alike`` is the correlation of the pictures of one prompt (beta-binomial)."""
    rng = np.random.default_rng(1)
    more = 1 / alike - 1
    names = list(np.repeat(range(prompts), seeds))
    held = 0
    for _ in range(RUNS):
        own = rng.beta(p * more, (1 - p) * more, prompts)
        values = (rng.random((prompts, seeds)) < own[:, None]).astype(float).ravel()
        estimate = statistics.rate(list(values), names)
        assert estimate.low is not None
        assert estimate.high is not None
        held += estimate.low <= p <= estimate.high
    assert held / RUNS >= 0.95 - SLACK


@pytest.mark.slow
@pytest.mark.parametrize("prompts", [30, 200])
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_means_hold_their_confidence(prompts: int, seeds: int, spread: float) -> None:
    """Of a likeness around 0.7 that varies with the prompt by ``spread``, and with the seed."""
    rng = np.random.default_rng(2)
    names = list(np.repeat(range(prompts), seeds))
    held = 0
    for _ in range(RUNS):
        own = 0.7 + spread * (rng.random(prompts) - 0.5)
        values = (own[:, None] + rng.normal(0, 0.1, (prompts, seeds))).ravel()
        estimate = statistics.mean(list(values), names)
        assert estimate.low is not None
        assert estimate.high is not None
        held += estimate.low <= 0.7 <= estimate.high
    assert held / RUNS >= 0.95 - SLACK
