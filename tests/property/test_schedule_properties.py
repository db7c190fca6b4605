"""w(p): threshold, end and curve, for any plan."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from property_support import plans

from safegen.errors import InvalidValue
from safegen.method.schedule import curve_at, weight_at
from safegen.plan import CURVES, SafetyPlan

on = plans(enabled=True, weight=st.floats(0.01, 1.0))
shares = st.floats(0.0, 1.0)


@given(plans(), shares)
def test_the_weight_is_what_the_formula_says(plan: SafetyPlan, progress: float) -> None:
    weight = weight_at(plan, progress)
    within = plan.tau <= progress and (progress < plan.end or plan.end == 1)
    if not (plan.enabled and within):
        assert weight == 0
        return
    t = (progress - plan.tau) / (plan.end - plan.tau)
    height = {"constant": 1, "linear": t, "cosine": math.sin(math.pi * t / 2) ** 2}[plan.curve]
    assert weight == pytest.approx(plan.weight * height, rel=1e-9, abs=1e-12)


@given(plans(), shares)
def test_the_weight_never_leaves_0_to_the_dial(plan: SafetyPlan, progress: float) -> None:
    assert 0.0 <= weight_at(plan, progress) <= plan.weight


@given(on)
def test_the_threshold_is_the_first_guarded_moment(plan: SafetyPlan) -> None:
    constant = plan.replace(curve="constant")
    assert weight_at(constant, plan.tau) == plan.weight
    if plan.tau > 0:
        assert weight_at(constant, math.nextafter(plan.tau, 0.0)) == 0
    for curve in ("linear", "cosine"):
        assert weight_at(plan.replace(curve=curve), plan.tau) == 0


@given(on)
def test_the_end_is_the_first_unguarded_moment(plan: SafetyPlan) -> None:
    for curve in CURVES:
        curved = plan.replace(curve=curve)
        last = 1.0 if plan.end == 1 else math.nextafter(plan.end, 0.0)
        assume(last > plan.tau)
        assert weight_at(curved, last) == pytest.approx(plan.weight if plan.tau < last else 0)
        if plan.end < 1:
            assert weight_at(curved, plan.end) == 0
            assert weight_at(curved, 1.0) == 0


@given(on, st.lists(shares, min_size=2, max_size=6))
def test_within_the_span_the_weight_only_grows(plan: SafetyPlan, moments: list[float]) -> None:
    span = [plan.tau + m * (plan.end - plan.tau) for m in sorted(moments)]
    grown = [weight_at(plan, min(p, 1.0)) for p in span if p < plan.end]
    assert grown == sorted(grown)


@given(plans(), shares)
def test_a_plan_that_is_off_or_at_0_weighs_nothing(plan: SafetyPlan, progress: float) -> None:
    assert weight_at(plan.replace(enabled=False), progress) == 0
    assert weight_at(plan.replace(weight=0.0), progress) == 0


@pytest.mark.parametrize("curve", CURVES)
@given(share=shares)
def test_a_curve_goes_from_its_start_to_1(curve: str, share: float) -> None:
    assert 0.0 <= curve_at(curve, share) <= 1.0
    assert curve_at(curve, 1.0) == pytest.approx(1.0)
    assert curve_at(curve, 0.0) == (1.0 if curve == "constant" else 0.0)
    if curve != "constant":  # both rise as steeply towards the middle as from it
        assert curve_at(curve, share) + curve_at(curve, 1 - share) == pytest.approx(1.0)


@given(plans(), st.one_of(st.floats(max_value=-1e-9), st.floats(1 + 1e-9), st.just(math.nan)))
def test_progress_out_of_range_is_refused(plan: SafetyPlan, progress: float) -> None:
    with pytest.raises(InvalidValue) as caught:
        weight_at(plan, progress)
    assert caught.value.field == "progress"
    assert caught.value.allowed == "a number from 0 to 1"


def test_an_unknown_curve_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"curve: 'step' .* constant, linear, cosine"):
        curve_at("step", 0.5)
