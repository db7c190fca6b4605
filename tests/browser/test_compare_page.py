"""The comparison on the page: slider, strip, map, original, interrupt, enforcement."""

from __future__ import annotations

import pytest
from browser import Seen, Site, named, windows

from safegen.plan import SafetyPlan


@pytest.fixture(
    scope="module",
    params=windows((400, "dark"), (1400, "light"), (400, "light"), (1400, "dark"), bare=2),
    ids=named,
)
def seen(site: Site, request: pytest.FixtureRequest) -> Seen:
    width, theme = request.param
    return site.play("compare", width, theme)


def test_it_begins_with_weights_and_nothing_to_send(seen: Seen) -> None:
    assert seen["weights"] == "0, 0.25, 0.5, 0.7, 1"
    assert seen["sendsNothingYet"]


def test_a_weight_that_is_not_allowed_is_named(seen: Seen) -> None:
    assert "1.5" in seen["refusal"]
    assert "0 to 1" in seen["refusal"]


def test_a_weight_that_is_not_allowed_leaves_the_last_comparison(seen: Seen) -> None:
    assert seen["keptAfterRefusal"] == 3


def test_one_click_makes_every_weight_from_one_seed(seen: Seen) -> None:
    thumbs = {thumb["weight"]: thumb for thumb in seen["thumbs"]}
    assert list(thumbs) == ["0", "0.5", "1"]
    for weight, thumb in thumbs.items():
        assert "Seed: 7," in thumb["infotext"]
        written = f"SafeGen weight: {weight}" in thumb["infotext"]
        assert written is (float(weight) != SafetyPlan().weight)
        assert thumb["drawn"] == 128
    assert seen["progress"]
    assert "not saved" in seen["message"]


def test_the_original_is_blurred_until_asked_for(seen: Seen) -> None:
    assert seen["blurredFirst"] == [True, True]
    assert seen["blurredAfter"] == [False, False]


def test_the_slider_follows_mouse_touch_and_keys(seen: Seen) -> None:
    assert seen["byMouse"] == {"value": 25, "text": "25%", "shown": 25}
    if "byTouch" in seen.values:
        assert seen["byTouch"]["value"] == seen["byTouch"]["shown"] == 70
    assert seen["home"]["value"] == seen["home"]["shown"] == 0
    assert seen["byKeys"]["value"] == 12
    assert seen["end"]["shown"] == 100


def test_the_strip_chooses_what_is_compared(seen: Seen) -> None:
    assert [t["checked"] for t in seen["thumbs"]] == ["false", "false", "true"]
    assert seen["chosenByKey"] == "0"  # round to the first
    assert seen["chosenByClick"] == "Weight 0.5"


def test_the_map_shows_where_the_streams_disagree(seen: Seen) -> None:
    assert [bool(thumb["map"]) for thumb in seen["thumbs"]] == [False, True, True]
    assert seen["mapShown"]
    assert seen["mapOverBoth"]
    assert seen["tickColour"] not in ("rgb(255, 255, 255)", "rgba(0, 0, 0, 0)")


def test_sending_sets_prompt_seed_and_accordion(seen: Seen) -> None:
    assert seen["sent"] == {
        "prompt": "a bloody red ball on the beach, on the left",
        "seed": "7",
        "enabled": True,
        "weight": "0.5",
        "context": "auto",
    }


def test_nothing_is_wider_than_the_window(seen: Seen) -> None:
    assert seen["sticksOut"] == []


def test_no_error_of_ours_while_comparing(seen: Seen) -> None:
    assert seen.ours() == []


@pytest.fixture(scope="module")
def trouble(site: Site) -> Seen:
    if site.is_bare:
        pytest.skip("pictures are made too quickly there to interrupt one: set SD_WEBUI_DIR")
    return site.play("compare_trouble")


def test_a_failing_weight_says_why_and_the_others_stay(trouble: Seen) -> None:
    failing = trouble["failing"]
    assert failing["weights"] == ["0"]
    assert len(failing["failed"]) == 1
    assert "nothing would be guarded" in failing["failed"][0]
    assert "Weight 1" in failing["message"]


def test_an_interrupt_keeps_what_is_there_and_names_what_is_missing(trouble: Seen) -> None:
    interrupted = trouble["interrupted"]
    made, all_of_them = interrupted["weights"], ["0", "0.5", "0.7", "1"]
    assert 1 <= len(made) < 4
    assert made == all_of_them[: len(made)]
    missing = ", ".join(all_of_them[len(made) :])
    assert f"nothing at weight {missing}." in interrupted["message"]
    assert trouble["interruptGone"]
    assert trouble["next"]["weights"] == ["0.5", "1"]
    assert trouble["next"]["canSend"]


def test_a_prompt_of_its_own_takes_the_place_of_txt2img_s(trouble: Seen) -> None:
    assert trouble["prompt"].startswith("a bloody red ball on the beach\n")
    assert trouble.ours() == []


def test_enforced_the_original_is_not_made(enforced_site: Site) -> None:
    seen = enforced_site.play("compare_enforced")
    assert "the original is not made" in seen["introduction"]
    assert seen["weights"] == "0.7, 1"
    assert "not made: weight 0, 0.3" in seen["message"]
    assert seen["made"] == ["0.7", "1"]
    assert all("SafeGen enforced: basic" in text for text in seen["infotexts"])
    assert seen["before"] == "Weight 0.7"
    assert seen["reveals"] == seen["veiled"] == 0
    assert "not made: weight 0, 0.1" in seen["nothing"]["message"]
    assert seen["nothing"]["thumbs"] == 0
    assert not seen["nothing"]["canSend"]
    assert seen.ours() == []
