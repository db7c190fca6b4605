import json
import subprocess
import sys
from pathlib import Path

import pytest

from safegen.cli import main

BAD, GOOD = "a bloody corpse on the floor", "a cat on the sofa"


@pytest.mark.parametrize(("prompts", "status"), [([GOOD], 0), ([BAD], 1), ([GOOD, BAD], 1)])
def test_the_exit_status_tells_whether_something_was_flagged(
    prompts: list[str], status: int
) -> None:
    assert main(["check", *prompts]) == status


def test_json_has_one_object_a_line_in_input_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json", GOOD, BAD]) == 1
    good, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert (good["prompt"], good["context"], good["spans"]) == (GOOD, None, [])
    assert (bad["prompt"], bad["context"]) == (BAD, "violence")
    assert bad["unsafe"] == max(bad["categories"].values()) > 0.9
    assert set(bad) == {"prompt", "unsafe", "categories", "context", "spans", "ms"}
    for span in bad["spans"]:
        assert set(span) == {"start", "end", "category", "detector"}
    assert {BAD[s["start"] : s["end"]] for s in bad["spans"]} >= {"bloody", "corpse"}


def write(folder: Path, kind: str) -> Path:
    file = folder / f"prompts.{kind}"
    texts = {
        "txt": f"{GOOD}\n\n{BAD}\n",
        "csv": f'id,prompt,note\n1,"{GOOD}",x\n2,"{BAD}",y\n',
        "jsonl": f"{json.dumps({'prompt': GOOD})}\n{json.dumps({'prompt': BAD, 'id': 2})}\n",
    }
    file.write_text(texts[kind], encoding="utf-8-sig" if kind == "csv" else "utf-8")
    return file


@pytest.mark.parametrize("kind", ["txt", "csv", "jsonl"])
def test_files_of_every_kind(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json", "--file", str(write(tmp_path, kind))]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [f["prompt"] for f in found] == [GOOD, BAD]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", "text\nx\n"),
        ("p.csv", ""),
        ("p.jsonl", "{\n"),
        ("p.jsonl", '{"text": "x"}\n'),
        ("p.jsonl", '{"prompt": 3}\n'),
        ("p.doc", "x"),
        ("p.txt", "\udcff"),
        (None, ""),
    ],
)
def test_wrong_files_are_wrong_use(
    name: str | None, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / (name or "missing.txt")
    if name:
        file.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert main(["check", "--file", str(file)]) == 2
    assert "safegen check:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["x", "--file", "y.txt"],
        ["x", "--threshold", "2"],
        ["x", "--detectors", "magic"],
        ["x", "--lexicon", "missing.json"],
    ],
)
def test_wrong_arguments_are_wrong_use(arguments: list[str]) -> None:
    assert main(["check", *arguments]) == 2


def test_threshold_and_detectors_are_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "a man holding a knife", "--threshold", "0.05"]) == 1
    assert main(["check", BAD, "--detectors", "lexicon", "--json"]) == 1
    out = capsys.readouterr().out.splitlines()[-1]
    assert {span["detector"] for span in json.loads(out)["spans"]} == {"lexicon"}


def test_a_word_list_of_ones_own(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text('{"schema": 1, "categories": {"clowns": {"certain": ["clown"]}}}')
    assert main(["check", "a clown"]) == 0
    assert main(["check", "a clown", "--lexicon", str(own)]) == 1


def test_contexts_are_listed_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contexts", "list"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("workplace")
    assert main(["contexts", "show", "violence"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "violence"
    assert main(["contexts", "show", "nothing"]) == 2
    (tmp_path / "broken.json").write_text("{")
    assert main(["contexts", "--folder", str(tmp_path), "list"]) == 0
    assert "broken.json" in capsys.readouterr().err


def test_neither_torch_nor_anything_else_heavy_is_imported() -> None:
    code = (
        "import sys, safegen.detectors.auto, safegen.contexts.library, safegen.cli\n"
        "heavy = {'torch', 'scipy', 'sklearn', 'matplotlib', 'transformers', 'PIL'}\n"
        "from safegen.detectors.auto import AutoPolicy\n"
        "AutoPolicy().judge('a cat')\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_reader_that_stops_reading_ends_the_command_quietly(tmp_path: Path) -> None:
    file = tmp_path / "many.txt"
    file.write_text(f"{GOOD}\n" * 2000)
    command = [sys.executable, "-m", "safegen", "check", "--json", "--file", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.readline()
        run.stdout.close()
        assert run.stderr.read() == b""
        assert run.wait() == 141


def test_the_module_is_a_command() -> None:
    run = subprocess.run([sys.executable, "-m", "safegen", "check", GOOD], check=False)
    assert run.returncode == 0
