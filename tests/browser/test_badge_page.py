"""The badge near Generate: at a glance, by keyboard, and once after a reload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from browser import REFUSAL, Seen, Site, named, windows

from safegen.plan import SafetyPlan


@pytest.fixture(scope="module", params=windows((400, "light"), (1400, "dark"), bare=1), ids=named)
def seen(site: Site, request: pytest.FixtureRequest) -> Seen:
    width, theme = request.param
    return site.play("badge", width, theme, reload=not site.is_bare)


def test_it_follows_the_accordion(seen: Seen) -> None:
    assert seen["first"]["text"] == "SafeGen off"
    weight = f"{SafetyPlan().weight:.0%}"
    assert seen["auto"]["text"] == f"SafeGen Auto {weight}"
    assert seen["on"]["text"] == f"SafeGen on Violence {weight}"
    assert seen["off"]["state"] == "off"
    assert seen["other"]["state"] == "off"
    assert seen["spoken"].startswith("SafeGen is off.")
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
    assert "nothing would be guarded" in seen["message"]
    assert "Error" not in seen["message"]
    assert seen["cleared"]["state"] == "on"


def test_correcting_the_values_ends_the_failure(seen: Seen) -> None:
    assert seen["corrected"]["state"] == "on"


def test_it_never_says_on_where_nothing_is_guarded(seen: Seen) -> None:
    assert seen["zero"]["text"] == "SafeGen off weight 0"
    assert seen["invalid"]["text"] == "SafeGen can't run"
    titles = [seen[name]["title"] for name in ("first", "zero", "auto", "on", "invalid", "failed")]
    assert len(set(titles)) == len(titles)


def test_what_must_be_fitted_first_is_fitted_there(seen: Seen) -> None:
    if seen["promise"]:  # in the first window; the other finds it fitted
        assert seen["unfitted"]["text"] == "SafeGen can't run"
        assert "must first be fitted" in seen["promise"]
        assert seen["mendFill"] == "rgb(29, 78, 216)", "it looks like text and not like a button"
    assert seen["mendGone"]


def test_watch_has_its_button_there_too(seen: Seen, site: Site) -> None:
    if site.is_bare:
        pytest.skip("its model can't be asked what it would draw: set SD_WEBUI_DIR")
    assert "When it acts: watch must first be fitted" in seen["unwatched"]
    assert seen["mendsWatch"] == "Fit it now"


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
    assert "enforced" in seen["spoken"]
    if not enforced_site.is_bare:
        assert seen["tick"] == {"disabled": True, "ticked": True}
        assert "enforced" in seen["reason"]


def test_a_broken_policy_shows_as_blocked(start: Callable[..., Site], tmp_path: Path) -> None:
    policy = tmp_path / "school.json"
    policy.write_text('{"minimum": {"weigth": 0.8}}')
    seen = start("--safegen-enforce", str(policy)).play("badge", enforced=True)
    assert seen["first"]["text"] == "SafeGen blocked"
    assert seen["summary"].startswith("Nothing is generated here until SafeGen can work.")
    assert "weigth" in seen["summary"]
    assert "Did you mean weight?" in seen["summary"]


@pytest.mark.parametrize(("width", "theme"), windows((400, "dark"), (1400, "light"), bare=1))
def test_a_child_is_told_kindly(enforced_site: Site, width: int, theme: str) -> None:
    seen = enforced_site.play("refusal", width, theme)
    assert seen["shown"].split("\n")[0] == f"SafeGen: {REFUSAL}"
    assert "CFG" not in seen["shown"]
    assert "Raise the CFG scale" in seen["opened"]
    assert seen["sticksOut"] == []
    assert "it knows none of the 3 words" in seen["unknown"]
    assert seen.ours() == []
