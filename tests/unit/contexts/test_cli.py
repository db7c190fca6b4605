import json
from pathlib import Path

import pytest

from safegen.cli import main
from safegen.contexts.library import ContextLibrary


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAFEGEN_CONTEXTS", str(tmp_path / "own"))
    return tmp_path / "own"


def contexts(*arguments: str) -> int:
    return main(["contexts", *arguments])


ADD = ("add", "My Spiders", "--safe-text", "butterflies", "--neutral", "Big  Spider=butterfly")


def test_auto_and_every_context_is_listed_and_ones_own_are_marked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert contexts(*ADD, "--description", "No spiders.") == 0
    capsys.readouterr()
    assert contexts("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("auto ")
    assert lines[-1].split(maxsplit=1) == ["my-spiders", "No spiders. (yours)"]
    assert len(lines) == 1 + len(ContextLibrary(folder).names())
    assert contexts("show", "auto") == 0
    assert "picks" in capsys.readouterr().out


def test_add_edit_rename_and_delete(folder: Path) -> None:
    assert contexts(*ADD, "--weight", "0.3") == 0
    kept = ContextLibrary(folder).get("my-spiders")
    assert (kept.safe_text, kept.weight, kept.label) == ("butterflies", 0.3, "My Spiders")
    assert kept.neutral == {"big spider": "butterfly"}
    edit = ("edit", "my-spiders", "--tau", "0.2", "--neutral", "web=", "--forget", "BIG spider")
    assert contexts(*edit, "--name", "Insects") == 0
    library = ContextLibrary(folder)
    assert "my-spiders" not in library
    edited = library.get("insects")
    assert (edited.tau, edited.weight, edited.neutral) == (0.2, 0.3, {"web": ""})
    assert contexts("delete", "insects") == 0
    assert "insects" not in ContextLibrary(folder)


def test_duplicate_export_import(folder: Path, tmp_path: Path) -> None:
    assert contexts("duplicate", "violence", "mild") == 0
    assert contexts("export", "mild", str(tmp_path / "mild.json")) == 0
    assert json.loads((tmp_path / "mild.json").read_text())["name"] == "mild"
    assert contexts("import", str(tmp_path / "mild.json")) == 2
    assert contexts("import", str(tmp_path / "mild.json"), "--replace") == 0
    assert contexts("delete", "mild") == 0
    assert contexts("import", str(tmp_path / "mild.json")) == 0
    assert ContextLibrary(folder).get("mild").category == "violence"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "nothing"), "no context"),
        (("edit", "violence", "--weight", "0.1"), "built in"),
        (("delete", "violence"), "built in"),
        (("add", "violence", "--safe-text", "x"), "taken"),
        (("add", "custom", "--safe-text", "x"), "reserved"),
        (("add", "x"), "safe_text"),
        (("add", "x", "--safe-text", "y", "--weight", "2"), "weight"),
        (("add", "x", "--safe-text", "y", "--neutral", "word"), "WORD=NEUTRAL"),
        (("import", "missing.json"), "missing.json"),
        (("export", "violence", "/nowhere/at/all/x.json"), "nowhere"),
    ],
)
def test_what_cannot_be_done_says_why(
    folder: Path,
    arguments: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if arguments[0] == "export":  # root may write anywhere

        def fail(*_: object, **__: object) -> None:
            raise PermissionError(f"cannot write {arguments[-1]}")

        monkeypatch.setattr("safegen.contexts.library.write_atomically", fail)
    assert contexts(*arguments) == 2
    assert message in capsys.readouterr().err
    assert not list(folder.glob("*.json"))


def test_check_uses_the_same_contexts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert contexts("duplicate", "violence", "mild") == 0
    words = folder.parent / "words.json"
    words.write_text('{"schema": 1, "categories": {"clowns": {"certain": ["clown"]}}}')
    assert contexts("edit", "mild", "--category", "clowns") == 0
    capsys.readouterr()
    assert main(["check", "--json", "a clown", "--lexicon", str(words)]) == 1
    assert json.loads(capsys.readouterr().out)["context"] == "mild"
