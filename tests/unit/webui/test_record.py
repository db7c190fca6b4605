"""The record of the last run, without a host."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest

from safegen.errors import GuardFailure, InvalidValue
from safegen.plan import SafetyPlan
from safegen.webui import record
from safegen.webui.record import Counts, Picture, Record


class Processing:
    """As much of the host's object as a record asks for."""


P = Processing()


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    record.clear()


def made(plan: SafetyPlan | None = None, guarded: int = 0, **more: Any) -> Record:
    found = Record(P, "txt2img", plan or SafetyPlan(), **more)
    found.count(Counts(calls=4, guarded=guarded))
    return found


def test_nothing_is_there_at_first() -> None:
    assert record.last_run() is None
    assert record.last_error() is None
    assert record.of(P) is None


def test_it_belongs_to_its_processing_object_and_to_no_copy() -> None:
    p = Processing()
    setattr(p, record.ATTRIBUTE, Record(p, "txt2img", None))
    assert record.of(p) is getattr(p, record.ATTRIBUTE)
    assert record.of(copy.copy(p)) is None


def test_an_error_survives_good_runs() -> None:
    failed, good = made(guarded=3), made(guarded=3)
    failed.fail(GuardFailure("it went wrong"))
    failed.fail(GuardFailure("later, because of the first"))
    failed.publish()
    good.publish()
    assert record.last_run() is good
    assert record.last_error() is failed
    assert failed.outcome == "failed"
    assert failed.message == "it went wrong"
    assert good.outcome == "guarded"


def test_nothing_guarded_is_benign_and_enforcement_is_said() -> None:
    found = made(notes=["weight 0.1 became 0.5", "weight 0.1 became 0.5"])
    assert found.outcome == "benign"
    assert found.message == "weight 0.1 became 0.5"
    assert found.rows == 2.0


@pytest.mark.parametrize("plan", [SafetyPlan(enabled=False), SafetyPlan(weight=0.0)])
def test_off_is_off(plan: SafetyPlan) -> None:
    assert Record(P, "txt2img", plan).outcome == "off"


def test_rows_are_the_mean_over_pictures_and_calls() -> None:
    found = Record(P, "txt2img", SafetyPlan())
    found.count(Counts(pictures=20, own_rows=10))  # ten calls, two pictures, one of them guarded
    assert found.rows == 2.5
    found.count(Counts(pictures=20))
    assert found.rows == 2.25


def test_pictures_are_told_in_their_order() -> None:
    found = Record(P, "txt2img", SafetyPlan(evidence=True))
    found.pictures[2] = Picture("hate", "third")
    found.pictures[0] = Picture(None, "first", evidence="seen")
    assert found.contexts == (None, "hate")
    assert found.why == ("first", "third")
    assert found.evidence == ("seen", "")
    assert found.disagreement == ()


def test_what_a_nested_run_does_counts_for_the_run_around_it() -> None:
    outer = made()
    inner = made(around=outer, guarded=4)
    inner.pictures[0] = Picture("violence", "")
    inner.fail(GuardFailure("the inner one"))
    inner.publish()
    assert record.last_run() is outer
    assert outer.outcome == "failed"
    assert outer.counts.guarded == 4
    assert outer.pictures == {}


SECRET = "what only the user may read"


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (InvalidValue("safe_text", SECRET, "a text"), "Custom safe text"),
        (RuntimeError(SECRET), "The WebUI itself stopped."),
    ],
)
def test_it_keeps_no_text_of_the_user_s(error: Exception, word: str) -> None:
    plan = SafetyPlan(context="custom", safe_text=SECRET, unsafe_text=SECRET)
    found = Record(P, "txt2img", plan)
    found.fail(error)
    assert word in found.message
    assert SECRET not in repr(vars(found))
    try:
        raise GuardFailure(f"SafeGen stopped this picture: {SECRET}") from ValueError(SECRET)
    except GuardFailure as caused:
        found = Record(P, "txt2img", plan)
        found.fail(caused)
    assert SECRET not in repr(vars(found))
    assert found.message == "SafeGen stopped this picture. The log says why."


def test_maps_are_asked_for_in_one_thread_only() -> None:
    seen: list[bool] = []
    assert not record.maps_wanted()
    with record.keeping_maps():
        assert record.maps_wanted()
        other = threading.Thread(target=lambda: seen.append(record.maps_wanted()))
        other.start()
        other.join()
    assert seen == [False]
    assert not record.maps_wanted()
    with pytest.raises(RuntimeError), record.keeping_maps():
        raise RuntimeError
    assert not record.maps_wanted()
