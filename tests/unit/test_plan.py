"""The one table of settings, and the plan that it describes."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from safegen.errors import InvalidValue
from safegen.plan import AUTO, CUSTOM, SETTINGS, SafetyPlan, Setting

NUMBERS = {name: s for name, s in SETTINGS.items() if s.kind in (int, float)}
each = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
each_number = pytest.mark.parametrize("setting", NUMBERS.values(), ids=NUMBERS)


# ------------------------------------------------------------------ the table


def test_every_field_has_its_setting_in_the_same_order() -> None:
    assert list(SETTINGS) == [field.name for field in dataclasses.fields(SafetyPlan)]
    assert all(setting.name == name for name, setting in SETTINGS.items())


@pytest.mark.parametrize("attribute", ["label", "infotext", "help"])
def test_labels_and_keys_are_unique(attribute: str) -> None:
    texts = [getattr(setting, attribute).lower() for setting in SETTINGS.values()]
    assert len(set(texts)) == len(texts)


@each
def test_a_key_is_one_that_a_host_can_read_back(setting: Setting) -> None:
    assert re.fullmatch(r"\w[\w \-/]+", setting.infotext)
    assert setting.infotext.startswith("SafeGen ")  # nobody else's
    # A host stores the halves of what looks like a size under key-1 and key-2.
    others = {s.infotext for s in SETTINGS.values()}
    assert not {f"{setting.infotext}-{i}" for i in (1, 2)} & others


@each
def test_labels_and_tooltips_can_be_shown(setting: Setting) -> None:
    assert setting.label == setting.label.strip() != ""
    assert "/" not in setting.label  # would split the host's key for the control
    assert setting.help.endswith(".")
    assert "\n" not in setting.label + setting.help


@each
def test_a_default_is_allowed_and_is_the_plans(setting: Setting) -> None:
    assert setting.check(setting.default) == setting.default
    assert type(setting.default) is setting.kind
    assert getattr(SafetyPlan(), setting.name) == setting.default
    assert setting.parse(setting.format(setting.default)) == setting.default


@each_number
def test_a_slider_can_reach_both_ends_and_the_default(setting: Setting) -> None:
    assert setting.minimum is not None
    assert setting.maximum is not None
    assert setting.step is not None
    assert setting.minimum < setting.maximum
    assert 0 < setting.step <= (setting.maximum - setting.minimum) / 4
    for value in (setting.maximum, setting.default):
        steps = (value - setting.minimum) / setting.step
        assert steps == pytest.approx(round(steps), abs=1e-9)
    if setting.kind is int:
        assert setting.step == int(setting.step)


@each
def test_only_numbers_have_a_range_and_only_words_have_choices(setting: Setting) -> None:
    limits = (setting.minimum, setting.maximum, setting.step)
    if setting.kind in (int, float):
        assert None not in limits
        assert not setting.choices
    else:
        assert limits == (None, None, None)
    if setting.kind is tuple:
        assert setting.choices
    assert len(set(setting.choices)) == len(setting.choices)
    assert all(c == c.lower() and "+" not in c for c in setting.choices)  # parse relies on it


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        SETTINGS["weight"] = SETTINGS["tau"]  # type: ignore[index]


def test_the_dial_is_the_whole_way_from_plain_to_safe() -> None:
    weight = SETTINGS["weight"]
    assert (weight.minimum, weight.maximum) == (0.0, 1.0)
    assert not weight.advanced
    assert not SETTINGS["enabled"].advanced


# ------------------------------------------------------------------ values


@each_number
def test_both_ends_are_allowed_and_nothing_beyond(setting: Setting) -> None:
    assert setting.minimum is not None
    assert setting.maximum is not None
    for value in (setting.minimum, setting.maximum):
        assert setting.check(value) == value
        assert type(setting.check(value)) is setting.kind
    for value in (setting.minimum - 1e-6, setting.maximum + 1e-6, float("nan"), float("inf")):
        with pytest.raises(InvalidValue) as caught:
            setting.check(value)
        assert caught.value.field == setting.name


@pytest.mark.parametrize("exponent", [400, 5000])
@each_number
def test_a_number_too_long_for_a_float_is_refused(setting: Setting, exponent: int) -> None:
    with pytest.raises(InvalidValue) as caught:
        setting.check(10**exponent)
    assert caught.value.field == setting.name
    with pytest.raises(InvalidValue):
        setting.parse(f"1e{exponent}")


def test_a_whole_number_stays_whole() -> None:
    assert SafetyPlan(refresh=3.0).refresh == 3  # type: ignore[arg-type]
    assert type(SafetyPlan(refresh=3.0).refresh) is int  # type: ignore[arg-type]
    assert type(SafetyPlan(weight=1).weight) is float
    with pytest.raises(InvalidValue, match="a whole number from 1 to 10"):
        SafetyPlan(refresh=2.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "value"), [("True", True), (" false ", False), ("FALSE", False)])
def test_a_switch_reads_what_a_host_writes(text: str, value: bool) -> None:
    assert SETTINGS["enabled"].parse(text) is value


@pytest.mark.parametrize("text", ["", "1", "yes", "on", "tru"])
def test_a_switch_reads_nothing_else(text: str) -> None:
    with pytest.raises(InvalidValue):
        SETTINGS["enabled"].parse(text)


@pytest.mark.parametrize(
    "value", [(), [], "lexicon", ["lexicon", "nobody"], None, {"lexicon"}, [1]]
)
def test_detectors_are_a_list_of_known_ones(value: Any) -> None:
    with pytest.raises(InvalidValue, match="a list of lexicon, ngram"):
        SafetyPlan(detectors=value)


def test_detectors_keep_their_order_and_lose_doubles() -> None:
    detectors = ["ngram", "lexicon", "ngram"]
    plan = SafetyPlan(detectors=detectors)  # type: ignore[arg-type]
    assert plan.detectors == ("ngram", "lexicon")
    assert plan.to_infotext()["SafeGen detectors"] == "ngram+lexicon"
    assert SETTINGS["detectors"].parse(" lexicon + ngram") == ("lexicon", "ngram")


@pytest.mark.parametrize("name", ["curve", "streams", "strategy", "region", "dial", "pushed"])
@pytest.mark.parametrize("value", ["", "Constant", "nonsense", None, 1, ["constant"]])
def test_a_choice_takes_its_own_words_only(name: str, value: Any) -> None:
    with pytest.raises(InvalidValue) as caught:
        SafetyPlan(**{name: value})
    assert caught.value.field == name
    assert caught.value.allowed == ", ".join(SETTINGS[name].choices)


def test_a_choice_is_read_in_any_case() -> None:
    assert SETTINGS["curve"].parse(" Cosine ") == "cosine"


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (0.7, "0.7"), (0.0, "0"), (0.1 + 0.2, "0.30000000000000004")]
)
def test_numbers_are_written_short_and_exactly(value: float, text: str) -> None:
    assert SETTINGS["weight"].format(value) == text
    assert SETTINGS["weight"].parse(text) == value


@pytest.mark.parametrize("text", ["", "half", "0,5", "nan", "inf", "-inf", "0x1", "1.5", "-0.1"])
def test_a_text_that_is_no_allowed_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        SETTINGS["weight"].parse(text)
    assert caught.value.field == "weight"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("calm", "calm"),
        ("a, b: c", "a, b: c"),  # the host quotes these itself
        (" calm", "' calm'"),
        ("calm\n", "'calm\n'"),
        ("512x512", "'512x512'"),
        ('"calm"', "'\"calm\"'"),
        ("'calm'", "''calm''"),
        ("SafeGen safe text", "'SafeGen safe text'"),
    ],
)
def test_texts_that_a_host_would_change_travel_in_quotes(text: str, written: str) -> None:
    setting = SETTINGS["safe_text"]
    assert setting.format(text) == written
    assert setting.parse(written) == text


def test_a_lone_quote_is_a_text() -> None:
    assert SETTINGS["safe_text"].parse("'") == "'"
    assert SETTINGS["safe_text"].parse("''") == ""


# ------------------------------------------------------------------ plans


@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_a_custom_context_needs_a_text(blank: str) -> None:
    with pytest.raises(InvalidValue, match="since context is custom") as caught:
        SafetyPlan(context=CUSTOM, safe_text=blank)
    assert (caught.value.field, caught.value.value) == ("safe_text", blank)
    assert SafetyPlan(context=CUSTOM, safe_text="calm").context == CUSTOM
    assert SafetyPlan(context=AUTO, safe_text=blank).safe_text == blank


def test_a_plan_that_is_off_may_have_a_custom_context_without_a_text_yet() -> None:
    """A form that is switched off must not stop a picture; it is checked when switched on."""
    off = SafetyPlan(enabled=False, context=CUSTOM)
    assert not off.active
    assert SafetyPlan.from_dict(off.to_dict()) == off
    assert SafetyPlan.from_infotext(off.to_infotext()) == off
    with pytest.raises(InvalidValue, match="since context is custom"):
        off.replace(enabled=True)


def test_a_plan_that_is_off_is_checked_in_all_other_ways() -> None:
    with pytest.raises(InvalidValue, match="weight"):
        SafetyPlan(enabled=False, weight=2.0)


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_context_has_a_name(blank: str) -> None:
    with pytest.raises(InvalidValue, match="auto, custom or a context's name"):
        SafetyPlan(context=blank)


def test_a_plan_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SafetyPlan().weight = 0.0  # type: ignore[misc]


def test_a_plan_does_not_share_its_caller_s_list() -> None:
    detectors = ["lexicon"]
    plan = SafetyPlan.from_dict({"detectors": detectors})
    detectors.append("nobody")
    plan.to_dict()["detectors"].append("nobody")
    assert plan.detectors == ("lexicon",)


@pytest.mark.parametrize(
    ("changes", "active"),
    [({}, True), ({"weight": 0.0}, False), ({"enabled": False}, False), ({"weight": 1e-9}, True)],
)
def test_a_plan_is_active_if_it_can_change_a_picture(changes: dict[str, Any], active: bool) -> None:
    assert SafetyPlan(**changes).active is active


def test_replace_refuses_unknown_names_and_bad_values() -> None:
    with pytest.raises(InvalidValue, match="wieght"):
        SafetyPlan().replace(wieght=0.5)
    with pytest.raises(InvalidValue, match="weight: 2"):
        SafetyPlan().replace(weight=2)


# ------------------------------------------------------------------ infotext


def test_infotext_has_every_setting_but_empty_texts() -> None:
    keys = set(SafetyPlan().to_infotext())
    assert keys == {s.infotext for n, s in SETTINGS.items() if not n.endswith("_text")}
    full = SafetyPlan(safe_text="a", unsafe_text="b").to_infotext()
    assert set(full) == {s.infotext for s in SETTINGS.values()}


def test_infotext_of_others_is_passed_over() -> None:
    infotext = {"Steps": "20", "SafeGen": "yes", "SafeGen guarded": "9 of 9", "weight": "0.1"}
    assert SafetyPlan.from_infotext(infotext) == SafetyPlan()


def test_infotext_with_a_bad_value_names_the_setting() -> None:
    with pytest.raises(InvalidValue, match="weight: 'lots'"):
        SafetyPlan.from_infotext({"SafeGen weight": "lots"})
    with pytest.raises(InvalidValue, match="a number from 0 to 1"):
        SafetyPlan.from_infotext({"SafeGen weight": 7})


def test_infotext_values_may_come_parsed() -> None:
    values = {"SafeGen weight": 0.5, "SafeGen enabled": False, "SafeGen refresh": 2}
    plan = SafetyPlan.from_infotext(values)
    assert (plan.weight, plan.enabled, plan.refresh) == (0.5, False, 2)


# ------------------------------------------------------------------ modes


@pytest.mark.parametrize(("context", "mode"), [(AUTO, "auto"), ("violence", "always")])
def test_a_plan_without_a_mode_is_as_before_there_were_modes(context: str, mode: str) -> None:
    """A picture's infotext may be older than the setting."""
    assert SafetyPlan(context=context).mode == mode
    assert SafetyPlan.from_infotext({"SafeGen context": context}).mode == mode


def test_always_needs_a_context_by_name() -> None:
    with pytest.raises(InvalidValue, match=r"mode: 'always' .* auto or watch") as caught:
        SafetyPlan(mode="always")
    assert (caught.value.field, caught.value.value) == ("mode", "always")
    off = SafetyPlan(mode="always", enabled=False)
    assert SafetyPlan.from_dict(off.to_dict()) == off
    with pytest.raises(InvalidValue, match="mode"):
        off.replace(enabled=True)


def test_another_context_brings_its_own_mode_unless_one_is_named() -> None:
    named = SafetyPlan(context="violence")
    assert named.replace(context=AUTO).mode == "auto"
    assert named.replace(context="sexual").mode == "always"
    assert named.replace(context=AUTO, mode="watch").mode == "watch"
    watching = SafetyPlan(context="violence", mode="watch")
    assert watching.replace(weight=0.5).mode == "watch"
    assert watching.replace(context="violence").mode == "watch"
