"""What makes a safety context."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from safegen.contexts.context import SafetyContext
from safegen.errors import InvalidValue
from safegen.plan import SafetyPlan

TEXTS = {
    "name": "gore",
    "label": "Gore",
    "category": "violence",
    "description": "No blood.",
    "safe_text": "calm",
    "unsafe_text": "blood",
}


def test_the_rest_has_defaults() -> None:
    context = SafetyContext(**TEXTS)
    assert dict(context.neutral) == {}
    assert context.fallback == ""
    assert context.weight is context.tau is None


@pytest.mark.parametrize("field", ["name", "label", "safe_text"])
@pytest.mark.parametrize("value", ["", "  \n", None, 5, ["calm"]])
def test_what_must_be_said_is_said(field: str, value: Any) -> None:
    with pytest.raises(InvalidValue, match="a text that is not empty") as caught:
        SafetyContext(**{**TEXTS, field: value})
    assert (caught.value.field, caught.value.value) == (f"context {field}", value)


@pytest.mark.parametrize("field", ["category", "description", "unsafe_text"])
def test_what_may_be_left_out_is_left_out(field: str) -> None:
    assert getattr(SafetyContext(**{**TEXTS, field: ""}), field) == ""


@pytest.mark.parametrize("field", ["weight", "tau"])
@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf, "0.5", True, [0.5]])
def test_a_suggestion_out_of_range_is_refused(field: str, value: Any) -> None:
    most = {"weight": "1", "tau": "0.95"}[field]
    with pytest.raises(InvalidValue, match=f"0 to {most}, or nothing") as caught:
        SafetyContext(**TEXTS, **{field: value})
    assert caught.value.field == f"context {field}"


@pytest.mark.parametrize("field", ["weight", "tau"])
@pytest.mark.parametrize("value", [0.0, 0.5, 0.95, None])
def test_a_suggestion_in_range_is_kept(field: str, value: float | None) -> None:
    assert getattr(SafetyContext(**TEXTS, **{field: value}), field) == value


def test_keys_are_kept_in_lower_case_with_single_blanks() -> None:
    neutral = {"BLOODY": "clean", "  pool\n of  Blood ": "Pool of Water"}
    context = SafetyContext(**TEXTS, neutral=neutral)
    assert dict(context.neutral) == {"bloody": "clean", "pool of blood": "Pool of Water"}


def test_a_context_cannot_be_changed() -> None:
    neutral = {"blood": "water"}
    context = SafetyContext(**TEXTS, neutral=neutral)
    neutral["knife"] = "spoon"
    assert dict(context.neutral) == {"blood": "water"}
    with pytest.raises(TypeError):
        context.neutral["knife"] = "spoon"  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        context.name = "other"  # type: ignore[misc]


def test_a_suggested_threshold_is_one_that_a_plan_can_have() -> None:
    with pytest.raises(InvalidValue, match=r"context tau: 0\.96.*0 to 0\.95"):
        SafetyContext(**TEXTS, tau=0.96)
    assert SafetyPlan(tau=SafetyContext(**TEXTS, tau=0.95).tau or 0.0).tau == 0.95
