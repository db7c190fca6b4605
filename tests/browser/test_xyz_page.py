"""A grid along SafeGen's axes, as a person sets it up."""

from __future__ import annotations

import pytest
from browser import Seen, Site


@pytest.fixture(scope="module")
def seen(site: Site) -> Seen:
    if site.is_bare:
        pytest.skip("it has no X/Y/Z plot: set SD_WEBUI_DIR")
    return site.play("xyz")


def test_what_would_change_nothing_is_refused(seen: Seen) -> None:
    assert "SafeGen is off" in seen["off"]
    assert "Tick it first" in seen["off"]


@pytest.mark.parametrize(("name", "value"), [("word", "much"), ("large", "1.5")])
def test_a_wrong_value_is_named_with_what_is_allowed(seen: Seen, name: str, value: str) -> None:
    said = f"SafeGen: Safety weight: '{value}' is not allowed. Allowed: a number from 0 to 1."
    assert seen[name].startswith(said)


def test_a_cell_that_can_t_be_made_stops_the_grid_before_its_first_picture(seen: Seen) -> None:
    assert "Fill in Custom safe text" in seen["cell"]
    assert "Safety context: custom" in seen["cell"]
    assert seen["nothing"] is None


def test_a_grid_has_its_pictures_and_a_legend(seen: Seen) -> None:
    assert "SafeGen" not in seen["made"]
    grid = seen["grid"]
    assert grid["width"] > 2 * 64, "no legend beside it"
    assert grid["height"] > 2 * 64, "no legend above it"
    assert grid["black"] < 0.2
    assert "SafeGen" in seen["info"]
    assert seen.ours() == []
