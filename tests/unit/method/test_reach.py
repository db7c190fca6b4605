"""A run without a single guarded call is the plain picture: refused, by plan and by session."""

from __future__ import annotations

import pytest
import torch
from plans import blending

from safegen.errors import GuardFailure, InvalidValue
from safegen.method.schedule import check_reach, weight_at
from safegen.method.session import Session


@pytest.mark.parametrize("calls", [1, 2, 5, 20])
@pytest.mark.parametrize("tau", [0.0, 0.1, 0.5, 0.94])
@pytest.mark.parametrize("curve", ["constant", "linear"])
def test_refused_exactly_if_nothing_would_be_blended(calls: int, tau: float, curve: str) -> None:
    plan = blending(tau=tau, curve=curve)
    if any(weight_at(plan, i / calls) > 0 for i in range(calls)):
        check_reach(plan, calls)
    else:
        with pytest.raises(InvalidValue, match="nothing would be guarded"):
            check_reach(plan, calls)


def test_the_field_at_fault_is_named() -> None:
    with pytest.raises(InvalidValue) as caught:
        check_reach(blending(tau=0.1), 1)
    assert caught.value.field == "tau"
    with pytest.raises(InvalidValue) as caught:
        check_reach(blending(tau=0.1, end=0.15), 5)
    assert caught.value.field == "end"


def test_a_plan_that_is_off_reaches_nothing_and_may() -> None:
    check_reach(blending(enabled=False), 1)
    check_reach(blending(weight=0.0), 1)


@pytest.mark.parametrize("guarded", [[True], [False, True]])
def test_a_session_does_not_pass_what_it_never_blended(guarded: list[bool]) -> None:
    session = Session(blending(tau=0.5), guarded)
    rows = torch.zeros(len(guarded), 4, 8, 8)
    session.combine(session.begin(0.0), rows)
    assert not session.begun
    with pytest.raises(GuardFailure, match="none came within the guarded span"):
        session.finish()


def test_a_harmless_batch_passes() -> None:
    session = Session(blending(tau=0.5), [False])
    session.combine(session.begin(0.0), torch.zeros(1, 4, 8, 8))
    assert session.finish(1).needed == 0
