"""Enforcement: what a plan becomes under a policy, and policies that can't be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safegen.errors import InvalidValue
from safegen.plan import AUTO, CUSTOM, SETTINGS, SafetyPlan
from safegen.webui.enforcement import LEVELS, Policy, PolicyError, load, strongest

PLANS = st.builds(
    SafetyPlan,
    enabled=st.booleans(),
    weight=st.floats(0, 1),
    tau=st.floats(0, 0.5),
    end=st.floats(0.6, 1),
    refresh=st.integers(1, 10),
    curve=st.sampled_from(("constant", "linear", "cosine")),
    region=st.sampled_from(("everywhere", "disagreement")),
    hires=st.booleans(),
    threshold=st.floats(0.01, 1),
    detectors=st.sampled_from((("lexicon",), ("ngram",), ("lexicon", "ngram"))),
)


@pytest.mark.parametrize("level", LEVELS)
@given(plan=PLANS)
def test_no_plan_comes_out_below_the_policy(level: str, plan: SafetyPlan) -> None:
    rules = LEVELS[level]
    raised, notes = rules.apply(plan)
    assert raised.active
    assert all(getattr(raised, name) >= floor for name, floor in rules.minimum.items())
    assert all(getattr(raised, name) <= ceiling for name, ceiling in rules.maximum.items())
    assert all(getattr(raised, name) == value for name, value in rules.fixed.items())
    assert rules.apply(raised) == (raised, ())
    assert (raised == plan) == (notes == ())


def test_stronger_values_are_left_alone() -> None:
    plan = SafetyPlan(weight=1.0, tau=0.0, threshold=0.3, push=3.0)
    assert LEVELS["strict"].apply(plan)[0] == plan


def test_a_text_that_anybody_may_write_is_no_protection() -> None:
    plan = SafetyPlan(context=CUSTOM, safe_text="blood everywhere")
    raised, notes = LEVELS["basic"].apply(plan)
    assert raised.context == AUTO
    assert raised.safe_text == ""
    assert any("context: custom became auto" in note for note in notes)


def test_the_explanation_names_level_and_limits() -> None:
    text = LEVELS["strict"].explain()
    tau = f"{SETTINGS['tau'].label}: always 0"
    for part in ("strict", "Safety weight: always 1", tau, "can't be switched off"):
        assert part in text
    for part in ("Guard the hires pass: always on", "Detectors: always lexicon, ngram"):
        assert part in text
    assert "True" not in text


@pytest.mark.parametrize("name", [None, "", "off", " OFF "])
def test_no_level(name: str | None) -> None:
    assert load(name) is None


def test_levels_by_name_and_file(tmp_path: Path) -> None:
    assert load("Strict") is LEVELS["strict"]
    file = tmp_path / "school.json"
    file.write_text(
        json.dumps(
            {
                "minimum": {"weight": 0.9},
                "fixed": {"detectors": ["lexicon"], "streams": "shared"},
                "required": ["violence"],
            }
        )
    )
    rules = load(str(file))
    assert rules is not None
    assert rules.name == "school"
    assert rules.requires("violence")
    assert not rules.requires("sexual")
    plan, _ = rules.apply(SafetyPlan(enabled=False, weight=0.1, streams="independent"))
    assert (plan.enabled, plan.weight, plan.streams) == (True, 0.9, "shared")
    assert plan.detectors == ("lexicon",)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "it is not written as JSON"),
        ("[]", "table"),
        ('{"minimun": {}}', "Did you mean minimum?"),
        ('{"minimum": {"weigth": 0.5}}', "'weigth' is unknown. Did you mean weight?"),
        ('{"users": {"ann": {"users": {}}}}', "users"),
        ('{"minimum": {"weight": 2}}', "from 0 to 1"),
        ('{"minimum": {"curve": 1}}', "Weight curve|number"),
        ('{"fixed": {"enabled": false}}', "enabled"),
        ('{"maximum": {"weight": 0.5, "nothing": 1}}', "nothing"),
        ('{"required": "violence"}', "required"),
        ('{"fixed": {"end": 0.05}, "minimum": {"tau": 0.5}}', "must be below"),
    ],
)
def test_a_policy_that_cannot_be_read_says_why(tmp_path: Path, text: str, part: str) -> None:
    file = tmp_path / "policy.json"
    file.write_text(text)
    with pytest.raises(PolicyError, match=part):
        load(str(file))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sctrict", "There is no enforcement level 'sctrict'. Did you mean strict?"),
        ("much", "Allowed: off, basic, strict, or the path of a .json file."),
        ("no/such/file.json", "The policy file.json can't be used: it can't be read (No such"),
    ],
)
def test_an_unknown_level_is_no_off(name: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load(name)
    assert said in str(caught.value)


def test_two_policies_hold_together() -> None:
    both = strongest([LEVELS["basic"], Policy("more", minimum={"weight": 0.9}, required=())])
    assert both is not None
    plan, _ = both.apply(SafetyPlan(weight=0.0, tau=0.9))
    assert (plan.weight, plan.tau) == (0.9, 0.1)
    assert strongest([]) is None


def test_a_policy_limits_settings_only() -> None:
    with pytest.raises(InvalidValue, match="policy setting"):
        Policy("bad", minimum={"wieght": 0.5})
    assert set(LEVELS["strict"].fixed) <= set(SETTINGS)
