"""Contexts under the user's hands: nothing is lost, and nothing forbidden is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safegen.contexts.context import SafetyContext
from safegen.contexts.library import ContextError, ContextLibrary, to_text
from safegen.errors import InvalidValue
from safegen.webui.drafts import DOT, Desk, Form, NotPermitted, permit
from safegen.webui.enforcement import LEVELS, Policy

OWN = SafetyContext("calm", "Calm", "", "", "a calm scene", "a storm", {"storm": "breeze"})
STRICT = LEVELS["strict"]


@pytest.fixture
def library(tmp_path: Path) -> ContextLibrary:
    """The built-in contexts and one of the user's."""
    found = ContextLibrary(tmp_path / "contexts")
    found.add(OWN)
    return found


def labels(desk: Desk, library: ContextLibrary, search: str = "") -> list[str]:
    return [label for label, _ in desk.entries(library, search)]


# ---------------------------------------------------------------------- the form

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="=\r\n"), min_size=1, max_size=9)


@given(
    neutral=st.dictionaries(WORDS, WORDS, max_size=4),
    weight=st.none() | st.floats(0, 1),
    tau=st.none() | st.floats(0, 0.95),
)
def test_a_form_gives_its_context_back(
    neutral: dict[str, str], weight: float | None, tau: float | None
) -> None:
    context = replace(OWN, neutral=neutral, weight=weight, tau=tau)
    assert Form.of(context).to_context(context) == context


def test_every_built_in_context_is_read_back_from_its_form_alone(library: ContextLibrary) -> None:
    for context in library:
        assert Form.of(context).to_context() == context


def test_a_form_in_values_and_back(library: ContextLibrary) -> None:
    form = Form.of(library.get("violence"))
    assert Form.of_values(form.values()) == form
    assert Form.of_values((None,) * len(form.values())) == Form()


def test_a_context_without_a_name_takes_that_of_its_label() -> None:
    form = replace(Form.of(OWN), name=" ", label="Größer / als")
    assert form.to_context().name == "grosser-als"


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("label", " ", "Label"),
        ("name", "auto", "context name"),
        ("name", "///", "context name"),
        ("safe_text", "", "Safe text"),
        ("weight", "much", "Suggested weight"),
        ("weight", "1.5", "Suggested weight"),
        ("weight", "nan", "Suggested weight"),
        ("tau", "-0.1", "Suggested threshold"),
        ("neutral", "blood", "Replacements, line 1"),
        ("neutral", "a => b\n\n => c", "Replacements, line 3"),
        ("neutral", "Blood => a\nblood => b", "Replacements, line 2"),
    ],
)
def test_what_is_wrong_in_a_form_is_named(field: str, value: str, named: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        replace(Form.of(OWN), **{field: value}).to_context()
    assert caught.value.field == named


def test_a_comma_may_stand_for_the_point() -> None:
    assert replace(Form.of(OWN), weight="0,25").to_context().weight == 0.25


# ---------------------------------------------------------------------- drafts


def test_a_draft_is_kept_and_marked_until_it_says_what_is_saved(library: ContextLibrary) -> None:
    desk, form = Desk(), Form.of(OWN)
    changed = replace(form, safe_text="something else")
    desk.note(library, "calm", changed)
    assert desk.form(library, "calm") == changed
    assert f"Calm {DOT}" in labels(desk, library)
    desk.note(library, "calm", form)
    assert desk.drafts == {}
    assert "Calm" in labels(desk, library)


def test_drafts_of_several_contexts_are_kept_apart(library: ContextLibrary) -> None:
    desk = Desk()
    library.add(replace(OWN, name="quiet", label="Quiet"))
    one, two = (replace(Form.of(library.get(name)), fallback=name) for name in ("calm", "quiet"))
    desk.note(library, "calm", one)
    desk.note(library, "quiet", two)
    new = desk.new()
    desk.note(library, new, replace(Form(), label="Third"))
    assert (desk.form(library, "calm"), desk.form(library, "quiet")) == (one, two)
    assert labels(desk, library)[-3:] == [f"Calm {DOT}", f"Quiet {DOT}", f"Third {DOT}"]
    assert desk.new() != new


def test_a_built_in_context_has_no_draft(library: ContextLibrary) -> None:
    desk = Desk()
    desk.note(library, "violence", Form())
    assert desk.drafts == {}
    with pytest.raises(ContextError, match="built in"):
        desk.save(library, "violence", Form.of(OWN), None)


def test_the_list_is_searched_in_every_field(library: ContextLibrary) -> None:
    desk = Desk()
    assert labels(desk, library, "breeze") == ["Calm"]
    assert labels(desk, library, "own") == ["Calm"]
    assert "Violence" in labels(desk, library, "BLOOD violence")
    assert labels(desk, library, "no such word") == []
    desk.note(library, "calm", replace(Form.of(OWN), fallback="quince"))
    assert labels(desk, library, "quince") == [f"Calm {DOT}"]


def test_saving_writes_and_ends_the_draft(library: ContextLibrary) -> None:
    desk = Desk()
    form = replace(Form.of(OWN), weight="0.5", neutral="")
    desk.note(library, "calm", form)
    assert desk.save(library, "calm", form, None) == "calm"
    assert desk.drafts == {}
    again = ContextLibrary(library.folder)
    assert (again.get("calm").weight, dict(again.get("calm").neutral)) == (0.5, {})
    desk.save(library, "calm", replace(form, weight=""), None)
    assert library.get("calm").weight is None


def test_a_new_context_and_a_new_name(library: ContextLibrary) -> None:
    desk = Desk()
    key = desk.new()
    name = desk.save(library, key, replace(Form.of(OWN), name="", label="Quite new"), None)
    assert (name, desk.shown, desk.drafts) == ("quite-new", "quite-new", {})
    form = replace(Form.of(library.get(name)), name="newer")
    assert desk.save(library, name, form, None) == "newer"
    assert "quite-new" not in library


def test_what_can_t_be_saved_stays_a_draft_and_changes_nothing(library: ContextLibrary) -> None:
    desk = Desk()
    bad = replace(Form.of(OWN), safe_text="", label="Changed")
    with pytest.raises(InvalidValue):
        desk.save(library, "calm", bad, None)
    assert desk.form(library, "calm") == bad
    taken = replace(Form.of(OWN), name="violence")
    with pytest.raises(ContextError, match="taken"):
        desk.save(library, "calm", taken, None)
    assert ContextLibrary(library.folder).get("calm") == OWN


def test_a_change_made_elsewhere_is_not_overwritten_unasked(library: ContextLibrary) -> None:
    desk = Desk()
    mine = replace(Form.of(OWN), description="mine")
    desk.note(library, "calm", mine)
    library.edit("calm", description="theirs")
    with pytest.raises(ContextError, match="elsewhere"):
        desk.save(library, "calm", mine, None)
    assert library.get("calm").description == "theirs"
    desk.save(library, "calm", mine, None)
    assert library.get("calm").description == "mine"


def test_what_was_deleted_elsewhere_is_saved_anew(library: ContextLibrary) -> None:
    desk = Desk()
    form = replace(Form.of(OWN), description="mine")
    desk.note(library, "calm", form)
    library.delete("calm")
    assert f"Calm {DOT}" in labels(desk, library)
    assert desk.save(library, "calm", form, None) == "calm"
    assert library.get("calm").description == "mine"


def test_discarding(library: ContextLibrary) -> None:
    desk = Desk(shown="calm")
    desk.note(library, "calm", replace(Form.of(OWN), description="mine"))
    desk.discard(library, "calm")
    assert desk.form(library, "calm") == Form.of(OWN)
    key = desk.new()
    desk.discard(library, key)
    assert desk.shown in library
    assert desk.drafts == {}


def test_a_copy_of_a_context_and_of_its_draft(library: ContextLibrary) -> None:
    desk = Desk()
    form = replace(Form.of(OWN), description="not saved")
    desk.note(library, "calm", form)
    name = desk.duplicate(library, "calm", None)
    assert (name, library.get(name).label) == ("calm-copy", "Calm (copy)")
    assert library.get(name).description == OWN.description
    assert desk.form(library, name).description == "not saved"
    assert desk.form(library, "calm") == form
    assert desk.duplicate(library, "calm", None) == "calm-copy-2"
    assert desk.duplicate(library, "violence", None) == "violence-copy"
    assert library.get("violence-copy").neutral == library.get("violence").neutral


def test_deleting(library: ContextLibrary) -> None:
    desk = Desk()
    desk.note(library, "calm", replace(Form.of(OWN), description="mine"))
    desk.delete(library, "calm", None)
    assert "calm" not in library
    assert desk.drafts == {}
    with pytest.raises(ContextError, match="built in"):
        desk.delete(library, "violence", None)


# ---------------------------------------------------------------------- import


def test_what_was_exported_is_imported(library: ContextLibrary, tmp_path: Path) -> None:
    file = tmp_path / "violence.json"
    library.export_file("calm", file)
    desk = Desk()
    with pytest.raises(ContextError, match="taken"):
        desk.take_in(library, file, None, replace_own=False)
    library.delete("calm")
    assert desk.take_in(library, file, None, replace_own=False) == "calm"
    assert library.get("calm") == OWN
    library.edit("calm", description="changed")
    desk.take_in(library, file, None, replace_own=True)
    assert library.get("calm") == OWN


def test_an_import_does_not_overrun_a_draft(library: ContextLibrary, tmp_path: Path) -> None:
    file = tmp_path / "calm.json"
    library.export_file("calm", file)
    desk = Desk()
    form = replace(Form.of(OWN), description="mine")
    desk.note(library, "calm", form)
    with pytest.raises(ContextError, match="not saved"):
        desk.take_in(library, file, None, replace_own=True)
    assert desk.form(library, "calm") == form


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"safe_text": 3}, "safe_text"),
        ({"weight": "much"}, "weight"),
        ({"neutral": {"a": 1}}, "neutral"),
        ({"surprise": 1}, "surprise"),
        ({"schema": 99}, "schema 99"),
        ({"name": "../../evil"}, ""),
    ],
)
def test_a_bad_file_is_named_and_leaves_nothing(
    library: ContextLibrary, tmp_path: Path, change: dict[str, object], named: str
) -> None:
    file = tmp_path / "in.json"
    file.write_text(json.dumps({**json.loads(to_text(OWN)), "name": "other", **change}))
    before = sorted(path for path in tmp_path.rglob("*"))
    if not named:  # a name that wants out of the folder is only a name
        assert Desk().take_in(library, file, None, replace_own=False) == "evil"
        assert sorted(p.name for p in tmp_path.glob("*")) == ["contexts", "in.json"]
        return
    with pytest.raises(ContextError, match=named) as caught:
        Desk().take_in(library, file, None, replace_own=True)
    assert "in.json" in str(caught.value)
    assert sorted(path for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 5000])
def test_what_is_no_context_is_refused(
    library: ContextLibrary, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "in.json"
    file.write_bytes(content)
    with pytest.raises(ContextError, match=r"in\.json"):
        Desk().take_in(library, file, None, replace_own=False)


# ---------------------------------------------------------------------- enforcement


def test_under_enforcement_nothing_that_auto_could_take_is_written(
    library: ContextLibrary, tmp_path: Path
) -> None:
    desk = Desk()
    weak = replace(Form.of(OWN), name="mild", category="violence", neutral="blood => blood")
    file = tmp_path / "mild.json"
    file.write_text(to_text(weak.to_context()))
    library.add(replace(OWN, name="mine", category="violence"))
    before = [to_text(context) for context in library]
    mine = Form.of(library.get("mine"))
    for work in (
        lambda: desk.save(library, desk.new(), weak, STRICT),
        lambda: desk.save(library, "calm", replace(Form.of(OWN), category="hate"), STRICT),
        lambda: desk.save(library, "mine", replace(mine, category=""), STRICT),
        lambda: desk.duplicate(library, "violence", STRICT),
        lambda: desk.delete(library, "mine", STRICT),
        lambda: desk.take_in(library, file, STRICT, replace_own=True),
    ):
        with pytest.raises(NotPermitted, match="enforces SafeGen"):
            work()
    assert [to_text(context) for context in library] == before


def test_under_enforcement_contexts_chosen_by_hand_stay_the_user_s(
    library: ContextLibrary,
) -> None:
    desk = Desk()
    name = desk.save(library, desk.new(), replace(Form.of(OWN), name="other"), STRICT)
    desk.save(library, name, replace(Form.of(OWN), name="renamed"), STRICT)
    desk.delete(library, "renamed", STRICT)
    assert "renamed" not in library


def test_a_context_that_the_policy_names_is_nobody_s(library: ContextLibrary) -> None:
    rules = Policy("house", required=("calm", "violence"))
    desk = Desk()
    for work in (
        lambda: desk.save(library, "calm", replace(Form.of(OWN), description="x"), rules),
        lambda: desk.save(library, "calm", replace(Form.of(OWN), name="loud"), rules),
        lambda: desk.delete(library, "calm", rules),
    ):
        with pytest.raises(NotPermitted, match="requires the context calm"):
            work()
    assert library.get("calm") == OWN
    permit(None, library.get("violence"))
