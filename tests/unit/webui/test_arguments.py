"""What a script is called with, as a plan; and the plan in an infotext and back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safegen.contexts.context import SafetyContext
from safegen.contexts.library import presets
from safegen.errors import InvalidValue
from safegen.plan import SETTINGS, SafetyPlan
from safegen.webui import infotext
from safegen.webui.arguments import Resolved, args_of, plan_from, resolve, suggested
from safegen.webui.enforcement import LEVELS

BASE = SafetyPlan(weight=0.9)


def test_positions_are_the_table_s_order() -> None:
    args = list(SafetyPlan(tau=0.25, refresh=3, detectors=("ngram",)).to_dict().values())
    assert plan_from(args, BASE, {}) == SafetyPlan(tau=0.25, refresh=3, detectors=("ngram",))


def test_a_short_list_keeps_the_defaults() -> None:
    assert plan_from([True], BASE, {}) == BASE
    assert plan_from([], BASE, {}) == BASE
    assert plan_from([True, None, None, 0.2], BASE, {}) == BASE.replace(tau=0.2)


def test_named_arguments() -> None:
    assert plan_from([{}], BASE, {}) == BASE
    assert plan_from([{"context": "Violence", "tau": 0.3}], BASE, {}) == BASE.replace(
        context="violence", tau=0.3
    )
    assert not plan_from([{"enabled": False}], BASE, {}).enabled


def test_off_has_no_other_opinion() -> None:
    assert plan_from([False, "nonsense", 7.0], BASE, {}) == SafetyPlan(enabled=False)


def test_an_axis_comes_last() -> None:
    assert plan_from([False], BASE, {"enabled": True, "weight": 0.4}).weight == 0.4


@pytest.mark.parametrize(
    ("args", "field"),
    [
        ([{"wieght": 1}], "setting"),
        ([{"weight": "1"}], "weight"),
        ([{"weight": float("nan")}], "weight"),
        ([{"enabled": "False"}], "enabled"),
        ([{"detectors": "lexicon"}], "detectors"),
        ([{"tau": 0.5, "end": 0.5}], "tau"),
        ([True] * (len(SETTINGS) + 1), "args"),
        (["yes"], "enabled"),
    ],
)
def test_what_is_wrong_is_named(args: list[Any], field: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        plan_from(args, BASE, {})
    assert caught.value.field == field


# ---------------------------------------------------------------------- infotext


@given(
    plan=st.builds(
        SafetyPlan,
        weight=st.floats(0, 1),
        tau=st.floats(0, 0.5),
        end=st.floats(0.6, 1),
        hires=st.booleans(),
        detectors=st.sampled_from((("lexicon",), ("ngram", "lexicon"))),
        safe_text=st.text(max_size=20).filter(lambda t: "\n" not in t),
    )
)
def test_every_control_is_read_back(plan: SafetyPlan) -> None:
    params = {"Steps": "5", infotext.DECIDED: "x", **infotext.differing(plan)}
    read = {name: key(params) for name, key in infotext.PASTE_KEYS.items()}
    assert SafetyPlan.from_dict(read) == plan
    assert {key: type(value) for key, value in read.items()} == {
        key: type(value) for key, value in plan.to_dict().items()
    }


def test_what_is_as_by_default_is_not_written() -> None:
    assert infotext.differing(SafetyPlan()) == {}
    assert infotext.differing(SafetyPlan(weight=0.31)) == {"SafeGen weight": "0.31"}


def test_an_infotext_of_an_earlier_version_is_read_whole() -> None:
    """They had every setting in them, on or off."""
    plan = SafetyPlan(weight=0.31, refresh=3)
    params = {**plan.to_infotext(), "SafeGen version": "0.1.0", "SafeGen why": "x"}
    assert infotext.PASTE_KEYS["refresh"](params) == 3
    assert infotext.PASTE_KEYS["enabled"](params) is True


def test_an_infotext_of_others_switches_off_and_leaves_the_rest() -> None:
    read = {name: key({"Steps": "5"}) for name, key in infotext.PASTE_KEYS.items()}
    assert read.pop("enabled") is False
    assert set(read.values()) == {None}


def test_a_key_is_a_label_too() -> None:
    key = infotext.PASTE_KEYS["weight"]
    assert key == "SafeGen weight"
    assert key in ["SafeGen weight"]
    assert callable(key)


def test_a_value_that_is_not_allowed_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    params = {"SafeGen enabled": "True", "SafeGen weight": "7"}
    assert infotext.PASTE_KEYS["weight"](params) is None
    assert "weight" in capsys.readouterr().out


def test_remove_takes_our_keys_only() -> None:
    params: dict[str, Any] = {"Steps": 5, "SafeGenius": 1}
    params.update(infotext.differing(SafetyPlan(weight=0.31)), **{infotext.DECIDED: "x"})
    infotext.remove(params)
    assert params == {"Steps": 5, "SafeGenius": 1}


def _suggesting(**numbers: float) -> SafetyContext:
    return SafetyContext("x", "X", "", "", "calm", "", **numbers)


def test_a_chosen_context_s_suggestions_move_the_dials_it_speaks_of() -> None:
    args = list(SafetyPlan(weight=0.3, tau=0.4).to_dict().values())
    assert suggested(_suggesting(), args, BASE, None) == {}
    assert suggested(_suggesting(weight=0.9), args, BASE, None) == {"weight": 0.9}
    assert suggested(_suggesting(weight=0.9, tau=0.1), args, BASE, None) == {
        "weight": 0.9,
        "tau": 0.1,
    }


def test_suggestions_never_go_below_what_is_enforced() -> None:
    args = list(SafetyPlan().to_dict().values())
    found = suggested(_suggesting(weight=0.1, tau=0.9), args, BASE, LEVELS["strict"])
    assert found == {"weight": 1.0, "tau": 0.0}


def test_suggestions_that_do_not_fit_the_other_settings_change_nothing() -> None:
    args = list(SafetyPlan(end=0.5).to_dict().values())
    assert suggested(_suggesting(weight=0.9, tau=0.6), args, BASE, None) == {}


def test_no_preset_suggests_what_was_not_measured() -> None:
    """See docs/contexts.md; whoever measures one changes both."""
    assert {(c.weight, c.tau) for c in presets().values()} == {(None, None)}


# ---------------------------------------------------------------------- one way to a plan


def test_without_a_policy_the_plan_is_what_was_asked_for() -> None:
    found = resolve([{"weight": 0.1}], BASE, None)
    assert found == Resolved(BASE.replace(weight=0.1))


def test_a_policy_raises_the_plan_and_says_so() -> None:
    found = resolve([{"weight": 0.1}], BASE, LEVELS["strict"])
    assert found.plan.weight == 1.0
    assert found.policy is LEVELS["strict"]
    assert "Safety weight: 0.1 became 1" in found.notes


@pytest.mark.parametrize("args", [[False], [False, "custom", 0.0], [{"enabled": False}]])
def test_where_a_policy_switches_on_what_was_off_the_defaults_apply(args: list[Any]) -> None:
    found = resolve(args, BASE, LEVELS["basic"])
    assert found.plan == LEVELS["basic"].apply(BASE)[0]
    assert found.plan.enabled
    assert found.plan.weight == 0.9


def test_an_axis_counts_before_the_policy() -> None:
    assert resolve([{}], BASE, LEVELS["basic"], {"enabled": False}).plan.enabled


def test_another_run_s_plan_is_taken_over_as_it_is() -> None:
    plan = SafetyPlan(context="custom", safe_text="a 'b'", weight=0.3, detectors=("ngram",))
    assert resolve([plan.to_dict()], BASE, None).plan == plan
    off = SafetyPlan(enabled=False)
    assert resolve([off.to_dict()], BASE, None).plan == off


class Script:
    def __init__(self, first: int | None, last: int | None, *, ours: bool = True) -> None:
        self.args_from, self.args_to, self.is_safegen = first, last, ours


def processing(*scripts: Script) -> Any:
    runner = SimpleNamespace(alwayson_scripts=list(scripts))
    return SimpleNamespace(scripts=runner, script_args=(0, 1, True, "auto", 4))


def test_the_script_s_arguments_are_its_slice_of_all() -> None:
    ours = Script(2, 4)
    assert args_of(processing(Script(0, 2, ours=False), ours)) == [True, "auto"]
    for p in (
        processing(),
        processing(Script(0, 2, ours=False)),
        processing(Script(None, None)),
        SimpleNamespace(scripts=None),
    ):
        assert args_of(p) is None
