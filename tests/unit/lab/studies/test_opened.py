"""What ``safegen lab`` writes for judges of anyone's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from safegen.cli import main


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_renders_are_matched_and_labelled(tmp_path: Path) -> None:
    command = ["lab", "render", "--count", "4", "--seed", "7", "--out", str(tmp_path)]
    assert main(command) == 0
    labels = lines(tmp_path / "labels.jsonl")
    assert [label["seed"] for label in labels] == [7, 8, 9, 10]
    for number, label in enumerate(labels):
        shown, plain = (
            np.asarray(Image.open(tmp_path / f"{number:05d}-{name}.png"))
            for name in ("hazard", "plain")
        )
        assert label["hazard"] in ("bloody", "burning", "skull")
        changed = (shown != plain).any(2)
        assert 0 < changed.mean() < 0.9
    first = (tmp_path / "00000-hazard.png").read_bytes()
    assert main(command) == 0
    assert (tmp_path / "00000-hazard.png").read_bytes() == first


def test_samples_stand_in_the_order_of_the_rows(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text('prompt,seed\n"a bloody red ball, on the left",5\na blue star,5\n')
    shared = ["lab", "sample", "--prompts", str(file), "--steps", "2"]
    plain, guarded = tmp_path / "plain", tmp_path / "guarded"
    assert main([*shared, "--plan", "null", "--out", str(plain)]) == 0
    assert main([*shared, "--plan", '{"weight": 1, "tau": 0}', "--out", str(guarded)]) == 0
    said = lines(guarded / "samples.jsonl")
    assert [(s["prompt"], s["seed"], s["calls"]) for s in said] == [
        ("a bloody red ball, on the left", 5, 2),
        ("a blue star", 5, 2),
    ]
    assert [s["context"] for s in said] == ["bloody", ""]
    assert [s["context"] for s in lines(plain / "samples.jsonl")] == ["", ""]

    def png(folder: Path, number: int) -> bytes:
        return (folder / f"{number:05d}.png").read_bytes()

    assert png(plain, 0) != png(guarded, 0)
    assert png(plain, 1) == png(guarded, 1)


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        ("prompt\nx\n", [], "column seed"),
        ("prompt,seed\nx,-1\n", [], "row 1: seed"),
        ("prompt,seed\n", [], "at least one prompt"),
        ("prompt,seed\nx,1\n", ["--plan", "{"], "as JSON"),
        ("prompt,seed\nx,1\n", ["--plan", '{"weigth": 1}'], "weight"),
        ("prompt,seed\nx,1\n", ["--method", "magic"], "SAFREE"),
        ("prompt,seed\nx,1\n", ["--method", "SEGA", "--plan", "{}"], "takes no plan"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, more: list[str], said: str
) -> None:
    file = tmp_path / "p.csv"
    file.write_text(text)
    out = str(tmp_path / "out")
    assert main(["lab", "sample", "--prompts", str(file), "--out", out, *more]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["prompts", "F/x.csv", "--count", "1"], ["lab", "render", "--count", "1", "--seed",
                "1", "--out", "F"], ["demo", "--quiet", "--prompts", "1", "--out", "F"]],
)  # fmt: skip
def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    taken = tmp_path / "file"
    taken.write_text("in the way")
    assert (
        main([part.replace("F", str(taken)) if part[0] == "F" else part for part in command]) == 2
    )
    said = capsys.readouterr().err
    assert said.startswith(f"safegen {command[0]}:")
    assert "Traceback" not in said
