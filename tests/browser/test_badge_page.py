"""The badge near Generate: at a glance, by keyboard, and once after a reload."""

from __future__ import annotations

import pytest
from browser import Seen, Site


@pytest.fixture(scope="module", params=[(1400, "dark"), (400, "light")], ids=["wide", "phone"])
def seen(site: Site, request: pytest.FixtureRequest) -> Seen:
    width, theme = request.param
    return site.play("badge", width, theme, reload=not site.is_bare)


def test_it_follows_the_accordion(seen: Seen) -> None:
    assert seen["first"]["text"] == "SafeGen off"
    assert seen["auto"]["text"] == "SafeGen Auto 70%"
    assert seen["on"]["text"] == "SafeGen on violence 70%"
    assert seen["off"]["state"] == "off"
    assert seen["other"]["state"] == "off"
    assert seen["spoken"] == "SafeGen is off."
    assert seen["sticksOut"] == []


def test_enter_opens_the_accordion_and_ticks_nothing(seen: Seen) -> None:
    assert not seen["openedTicked"]
    assert seen["inSight"]


def test_enter_puts_the_focus_on_the_tick(seen: Seen, site: Site) -> None:
    if site.is_bare:
        pytest.skip("the box in the accordion's title is the WebUI's own: set SD_WEBUI_DIR")
    assert seen["focus"] == "script_txt2img_safegen_enable-visible-checkbox"


def test_a_failure_shows_until_the_next_generation(seen: Seen) -> None:
    assert seen["failed"]["text"] == "SafeGen failed"
    assert "tau" in seen["message"]
    assert seen["cleared"]["state"] == "on"


def test_one_badge_and_one_tab_also_after_a_reload(seen: Seen) -> None:
    """The bare page has no "Reload UI": there it is the page as first loaded."""
    assert seen["badges"] == 2  # one in txt2img, one in img2img
    assert seen["accordions"] == 1
    assert seen["tabs"] == 1
    assert seen["panes"][0] == "Compare"


def test_no_error_of_ours_with_the_badge(seen: Seen) -> None:
    assert seen.ours() == []


def test_enforcement_shows_in_the_badge(enforced_site: Site) -> None:
    seen = enforced_site.play("badge", enforced=True)
    assert seen["first"]["state"] == "enforced"
    assert seen["first"]["text"].startswith("SafeGen enforced")
    assert "enforces" in seen["spoken"]
