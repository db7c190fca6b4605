"""Plans of every kind: what they accept, refuse, and keep on the way through a picture."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from property_support import NASTY, plans, texts, values_of

from safegen.errors import InvalidValue
from safegen.plan import SETTINGS, SafetyPlan

# ------------------------------------------------------------------ a host's infotext
# Written from the host's contract: one line of ``key: value`` parts joined by commas; a value
# with a comma, a colon or a line break goes in JSON quotes; what looks like a size is split in
# two; a part whose key equals its value is written once.

_PART = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def written(values: dict[str, str]) -> str:
    parts = []
    for key, value in values.items():
        quoted = json.dumps(value, ensure_ascii=False) if re.search("[,\n:]", value) else value
        parts.append(key if key == value else f"{key}: {quoted}")
    return ", ".join(parts)


def read(line: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for key, value in _PART.findall(line.strip()):
        if value[:1] == value[-1:] == '"':
            value = json.loads(value)
        if size := re.match(r"^(\d+)x(\d+)$", value):
            values[f"{key}-1"], values[f"{key}-2"] = size.groups()
        else:
            values[key] = value
    return values


def through_a_picture(values: dict[str, str], *, last: bool) -> dict[str, str]:
    others = {"Steps": "20", "Sampler": "Euler a", "Size": "512x768", "Model": "a b"}
    return read(written({**others, **values} if last else {**values, **others}))


# ------------------------------------------------------------------ round trips


@given(plans(), st.booleans())
def test_a_plan_survives_a_pictures_infotext(plan: SafetyPlan, last: bool) -> None:
    infotext = plan.to_infotext()
    assert all(isinstance(v, str) and v for v in infotext.values())
    found = through_a_picture(infotext, last=last)
    assert SafetyPlan.from_infotext(found) == plan
    assert {k: v for k, v in found.items() if k in infotext}.keys() == infotext.keys()
    assert found["Steps"] == "20"
    assert found["Model"] == "a b"


def assert_survives(field: str, text: str) -> None:
    if field == "context" and (not text.strip() or text == "custom"):
        return
    plan = SafetyPlan(**{field: text})
    for last in (False, True):
        found = through_a_picture(plan.to_infotext(), last=last)
        assert SafetyPlan.from_infotext(found) == plan


TEXT_FIELDS = ["safe_text", "unsafe_text", "context"]


@pytest.mark.parametrize("field", TEXT_FIELDS)
@pytest.mark.parametrize("text", NASTY, ids=ascii)
def test_a_nasty_text_survives_a_pictures_infotext(field: str, text: str) -> None:
    assert_survives(field, text)


@pytest.mark.parametrize("field", TEXT_FIELDS)
@given(text=texts)
def test_any_text_survives_a_pictures_infotext(field: str, text: str) -> None:
    assert_survives(field, text)


@given(plans())
def test_plain_json_holds_a_plan(plan: SafetyPlan) -> None:
    data = json.loads(json.dumps(plan.to_dict()))
    assert data.keys() == SETTINGS.keys()
    again = SafetyPlan.from_dict(data)
    assert again == plan
    assert hash(again) == hash(plan)


@given(plans(), st.sets(st.sampled_from(list(SETTINGS))))
def test_what_a_dict_leaves_out_has_its_default(plan: SafetyPlan, kept: set[str]) -> None:
    # Settings that only go together stay or go together.
    for together in ({"tau", "end"}, {"context", "safe_text", "enabled", "mode"}):
        kept |= together if together & kept else set()
    part = {name: value for name, value in plan.to_dict().items() if name in kept}
    built = SafetyPlan.from_dict(part)
    for name, setting in SETTINGS.items():
        assert getattr(built, name) == (getattr(plan, name) if name in kept else setting.default)


@given(plans(), st.data())
def test_replace_changes_that_alone(plan: SafetyPlan, data: st.DataObject) -> None:
    name = data.draw(
        st.sampled_from(["weight", "curve", "refresh", "streams", "hires", "detectors"])
    )
    value = data.draw(values_of(SETTINGS[name]))
    changed = plan.replace(**{name: value})
    expected = tuple(dict.fromkeys(value)) if name == "detectors" else value
    assert dataclasses.asdict(changed) == {**dataclasses.asdict(plan), name: expected}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
@given(data=st.data())
def test_a_setting_reads_what_it_writes(setting: Any, data: st.DataObject) -> None:
    value = setting.check(data.draw(values_of(setting)))
    text = setting.format(value)
    assert setting.parse(text) == value
    assert type(setting.parse(text)) is setting.kind
    if setting.kind is not str or setting.choices:  # as a person may type it
        assert setting.parse(f"  {text}\t") == value
    if setting.kind is bool or (setting.choices and setting.kind is str):
        assert setting.parse(text.upper()) == value


# ------------------------------------------------------------------ refusals

NUMBERS = [s for s in SETTINGS.values() if s.kind in (int, float)]
anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
    st.binary(max_size=3),
    st.just(10**400),
    st.just(-(10**400)),
    st.complex_numbers(),
)


def refusal_of(call: Callable[[Any], Any], value: Any) -> tuple[InvalidValue | None, Any]:
    """The refusal of ``value``, if it is refused, and else what came of it."""
    try:
        return None, call(value)
    except InvalidValue as error:
        return error, None


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda s: s.name)
@given(data=st.data())
def test_a_number_out_of_range_is_refused_with_field_value_and_range(
    setting: Any, data: st.DataObject
) -> None:
    value = data.draw(
        st.one_of(
            st.floats(max_value=setting.minimum, exclude_max=True),
            st.floats(min_value=setting.maximum, exclude_min=True),
            st.integers(max_value=math.ceil(setting.minimum) - 1),
            st.integers(min_value=math.floor(setting.maximum) + 1),
            st.just(math.nan),
        )
    )
    with pytest.raises(InvalidValue) as caught:
        SafetyPlan(**{setting.name: value})
    error = caught.value
    assert (error.field, error.value) == (setting.name, value) or value != value
    assert f"{setting.minimum:g} to {setting.maximum:g}" in error.allowed
    for part in (setting.name, repr(value), error.allowed):
        assert part in str(error)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
@given(value=anything)
def test_any_value_is_taken_or_refused_by_name(setting: Any, value: Any) -> None:
    """Whatever comes, `InvalidValue` is the only error, and what is taken has the right type."""
    refused, taken = refusal_of(setting.check, value)
    if refused is not None:
        assert refused.field == setting.name
        assert refused.allowed == setting.allowed
        return
    assert type(taken) is setting.kind
    assert taken == (tuple(dict.fromkeys(value)) if setting.kind is tuple else value)
    assert not (setting.kind in (int, float) and isinstance(value, bool))


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
@given(text=texts)
def test_any_text_is_parsed_or_refused_by_name(setting: Any, text: str) -> None:
    refused, value = refusal_of(setting.parse, text)
    if refused is not None:
        assert refused.field == setting.name
        assert refused.allowed == setting.allowed
        return
    assert setting.check(value) == value


@given(st.floats(0.05, 1.0), st.floats(0.0, 0.95))
def test_a_threshold_at_or_after_the_end_is_refused(end: float, tau: float) -> None:
    if tau < end:
        assert SafetyPlan(tau=tau, end=end).tau == tau
        return
    with pytest.raises(InvalidValue, match="less than end") as caught:
        SafetyPlan(tau=tau, end=end)
    assert (caught.value.field, caught.value.value) == ("tau", tau)


@given(plans(), st.text(max_size=8))
def test_unknown_names_are_refused(plan: SafetyPlan, name: str) -> None:
    assume(name not in SETTINGS)
    with pytest.raises(InvalidValue) as caught:
        SafetyPlan.from_dict({**plan.to_dict(), name: 1})
    assert caught.value.value == name
    assert "weight" in caught.value.allowed
