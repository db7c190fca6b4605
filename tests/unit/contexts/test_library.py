import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safegen.contexts import library as module
from safegen.contexts.context import SafetyContext
from safegen.contexts.library import (
    LONGEST_NAME,
    ContextError,
    ContextLibrary,
    clean_name,
    from_data,
    read,
    to_data,
)
from safegen.errors import InvalidValue, SafeGenError

SPIDERS = SafetyContext(
    name="spiders",
    label="Spiders",
    category="spiders",
    description="Keeps spiders out.",
    safe_text="a tidy room with butterflies",
    unsafe_text="spiders",
    neutral={"Spider": "butterfly"},
    fallback="butterfly",
    weight=0.7,
)


@pytest.fixture
def library(tmp_path: Path) -> ContextLibrary:
    return ContextLibrary(tmp_path / "contexts")


def saved(library: ContextLibrary) -> ContextLibrary:
    """What another process would see."""
    return ContextLibrary(library.folder)


class TestNames:
    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("Größer / als", "grosser-als"),
            ("../../etc/passwd", "etc-passwd"),
            ("C:\\temp\\x", "c-temp-x"),
            ("a\0b", "a-b"),
            ("x" * 500, "x" * LONGEST_NAME),
            ("self-harm", "self-harm"),
        ],
    )
    def test_are_made_safe(self, text: str, name: str) -> None:
        assert clean_name(text) == name

    @pytest.mark.parametrize("text", ["", "..", "/", "Auto", "none", "CON", "lpt1", "日本"])
    def test_that_cannot_be_used_are_refused(self, text: str) -> None:
        with pytest.raises(InvalidValue):
            clean_name(text)

    @given(st.text())
    def test_never_lead_out_of_the_folder(self, text: str) -> None:
        try:
            name = clean_name(text)
        except InvalidValue:
            return
        assert clean_name(name) == name
        assert (Path("/folder") / f"{name}.json").resolve().parent == Path("/folder")
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


class TestFiles:
    @given(
        label=st.text(min_size=1).filter(str.strip),
        neutral=st.dictionaries(st.text(), st.text(), max_size=4),
        weight=st.none() | st.floats(0, 1),
        tau=st.none() | st.floats(0, 0.95),
    )
    def test_round_trip(
        self, label: str, neutral: dict[str, str], weight: float | None, tau: float | None
    ) -> None:
        context = replace(SPIDERS, label=label, neutral=neutral, weight=weight, tau=tau)
        assert from_data(json.loads(json.dumps(to_data(context)))) == context

    def test_of_version_0_are_brought_up_to_date(self) -> None:
        old = {"name": "big-dogs", "safe_text": "a cat", "replacements": {"dog": "cat"}}
        context = from_data(old)
        assert (context.label, context.category) == ("Big dogs", "")
        assert context.neutral == {"dog": "cat"}

    def test_of_a_newer_version_are_refused_by_saying_so(self) -> None:
        with pytest.raises(ContextError, match="newer version"):
            from_data({**to_data(SPIDERS), "schema": 99})

    @pytest.mark.parametrize(
        "change",
        [
            {"schema": "1"},
            {"schema": True},
            {"schema": -1},
            {"name": 3},
            {"name": "///"},
            {"label": ""},
            {"safe_text": None},
            {"weight": 1.5},
            {"weight": "0.5"},
            {"tau": True},
            {"tau": 0.96},
            {"neutral": ["a"]},
            {"neutral": {"a": 1}},
            {"fallback": 1},
            {"colour": "red"},
        ],
    )
    def test_with_wrong_values_are_refused(self, change: dict[str, object]) -> None:
        with pytest.raises(SafeGenError):
            from_data({**to_data(SPIDERS), **change})

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "null", '"x"', "[" * 100_000, '{"schema": 1}', "\ud800"]
    )
    def test_that_are_broken_name_themselves(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "broken.json"
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        with pytest.raises(ContextError, match=r"broken\.json"):
            read(file)

    def test_that_are_too_large_are_not_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "LARGEST_FILE", 10)
        file = tmp_path / "large.json"
        file.write_text(json.dumps(to_data(SPIDERS)))
        with pytest.raises(ContextError, match="larger"):
            read(file)


class TestLibrary:
    def test_without_a_folder_has_the_presets_and_takes_nothing(self) -> None:
        library = ContextLibrary()
        assert "violence" in library
        with pytest.raises(ContextError, match="no folder"):
            library.add(SPIDERS)

    def test_keeps_what_is_added(self, library: ContextLibrary) -> None:
        library.add(replace(SPIDERS, name="My Spiders!"))
        assert saved(library).get("my-spiders") == replace(SPIDERS, name="my-spiders")
        assert saved(library).names()[-1] == "my-spiders"

    def test_refuses_names_that_are_taken(self, library: ContextLibrary) -> None:
        library.add(SPIDERS)
        for name in ("spiders", "Violence"):
            with pytest.raises(ContextError, match="taken"):
                library.add(replace(SPIDERS, name=name))

    @pytest.mark.parametrize("action", ["edit", "delete"])
    def test_leaves_presets_alone(self, library: ContextLibrary, action: str) -> None:
        with pytest.raises(ContextError, match="built in"):
            getattr(library, action)("violence")
        assert library.is_built_in("violence")

    def test_edits(self, library: ContextLibrary) -> None:
        library.add(SPIDERS)
        library.edit("spiders", weight=0.2, neutral={"web": "lace"})
        assert saved(library).get("spiders") == replace(
            SPIDERS, weight=0.2, neutral={"web": "lace"}
        )

    def test_renames_without_leaving_the_old_one(self, library: ContextLibrary) -> None:
        library.add(SPIDERS)
        library.edit("spiders", name="insects")
        assert "spiders" not in saved(library)
        assert saved(library).get("insects").safe_text == SPIDERS.safe_text

    def test_changes_nothing_if_an_edit_is_wrong(self, library: ContextLibrary) -> None:
        library.add(SPIDERS)
        for changes in ({"weight": 2}, {"name": "violence"}, {"shape": 1}):
            with pytest.raises(SafeGenError):
                library.edit("spiders", **changes)
        assert library.get("spiders") == saved(library).get("spiders") == SPIDERS

    def test_duplicates_presets_to_be_changed(self, library: ContextLibrary) -> None:
        copy = library.duplicate("violence", "Mild violence")
        assert (copy.name, copy.label) == ("mild-violence", "Mild violence")
        library.edit("mild-violence", weight=0.1)
        assert library.get("violence").weight is None

    def test_exports_and_imports(self, library: ContextLibrary, tmp_path: Path) -> None:
        library.add(SPIDERS)
        library.export_file("spiders", tmp_path / "out.json")
        library.delete("spiders")
        assert "spiders" not in saved(library)
        assert library.import_file(tmp_path / "out.json") == SPIDERS
        with pytest.raises(ContextError, match="taken"):
            library.import_file(tmp_path / "out.json")
        library.edit("spiders", weight=0.1)
        library.import_file(tmp_path / "out.json", replace_own=True)
        assert saved(library).get("spiders").weight == 0.7

    def test_does_not_import_over_a_preset(self, library: ContextLibrary, tmp_path: Path) -> None:
        library.export_file("violence", tmp_path / "out.json")
        with pytest.raises(ContextError, match="taken by a built-in"):
            library.import_file(tmp_path / "out.json", replace_own=True)

    def test_imported_names_cannot_point_elsewhere(
        self, library: ContextLibrary, tmp_path: Path
    ) -> None:
        file = tmp_path / "evil.json"
        file.write_text(json.dumps({**to_data(SPIDERS), "name": "../../evil"}))
        library.import_file(file)
        assert library.folder is not None
        assert [f.name for f in library.folder.iterdir()] == ["evil.json"]

    def test_one_broken_file_takes_no_other_down(self, library: ContextLibrary) -> None:
        library.add(SPIDERS)
        assert library.folder is not None
        (library.folder / "aaa.json").write_text("{")
        (library.folder / "copy.json").write_text(json.dumps(to_data(SPIDERS)))
        (library.folder / "preset.json").write_text(
            json.dumps({**to_data(SPIDERS), "name": "violence"})
        )
        (library.folder / "notes.txt").write_text("not a context")
        library.reload()
        # Of two files for one name the first in alphabetical order counts.
        assert "spiders" in library
        assert [p.file.name for p in library.problems] == [
            "aaa.json", "preset.json", "spiders.json",
        ]  # fmt: skip
        assert all(p.message for p in library.problems)

    def test_a_new_context_never_overwrites_a_file_that_is_there(
        self, library: ContextLibrary
    ) -> None:
        assert library.folder is not None
        library.folder.mkdir()
        (library.folder / "spiders.json").write_text("{ half written by hand")
        library.reload()
        library.add(SPIDERS)
        assert (library.folder / "spiders.json").read_text() == "{ half written by hand"
        assert saved(library).get("spiders") == SPIDERS

    def test_a_write_that_fails_leaves_the_old_file(
        self, library: ContextLibrary, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        library.add(SPIDERS)

        def fail(*_: object) -> None:
            raise OSError("disk full")

        monkeypatch.setattr("safegen.files.os.fsync", fail)
        with pytest.raises(OSError, match="disk full"):
            library.edit("spiders", weight=0.1)
        assert library.get("spiders") == SPIDERS
        assert saved(library).get("spiders") == SPIDERS
        assert library.folder is not None
        assert [f.name for f in library.folder.iterdir()] == ["spiders.json"]

    def test_what_became_of_a_name_is_known(self, library: ContextLibrary) -> None:
        library.add(SPIDERS)
        library.edit("spiders", name="insects")
        library.edit("insects", name="animals")
        assert library.successor("spiders") == library.successor("insects") == "animals"
        library.add(SPIDERS)
        assert library.successor("spiders") is None
        library.delete("animals")
        assert library.successor("insects") == ""
        assert library.successor("never-there") is None

    def test_an_unknown_name_lists_the_known_ones(self, library: ContextLibrary) -> None:
        with pytest.raises(ContextError, match="violence"):
            library.get("violins")
