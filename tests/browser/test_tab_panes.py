"""The SafeGen tab's panes on the page: contexts, checking prompts, defaults, status."""

from __future__ import annotations

import pytest
from browser import Seen, Site, named, windows

from safegen.choice import Chooser
from safegen.plan import SafetyPlan

WIDE, PHONE = (1400, "light"), (400, "dark")


@pytest.fixture(scope="module", params=windows(WIDE, PHONE, bare=1), ids=named)
def contexts(site: Site, request: pytest.FixtureRequest) -> Seen:
    return site.play("contexts", *request.param)


@pytest.fixture(scope="module", params=windows(PHONE, WIDE, bare=1), ids=named)
def check(site: Site, request: pytest.FixtureRequest) -> Seen:
    return site.play("check", *request.param)


@pytest.fixture(scope="module", params=windows(WIDE, PHONE, bare=1), ids=named)
def status(site: Site, request: pytest.FixtureRequest) -> Seen:
    return site.play("status", *request.param)


@pytest.fixture(
    scope="module",
    params=windows(PHONE, WIDE, (400, "light"), (1400, "dark"), bare=2),
    ids=named,
)
def look(site: Site, request: pytest.FixtureRequest) -> Seen:
    return site.play("panes_look", *request.param)


# ---------------------------------------------------------------------- contexts


def test_built_in_contexts_are_found_and_read(contexts: Seen) -> None:
    assert "Violence" in contexts["heading"]
    assert contexts["readOnly"]
    assert "Harassment" in contexts["searched"]
    assert "Violence" not in contexts["searched"]


def test_the_preview_shows_what_is_not_saved(contexts: Seen) -> None:
    assert "prince" in contexts["preview"]
    assert "banner" in contexts["preview"]


def test_switching_pane_context_and_tab_loses_nothing(contexts: Seen) -> None:
    written = "a quiet garden in the morning"
    assert contexts["afterPane"] == written
    assert contexts["other"] != written
    assert contexts["afterSwitch"] == written
    assert "Calm" not in contexts["byKeyboard"]


def test_saving_is_refused_by_field_and_then_done(contexts: Seen) -> None:
    assert "Suggested safety weight: '2' is not allowed" in contexts["refusal"]
    assert contexts["saved"].startswith("calm-")


def test_the_accordion_s_choice_follows(contexts: Seen) -> None:
    name = contexts["saved"]
    assert name not in contexts["offeredBefore"]
    assert name in contexts["offeredAfter"]
    assert contexts["chosenAfterRename"] == f"{name}-renamed"
    assert contexts["chosenAfterDelete"] == "auto"
    assert f"{name}-renamed" in contexts["offeredAfterReload"]


def test_discarding_asks(contexts: Seen) -> None:
    assert contexts["kept"] == "only a thought"
    assert contexts["discarded"].startswith("Keeps blood")


def test_what_is_exported_is_imported(contexts: Seen) -> None:
    assert contexts["exported"]["file"] == f"{contexts['saved']}-renamed.json"
    data = contexts["exported"]["data"]
    assert (data["weight"], data["neutral"]["frog"]) == (0.5, "prince")
    assert contexts["imported"] == data["safe_text"] == "a quiet garden in the morning"
    assert "safe_text" in contexts["badImport"]
    assert [label for label in contexts["listAfterReload"] if "●" in label] == []


def test_learning_shows_progress_and_its_result(contexts: Seen) -> None:
    assert contexts["steps"] > 0
    assert "learned from" in contexts["learnedMessage"]
    assert "Nothing yet" not in contexts["learned"]


def test_no_error_of_ours_with_contexts(contexts: Seen) -> None:
    assert contexts.ours() == []


# ---------------------------------------------------------------------- checking


def test_one_prompt_in_full(check: Seen) -> None:
    assert "Violence scores" in check["one"]
    assert "counts as unsafe from 0.60" in check["one"]
    assert any(mark.startswith("bloody") for mark in check["marks"])
    prompt = "a bloody knight with a sword"
    rewritten = Chooser.default().choose(prompt, SafetyPlan()).conditioning.text
    new = [word for word in rewritten.split() if word not in prompt.split()]
    assert new
    assert check["inserted"] == new
    beyond = {bar["category"] for bar in check["bars"] if bar["beyond"]}
    assert beyond == {"Violence"}
    assert len(check["bars"]) >= 7


def test_a_harmless_prompt_by_keyboard(check: Seen) -> None:
    assert "Auto takes: nothing" in check["harmless"]


def test_many_prompts(check: Seen) -> None:
    assert "Unsafe: 2 of 10" in check["many"]
    assert (check["rows"], check["cards"]) == (10, 5)


def test_a_hostile_prompt_is_text(check: Seen) -> None:
    assert "<img src=x" in check["many"]
    assert check["elements"] == 0
    assert not check["hacked"]


def test_threshold_and_nothing(check: Seen) -> None:
    assert "from 0.01" in check["low"]
    assert "Write a prompt." in check["nothing"]
    assert check.ours() == []


# ---------------------------------------------------------------------- defaults


def test_the_defaults_are_kept_or_refused(site: Site) -> None:
    seen = site.play("defaults", *PHONE)
    assert seen["dropdown"] != "none", "the contexts look like a text field"
    assert "must be below Guard until" in seen["said"]
    kept = {"weight": "0.8", "curve": "cosine", "hires": False, "context": "auto"}
    assert seen["kept"] == kept
    assert seen.ours() == []


# ---------------------------------------------------------------------- status


def test_the_last_generation_s_verdict(status: Seen) -> None:
    assert "4 of 4 that had to be; the model was called 4 times" in status["guarded"]
    assert "Violence" in status["guarded"]
    assert "SafeGen was off" in status["off"]


def test_what_is_enforced_and_what_is_guarded(status: Seen) -> None:
    assert "Whoever makes a picture decides" in status["before"]
    assert "Stable Diffusion 1" in status["before"]
    assert "Independent streams are refused" in status["before"]
    assert status.ours() == []


# ---------------------------------------------------------------------- every pane


@pytest.mark.parametrize("pane", ["contexts", "contexts-new", "check", "defaults", "status"])
def test_it_fits_and_can_be_read(look: Seen, pane: str) -> None:
    assert look[pane] == {"sticksOut": [], "scrolls": False, "unnamed": [], "faint": []}


def test_no_error_of_ours_in_any_window(look: Seen) -> None:
    assert look.ours() == []
