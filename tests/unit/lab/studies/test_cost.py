"""What SafeGen costs: measured, not assumed."""

from __future__ import annotations

import sys

import pytest

from safegen.lab.studies import cost
from safegen.lab.studies.cost import Cost, Model, measure, table

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a peak is begun anew on Linux")
EMBEDDED = Model("embedded", "", "float32", steps=2, size=96)


def test_off_is_the_plain_picture_and_a_guarded_one_is_not() -> None:
    off, guarded = (measure(way, EMBEDDED, runs=2) for way in ("weight 0", "Auto, guarded"))
    assert off.largest == 0
    assert guarded.largest > 50
    assert len(off.ratios) == len(guarded.ratios) == 2


def test_the_peak_is_that_of_the_pictures_alone() -> None:
    """What was needed before them, to load a model, is not counted."""
    measure("plain", EMBEDDED, runs=1)
    ballast = b"\1" * 2**30
    high = cost.peak()
    del ballast
    assert measure("plain", EMBEDDED, runs=1).peak < high - 0.5


def test_the_table_says_least_and_most() -> None:
    costs = {"Auto, guarded": Cost((1.2, 1.6, 1.4), 2.0, 3.456, 17.2), "off": Cost((1,), 2, 3, 0)}
    assert table(costs).splitlines()[2:] == [
        "| Auto, guarded | 1.40 (1.20 to 1.60) | 3.46 GiB | 17 of 255 |",
        "| off | 1.00 (1.00 to 1.00) | 3.00 GiB | nothing |",
    ]
