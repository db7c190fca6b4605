"""How things stand, as badge and accordion say it: never more than is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from driver import HAZARD, Host

from safegen.errors import SafeGenError
from safegen.plan import SETTINGS, SafetyPlan


def stands(**values: Any) -> Any:
    """How things stand with these values of the controls."""
    from safegen.webui import standing

    return standing.of(list({**SafetyPlan().to_dict(), **values}.values()))


@pytest.mark.parametrize(
    ("values", "state", "label"),
    [
        ({"enabled": False}, "off", ""),
        ({"weight": 0.0}, "zero", "weight 0"),
        ({"weight": 0.5}, "auto", "50%"),
        ({"context": "violence", "mode": "always", "weight": 0.8}, "on", "Violence 80%"),
        ({"tau": 0.9, "end": 0.5}, "invalid", ""),
        ({"context": "custom"}, "invalid", ""),
        ({"strategy": "away", "push": 0.0}, "invalid", ""),
    ],
)
def test_each_state_is_told(
    own_folder: Path, values: dict[str, Any], state: str, label: str
) -> None:
    found = stands(**values)
    assert (found.state, found.label) == (state, label)
    assert f'data-safegen-state="{state}"' in found.html()
    assert not found.enforced


def test_what_is_wrong_is_said_by_labels_and_what_to_do(own_folder: Path) -> None:
    assert "Fill in Custom safe text, or choose another context." in stands(context="custom").text
    said = stands(tau=0.9, end=0.5).text
    assert f"{SETTINGS['tau'].label} (0.9) must be below {SETTINGS['end'].label} (0.5)." in said


def test_it_is_the_prompt_that_is_called_unsafe_and_not_the_context(own_folder: Path) -> None:
    said = stands(context="violence", mode="auto").text
    assert "Auto checks each prompt. If it is unsafe, " in said
    assert said.startswith("<p>The context is <b>Violence</b>.")


def test_a_word_list_that_can_t_be_read_is_told_before_the_first_picture(
    host: Host, own_folder: Path, tmp_path: Path
) -> None:
    host.shared.opts.data["safegen_lexicon_file"] = str(tmp_path / "school.json")
    found = stands()
    assert found.state == "invalid"
    assert "The word list school.json cannot be read" in found.text
    assert str(tmp_path) not in found.text
    assert stands(enabled=False).state == "off"
    host.make(HAZARD, {}).refused("SafeGen", "The word list school.json cannot be read")


def test_what_settings_enforce_is_told_at_once(host: Host, own_folder: Path) -> None:
    """Without loading the page again, and back."""
    off = {"enabled": False}
    host.shared.opts.data["safegen_enforce"] = "basic"
    found = stands(**off)
    assert (found.state, found.enforced) == ("enforced", True)
    assert found.label == f"{SafetyPlan().weight:.0%}"
    assert "level basic" in found.text
    assert "enabled" not in found.text
    host.shared.opts.data["safegen_enforce"] = "off"
    assert stands(**off).state == "off"


def test_a_policy_that_cannot_be_read_blocks_and_says_what_is_wrong(
    host: Host, own_folder: Path, tmp_path: Path
) -> None:
    policy = tmp_path / "school.json"
    policy.write_text('{"minimum": {"weigth": 0.8}}')
    host.shared.cmd_opts.safegen_enforce = str(policy)
    found = stands(enabled=False)
    assert (found.state, found.label) == ("blocked", "")
    assert "Did you mean weight?" in found.text
    assert str(tmp_path) not in found.text, "where the operator's files are is nobody's business"
    host.make(HAZARD).refused("SafeGen", "Did you mean weight?")


def test_a_host_that_is_not_guarded_blocks_only_where_it_is_enforced(
    host: Host, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safegen.webui import host as asked

    monkeypatch.setattr(asked, "why_unsupported", lambda: "this is another host")
    assert stands(enabled=False).state == "off"
    assert stands().state == "invalid"
    host.shared.cmd_opts.safegen_enforce = "basic"
    assert stands(enabled=False).state == "blocked"


def test_what_is_learned_first_is_said_and_stands_in_no_ones_way(own_folder: Path) -> None:
    found = stands(strategy="direction", context="violence", mode="always")
    assert (found.state, found.mend) == ("on", None)
    assert "takes longer" in found.text
    assert "takes longer" not in stands(context="violence", mode="always").text


def test_a_probe_that_is_not_fitted_is_said_and_one_button_mends_it(own_folder: Path) -> None:
    from safegen.webui import mending

    named = {"detectors": ["lexicon", "probe"]}
    found = stands(**named)
    assert found.state == "invalid"
    assert found.mend.probe
    told: list[float] = []
    mending.make(found.mend, lambda share, what: told.append(share))
    assert told
    assert stands(**named).state == "auto"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SafeGenError("The disk is read-only"), "The disk is read-only."),
        (OSError(28, "No space left"), "It could not be made. The log says why."),
    ],
)
def test_what_could_not_be_fitted_is_told(
    demo: Any, own_folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    """Gradio would say "Error" and nothing else."""
    from window import Window

    from safegen.webui import mending

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(mending, "make", fail)
    window = Window(demo, str(own_folder))
    box = "script_txt2img_safegen_"
    window.set(f"{box}enable-checkbox", True)
    window.set(f"{box}detectors", ["lexicon", "probe"])
    window.follow()
    (what,) = re.findall("data-safegen-mend='(.*?)'", window.value(f"{box}summary"))
    assert said in window.fit(what)
    assert "safegen-mend" in window.value(f"{box}summary")  # it can be pressed again


def test_what_watches_is_fitted_by_a_button_too(
    demo: Any, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from window import Window

    from safegen.webui import mending

    made: list[Any] = []
    monkeypatch.setattr(mending, "make", lambda need, _tell: made.append(need))
    assert "It is fitted." in Window(demo, str(own_folder)).fit("watch")
    assert made == [mending.WATCH_MISSING]


def test_who_may_not_mend_it_is_sent_to_the_operator() -> None:
    from safegen.webui.mending import PROBE_MISSING

    assert "operator" in PROBE_MISSING.text(may=False)
    assert "press the button" in PROBE_MISSING.text(may=True)


def test_custom_texts_have_nothing_learned(own_folder: Path) -> None:
    found = stands(strategy="direction", context="custom", safe_text="a calm scene")
    assert (found.state, found.mend) == ("invalid", None)


@pytest.mark.parametrize(
    ("values", "times"),
    [
        ({"push": 0.0}, 1.5),
        ({"push": 0.0, "refresh": 2}, 1.25),
        ({"push": 1.0, "pushed": "always"}, 2.0),
        ({"push": 1.0}, 1.5),
        ({"push": 1.0, "strategy": "away"}, 1.5),
        ({"push": 0.0, "streams": "independent"}, 2.0),
    ],
)
def test_the_work_that_is_promised_is_the_work_that_is_done(
    host: Host, own_folder: Path, values: dict[str, Any], times: float
) -> None:
    from safegen.webui import record, standing

    plan = SafetyPlan(context="violence", tau=0.0, region="everywhere", **values)
    assert standing.work(plan) == times
    host.make(HAZARD, {**plan.to_dict(), "enabled": True})
    assert record.last_run().rows / 2 == pytest.approx(times)


def test_under_a_picture_enforcement_is_one_short_line(host: Host) -> None:
    host.shared.cmd_opts.safegen_enforce = "basic"
    lines = host.make(HAZARD, {}).comments.splitlines()
    assert "SafeGen: Enforced here (level basic)." in lines
    assert not any("at least" in line for line in lines)


def test_the_line_at_the_start_speaks_by_labels(host: Host) -> None:
    from safegen.webui import monitoring

    host.shared.opts.data["safegen_enforce"] = "strict"
    said = monitoring.line()
    assert "enforced by the settings page: level strict. " in said
    assert f"{SETTINGS['weight'].label}: always 1; " in said
    assert not any(sign in said for sign in ("tau", "dial", "=", "≤"))


def test_what_never_began_has_no_counts_on_the_status_page(host: Host) -> None:
    from safegen.webui import status

    host.shared.opts.data["safegen_enforce"] = "sctrict"
    host.make(HAZARD, {}).refused("SafeGen", "Did you mean strict?")
    assert [line.name for line in status.last_run()] == ["Finished", "Outcome", "Message"]


def test_choosing_watch_before_a_model_is_loaded_is_no_error(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forge has a model in name only until the first picture."""
    from safegen.webui import host as asked
    from safegen.webui import watching

    def nothing_to_ask() -> bool:
        raise AttributeError("forge_objects")

    monkeypatch.setattr(watching, "is_fitted", nothing_to_ask)
    monkeypatch.setattr(asked, "is_loaded", lambda: False)
    assert stands(mode="watch").state == "watch"
