"""Contexts under the user's hands: nothing is lost, and nothing forbidden is written."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safegen.contexts.context import SafetyContext
from safegen.contexts.library import ContextError, ContextLibrary, to_text
from safegen.errors import InvalidValue
from safegen.webui.drafts import DOT, Drafts, NotPermitted, permit
from safegen.webui.enforcement import LEVELS, Policy
from safegen.webui.forms import Form, suggestion_label

OWN = SafetyContext("calm", "Calm", "", "", "a calm scene", "a storm", {"storm": "breeze"})
STRICT = LEVELS["strict"]


@pytest.fixture
def library(tmp_path: Path) -> ContextLibrary:
    """The built-in contexts and one of the user's."""
    found = ContextLibrary(tmp_path / "contexts")
    found.add(OWN)
    return found


def labels(drafts: Drafts, library: ContextLibrary, search: str = "") -> list[str]:
    return [label for label, _ in drafts.entries(library, search)]


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
    assert Form.from_data(asdict(form)) == form
    assert Form.from_data({}) == Form()


@pytest.mark.parametrize(
    "data", [None, [], {"label": 1}, {"labels": "x"}, {"label": None}], ids=repr
)
def test_what_is_no_form_is_refused(data: Any) -> None:
    with pytest.raises(InvalidValue, match="form"):
        Form.from_data(data)


def test_drafts_go_to_the_page_and_come_back(library: ContextLibrary) -> None:
    drafts = Drafts()
    drafts.note(library, "calm", replace(Form.of(OWN), label="Calmer"))
    drafts.new()
    sent = json.loads(json.dumps(drafts.to_data()))
    back = Drafts.from_data(sent)
    assert (back.of_context, back.made) == (drafts.of_context, 1)
    assert Drafts.from_data(None) == Drafts()


@pytest.mark.parametrize(
    "data",
    [[1], {"of_context": {}}, {"of_context": [], "made": 0}, {"of_context": {"a": 1}, "made": 0},
     {"of_context": {"a": {"form": {}}}, "made": 0}, {"of_context": {}, "made": "x"},
     {"of_context": {"a": {"form": {"label": 3}, "base": None}}, "made": 0}],
    ids=repr,
)  # fmt: skip
def test_what_are_no_drafts_is_refused(data: Any) -> None:
    with pytest.raises(InvalidValue):
        Drafts.from_data(data)


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
        ("weight", "much", "Suggested safety weight"),
        ("weight", "1.5", "Suggested safety weight"),
        ("weight", "nan", "Suggested safety weight"),
        ("tau", "-0.1", suggestion_label("tau")),
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
    drafts, form = Drafts(), Form.of(OWN)
    changed = replace(form, safe_text="something else")
    drafts.note(library, "calm", changed)
    assert drafts.form(library, "calm") == changed
    assert f"Calm {DOT}" in labels(drafts, library)
    drafts.note(library, "calm", form)
    assert drafts.of_context == {}
    assert "Calm" in labels(drafts, library)


def test_drafts_of_several_contexts_are_kept_apart(library: ContextLibrary) -> None:
    drafts = Drafts()
    library.add(replace(OWN, name="quiet", label="Quiet"))
    one, two = (replace(Form.of(library.get(name)), fallback=name) for name in ("calm", "quiet"))
    drafts.note(library, "calm", one)
    drafts.note(library, "quiet", two)
    new = drafts.new()
    drafts.note(library, new, replace(Form(), label="Third"))
    assert (drafts.form(library, "calm"), drafts.form(library, "quiet")) == (one, two)
    assert labels(drafts, library)[-3:] == [f"Calm {DOT}", f"Quiet {DOT}", f"Third {DOT}"]
    assert drafts.new() != new


def test_a_built_in_context_has_no_draft(library: ContextLibrary) -> None:
    drafts = Drafts()
    drafts.note(library, "violence", Form())
    assert drafts.of_context == {}
    with pytest.raises(ContextError, match="built in"):
        drafts.save(library, "violence", Form.of(OWN), None)


def test_the_list_is_searched_in_every_field(library: ContextLibrary) -> None:
    drafts = Drafts()
    assert labels(drafts, library, "breeze") == ["Calm"]
    assert labels(drafts, library, "own") == ["Calm"]
    assert "Violence" in labels(drafts, library, "BLOOD violence")
    assert labels(drafts, library, "no such word") == []
    drafts.note(library, "calm", replace(Form.of(OWN), fallback="quince"))
    assert labels(drafts, library, "quince") == [f"Calm {DOT}"]


def test_saving_writes_and_ends_the_draft(library: ContextLibrary) -> None:
    drafts = Drafts()
    form = replace(Form.of(OWN), weight="0.5", neutral="")
    drafts.note(library, "calm", form)
    assert drafts.save(library, "calm", form, None) == "calm"
    assert drafts.of_context == {}
    again = ContextLibrary(library.folder)
    assert (again.get("calm").weight, dict(again.get("calm").neutral)) == (0.5, {})
    drafts.save(library, "calm", replace(form, weight=""), None)
    assert library.get("calm").weight is None


def test_a_new_context_and_a_new_name(library: ContextLibrary) -> None:
    drafts = Drafts()
    key = drafts.new()
    name = drafts.save(library, key, replace(Form.of(OWN), name="", label="Quite new"), None)
    assert (name, drafts.shown, drafts.of_context) == ("quite-new", "quite-new", {})
    form = replace(Form.of(library.get(name)), name="newer")
    assert drafts.save(library, name, form, None) == "newer"
    assert "quite-new" not in library


def test_what_can_t_be_saved_stays_a_draft_and_changes_nothing(library: ContextLibrary) -> None:
    drafts = Drafts()
    bad = replace(Form.of(OWN), safe_text="", label="Changed")
    with pytest.raises(InvalidValue):
        drafts.save(library, "calm", bad, None)
    assert drafts.form(library, "calm") == bad
    taken = replace(Form.of(OWN), name="violence")
    with pytest.raises(ContextError, match="taken"):
        drafts.save(library, "calm", taken, None)
    assert ContextLibrary(library.folder).get("calm") == OWN


def test_a_change_made_elsewhere_is_not_overwritten_unasked(library: ContextLibrary) -> None:
    drafts = Drafts()
    mine = replace(Form.of(OWN), description="mine")
    drafts.note(library, "calm", mine)
    library.edit("calm", description="theirs")
    with pytest.raises(ContextError, match="elsewhere"):
        drafts.save(library, "calm", mine, None)
    assert library.get("calm").description == "theirs"
    drafts.save(library, "calm", mine, None)
    assert library.get("calm").description == "mine"


def test_what_was_deleted_elsewhere_is_saved_anew(library: ContextLibrary) -> None:
    drafts = Drafts()
    form = replace(Form.of(OWN), description="mine")
    drafts.note(library, "calm", form)
    library.delete("calm")
    assert f"Calm {DOT}" in labels(drafts, library)
    assert drafts.save(library, "calm", form, None) == "calm"
    assert library.get("calm").description == "mine"


def test_discarding(library: ContextLibrary) -> None:
    drafts = Drafts(shown="calm")
    drafts.note(library, "calm", replace(Form.of(OWN), description="mine"))
    drafts.discard(library, "calm")
    assert drafts.form(library, "calm") == Form.of(OWN)
    key = drafts.new()
    drafts.discard(library, key)
    assert drafts.shown in library
    assert drafts.of_context == {}


def test_a_copy_of_a_context_and_of_its_draft(library: ContextLibrary) -> None:
    drafts = Drafts()
    form = replace(Form.of(OWN), description="not saved")
    drafts.note(library, "calm", form)
    name = drafts.duplicate(library, "calm", None)
    assert (name, library.get(name).label) == ("calm-copy", "Calm (copy)")
    assert library.get(name).description == OWN.description
    assert drafts.form(library, name).description == "not saved"
    assert drafts.form(library, "calm") == form
    assert drafts.duplicate(library, "calm", None) == "calm-copy-2"
    assert drafts.duplicate(library, "violence", None) == "violence-copy"
    assert library.get("violence-copy").neutral == library.get("violence").neutral


def test_deleting(library: ContextLibrary) -> None:
    drafts = Drafts()
    drafts.note(library, "calm", replace(Form.of(OWN), description="mine"))
    drafts.delete(library, "calm", None)
    assert "calm" not in library
    assert drafts.of_context == {}
    with pytest.raises(ContextError, match="built in"):
        drafts.delete(library, "violence", None)


# ---------------------------------------------------------------------- import


def test_what_was_exported_is_imported(library: ContextLibrary, tmp_path: Path) -> None:
    file = tmp_path / "violence.json"
    library.export_file("calm", file)
    drafts = Drafts()
    with pytest.raises(ContextError, match="taken"):
        drafts.import_file(library, file, None, replace_own=False)
    library.delete("calm")
    assert drafts.import_file(library, file, None, replace_own=False) == "calm"
    assert library.get("calm") == OWN
    library.edit("calm", description="changed")
    drafts.import_file(library, file, None, replace_own=True)
    assert library.get("calm") == OWN


def test_an_import_does_not_overrun_a_draft(library: ContextLibrary, tmp_path: Path) -> None:
    file = tmp_path / "calm.json"
    library.export_file("calm", file)
    drafts = Drafts()
    form = replace(Form.of(OWN), description="mine")
    drafts.note(library, "calm", form)
    with pytest.raises(ContextError, match="not saved"):
        drafts.import_file(library, file, None, replace_own=True)
    assert drafts.form(library, "calm") == form


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
        assert Drafts().import_file(library, file, None, replace_own=False) == "evil"
        assert sorted(p.name for p in tmp_path.glob("*")) == ["contexts", "in.json"]
        return
    with pytest.raises(ContextError, match=named) as caught:
        Drafts().import_file(library, file, None, replace_own=True)
    assert "in.json" in str(caught.value)
    assert sorted(path for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 5000])
def test_what_is_no_context_is_refused(
    library: ContextLibrary, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "in.json"
    file.write_bytes(content)
    with pytest.raises(ContextError, match=r"in\.json"):
        Drafts().import_file(library, file, None, replace_own=False)


# ---------------------------------------------------------------------- enforcement


def test_under_enforcement_nothing_that_auto_could_take_is_written(
    library: ContextLibrary, tmp_path: Path
) -> None:
    drafts = Drafts()
    weak = replace(Form.of(OWN), name="mild", category="violence", neutral="blood => blood")
    file = tmp_path / "mild.json"
    file.write_text(to_text(weak.to_context()))
    library.add(replace(OWN, name="mine", category="violence"))
    before = [to_text(context) for context in library]
    mine = Form.of(library.get("mine"))
    for work in (
        lambda: drafts.save(library, drafts.new(), weak, STRICT),
        lambda: drafts.save(library, "calm", replace(Form.of(OWN), category="hate"), STRICT),
        lambda: drafts.save(library, "mine", replace(mine, category=""), STRICT),
        lambda: drafts.duplicate(library, "violence", STRICT),
        lambda: drafts.delete(library, "mine", STRICT),
        lambda: drafts.import_file(library, file, STRICT, replace_own=True),
    ):
        with pytest.raises(NotPermitted, match="enforces SafeGen"):
            work()
    assert [to_text(context) for context in library] == before


def test_under_enforcement_contexts_chosen_by_hand_stay_the_user_s(
    library: ContextLibrary,
) -> None:
    drafts = Drafts()
    name = drafts.save(library, drafts.new(), replace(Form.of(OWN), name="other"), STRICT)
    drafts.save(library, name, replace(Form.of(OWN), name="renamed"), STRICT)
    drafts.delete(library, "renamed", STRICT)
    assert "renamed" not in library


def test_a_context_that_the_policy_names_is_nobody_s(library: ContextLibrary) -> None:
    rules = Policy("house", required=("calm", "violence"))
    drafts = Drafts()
    for work in (
        lambda: drafts.save(library, "calm", replace(Form.of(OWN), description="x"), rules),
        lambda: drafts.save(library, "calm", replace(Form.of(OWN), name="loud"), rules),
        lambda: drafts.delete(library, "calm", rules),
    ):
        with pytest.raises(NotPermitted, match="requires the context calm"):
            work()
    assert library.get("calm") == OWN
    permit(None, library.get("violence"))
