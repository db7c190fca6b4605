"""The record of the last run, without a host."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from safegen.webui import last


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    last.clear()


def made(**values: object) -> last.LastRun:
    tally = last.Tally("txt2img", {"weight": 0.7})
    for name, value in values.items():
        setattr(tally, name, value)
    return tally.close()


def test_nothing_is_there_at_first() -> None:
    assert last.last_run() is None
    assert last.last_error() is None


def test_an_error_survives_good_runs() -> None:
    failed = made(error="it went wrong", guarded=3)
    last.record(failed)
    good = made(guarded=3)
    last.record(good)
    assert last.last_run() is good
    assert last.last_error() is failed
    assert failed.outcome == "failed"
    assert failed.message == "it went wrong"
    assert good.outcome == "guarded"


def test_nothing_guarded_is_benign_and_enforcement_is_said() -> None:
    record = made(notes=["weight 0.1 became 0.5", "weight 0.1 became 0.5"])
    assert record.outcome == "benign"
    assert record.message == "weight 0.1 became 0.5"
    assert record.rows == 2.0


def test_rows_are_the_mean_over_pictures_and_calls() -> None:
    tally = last.Tally("txt2img", {})
    tally.count(images=20, extra=10)  # ten calls on two pictures, one of them guarded
    assert tally.close().rows == 2.5
    tally.count(images=20, extra=0)
    assert tally.close().rows == 2.25


def test_maps_are_asked_for_in_one_thread_only() -> None:
    seen: list[bool] = []
    assert not last.maps_wanted()
    with last.keeping_maps():
        assert last.maps_wanted()
        other = threading.Thread(target=lambda: seen.append(last.maps_wanted()))
        other.start()
        other.join()
    assert seen == [False]
    assert not last.maps_wanted()
    with pytest.raises(RuntimeError), last.keeping_maps():
        raise RuntimeError
    assert not last.maps_wanted()


def test_a_record_does_not_change_with_the_run() -> None:
    tally = last.Tally("txt2img", {"weight": 0.7})
    record = tally.close()
    tally.contexts.append("violence")
    tally.disagreement.append(np.zeros((2, 2), np.float32))
    tally.settings["weight"] = 0.1
    assert record.contexts == ()
    assert record.disagreement == ()
    assert record.settings == {"weight": 0.7}
