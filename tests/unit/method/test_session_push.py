"""A session that pushes: rows that must be there, and failing closed where they are not."""

from __future__ import annotations

import pytest
import torch
from plans import blending

from safegen.errors import GuardFailure
from safegen.method.session import Session
from safegen.plan import SafetyPlan

SHAPE = (2, 4, 6, 6)
PLAN = blending(weight=1.0, tau=0.0, push=2.0)
ROWS = {"unsafe": torch.ones(SHAPE), "uncond": torch.zeros(SHAPE), "scale": 4.0}


def session(plan: SafetyPlan = PLAN) -> Session:
    return Session(plan, [True, True], [True, True])


@pytest.mark.parametrize("missing", ["unsafe", "uncond"])
def test_a_missing_row_stops_the_picture(missing: str) -> None:
    guard = session()
    rows = {name: row for name, row in ROWS.items() if name != missing}
    with pytest.raises(GuardFailure, match="unsafe reconstruction is missing"):
        guard.combine(guard.begin(0.0), torch.zeros(SHAPE), torch.zeros(SHAPE), **rows)  # type: ignore[arg-type]
    with pytest.raises(GuardFailure):
        guard.begin(0.5)


def test_rows_that_came_uncalled_for_stop_the_picture() -> None:
    guard = Session(PLAN, [True, True])  # no context has an unsafe text
    with pytest.raises(GuardFailure, match="none is due"):
        guard.combine(guard.begin(0.0), torch.zeros(SHAPE), torch.zeros(SHAPE), **ROWS)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_unsafe_row_that_is_not_finite_stops_the_picture(bad: float) -> None:
    guard = session()
    unsafe = torch.ones(SHAPE)
    unsafe[1, 0, 0, 0] = bad
    with pytest.raises(GuardFailure, match="not finite"):
        guard.combine(
            guard.begin(0.0),
            torch.zeros(SHAPE),
            torch.zeros(SHAPE),
            unsafe=unsafe,
            uncond=torch.zeros(SHAPE),
        )


@pytest.mark.parametrize("scale", [0.0, -3.0, float("nan")])
def test_a_scale_at_which_nothing_can_be_pushed_stops_the_picture(scale: float) -> None:
    guard = session()
    with pytest.raises(GuardFailure, match="scale"):
        guard.combine(
            guard.begin(0.0),
            torch.zeros(SHAPE),
            torch.zeros(SHAPE),
            **{**ROWS, "scale": scale},  # type: ignore[arg-type]
        )


def test_the_push_is_reused_between_evaluations() -> None:
    guard = session(PLAN.replace(refresh=2))
    original = torch.zeros(SHAPE)
    first = guard.combine(guard.begin(0.0), original, torch.full(SHAPE, 3.0), **ROWS)  # type: ignore[arg-type]
    assert torch.equal(first, torch.full(SHAPE, 2.5))  # 3 - 2 / 4 · (1 - 0)
    call = guard.begin(0.1)
    assert not call.evaluate
    assert not call.push
    assert torch.equal(guard.combine(call, original + 1), first + 1)


def test_outside_the_guarded_span_nothing_is_asked_for() -> None:
    guard = session(PLAN.replace(tau=0.5))
    call = guard.begin(0.0)
    assert not call.push
    assert call.pushes == (0.0, 0.0)


def test_the_images_with_an_unsafe_text_must_be_as_many_as_the_batch() -> None:
    with pytest.raises(ValueError, match="has_unsafe"):
        Session(PLAN, [True, True], [True])
