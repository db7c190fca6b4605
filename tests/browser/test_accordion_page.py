"""The accordion on the page: open, choose, generate, paste, switch off."""

from __future__ import annotations

import pytest
from browser import Seen, Site, named, windows


@pytest.fixture(scope="module", params=windows((1400, "light"), (400, "dark"), bare=1), ids=named)
def seen(site: Site, request: pytest.FixtureRequest) -> Seen:
    width, theme = request.param
    return site.play("accordion", width, theme)


def test_it_starts_off_and_closed(seen: Seen) -> None:
    assert seen["startsOff"]
    assert seen["startsClosed"]


def test_no_event_of_gradio_s_is_needed_to_load_it(seen: Seen) -> None:
    """Each would make the browser go through the whole page several times."""
    assert seen["askedAtFirst"] == []


def test_opening_ticks_it_and_the_summary_follows(seen: Seen) -> None:
    assert seen["ticked"]
    assert "Violence" in seen["summary"]
    assert "80%" in seen["summary"]
    assert seen["sticksOut"] == []


def test_the_guarded_picture_says_so(seen: Seen) -> None:
    assert "SafeGen weight: 0.8" in seen["guarded"]
    assert "SafeGen context: violence" in seen["guarded"]
    assert "SafeGen" not in seen["plain"]


def test_pasting_restores_every_control(seen: Seen) -> None:
    assert seen["pasted"]["enabled"]
    assert seen["pasted"]["context"] == "violence"
    assert float(seen["pasted"]["weight"]) == 0.8
    assert seen["pasted"]["prompt"].startswith("a bloody red ball")


def test_a_paste_asks_the_server_once_for_all_controls(seen: Seen) -> None:
    assert 1 <= seen["answers"] <= 2, "two where the page is slow, but not one for each control"


def test_pasting_a_plain_picture_switches_off(seen: Seen) -> None:
    assert not seen["enabledAfterPlain"]
    assert seen["off"] == seen["plain"]


def test_no_error_of_ours_on_the_page(seen: Seen) -> None:
    assert seen.ours() == []
