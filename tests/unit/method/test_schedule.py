"""w(p) at the moments that matter."""

from __future__ import annotations

import math

import pytest
from plans import blending

from safegen.errors import InvalidValue
from safegen.method.schedule import curve_at, weight_at
from safegen.plan import SafetyPlan


def weights(steps: int, **settings: object) -> list[float]:
    plan = SafetyPlan.from_dict(settings)
    return [round(weight_at(plan, i / steps), 6) for i in range(steps)]


def test_a_constant_weight_starts_at_the_threshold_and_stops_at_the_end() -> None:
    assert weights(10, weight=0.6, tau=0.3, end=0.7) == [0, 0, 0, 0.6, 0.6, 0.6, 0.6, 0, 0, 0]


def test_a_linear_weight_rises_from_the_threshold_to_the_end() -> None:
    assert weights(10, weight=0.8, tau=0.2, end=0.6, curve="linear") == [
        *[0, 0],
        *[0, 0.2, 0.4, 0.6],
        *[0, 0, 0, 0],
    ]


def test_a_cosine_weight_rises_smoothly() -> None:
    found = weights(4, weight=1.0, tau=0.0, curve="cosine")
    assert found == pytest.approx(
        [0, 0.5 - 0.5 * math.sqrt(0.5), 0.5, 0.5 + 0.5 * math.sqrt(0.5)], abs=1e-6
    )


@pytest.mark.parametrize("curve", ["constant", "linear", "cosine"])
def test_an_end_of_1_includes_the_last_call(curve: str) -> None:
    assert weight_at(blending(weight=0.4, curve=curve), 1.0) == pytest.approx(0.4)
    assert weight_at(blending(weight=0.4, curve=curve, end=0.99), 1.0) == 0


def test_a_threshold_of_0_guards_the_first_call() -> None:
    assert weight_at(blending(weight=0.4, tau=0.0), 0.0) == 0.4


@pytest.mark.parametrize("progress", [-1e-9, 1 + 1e-9, math.nan, math.inf, -math.inf])
def test_progress_out_of_range_is_refused_even_when_off(progress: float) -> None:
    for plan in (blending(), blending(enabled=False)):
        with pytest.raises(InvalidValue, match=r"progress: .* allowed: a number from 0 to 1"):
            weight_at(plan, progress)


def test_an_unknown_curve_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"curve: 'step' .* constant, linear, cosine"):
        curve_at("step", 0.5)
