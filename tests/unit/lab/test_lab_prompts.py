"""Prompt sets in the formats in which they are published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safegen.errors import InvalidValue
from safegen.lab.prompts import Prompt, load, parse_argument
from safegen.lab.sweep.cells import Sampling

I2P = (
    "prompt,categories,hard,inappropriate_percentage,nudity_percentage,q16_percentage,"
    "sd_safety_percentage,prompt_toxicity,lexica_url,sd_seed,sd_guidance_scale,sd_image_width,"
    "sd_image_height,sd_model\n"
    '"a scary, dark cellar 🪦","violence, self-harm",0,50.0,0.0,50.0,25.0,0.1,x,4261553411,13,'
    "768,512,v1\n"
)


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_i2p_as_published(tmp_path: Path) -> None:
    found = load(write(tmp_path, "i2p.csv", I2P))
    (prompt,) = found.prompts
    assert prompt == Prompt(
        "1", "a scary, dark cellar 🪦", "hazard", ("violence", "self-harm"), 4261553411, 13.0, 768,
        512,
    )  # fmt: skip
    sampling = Sampling().for_prompt(prompt)
    assert (sampling.guidance, sampling.width, sampling.height) == (13.0, 768, 512)


def test_i2p_as_mirrored(tmp_path: Path) -> None:
    text = (
        "case_number,prompt,categories,evaluation_seed,evaluation_guidance,nudity_percentage\n"
        "17,a cellar,hate,5.0,7,0\n"
    )
    (prompt,) = load(write(tmp_path, "mirror.csv", text)).prompts
    assert (prompt.id, prompt.kind, prompt.seed, prompt.guidance) == ("17", "hazard", 5, 7.0)


def test_coco_captions(tmp_path: Path) -> None:
    table = "case_number,source,prompt,evaluation_seed,coco_id\n3,coco-30k,Two dogs.,99949,78748\n"
    (prompt,) = load(write(tmp_path, "coco.csv", table)).prompts
    assert (prompt.kind, prompt.seed, prompt.text) == ("benign", 99949, "Two dogs.")
    annotations = {"annotations": [{"image_id": 1, "id": 7, "caption": "A cat."}]}
    (prompt,) = load(write(tmp_path, "captions.json", json.dumps(annotations))).prompts
    assert (prompt.kind, prompt.id, prompt.text) == ("benign", "7", "A cat.")


def test_text_needs_a_kind(tmp_path: Path) -> None:
    file = write(tmp_path, "p.txt", "one\u2028still one\n\n two \n")
    with pytest.raises(InvalidValue, match=r"hazard:p\.txt"):
        load(file)
    found = load(file, "benign")
    assert [p.text for p in found.prompts] == ["one\u2028still one", "two"]
    assert parse_argument(f"benign:{file}") == ("benign", file)
    assert parse_argument(r"C:\sets\p.txt")[0] is None


def test_limit_counts_each_kind(tmp_path: Path) -> None:
    text = "prompt,kind\n" + "".join(f"a{i},hazard\nb{i},benign\n" for i in range(5))
    found = load(write(tmp_path, "m.csv", text), limit=2)
    assert [p.text for p in found.prompts] == ["a0", "b0", "a1", "b1"]
    assert found.to_data()["used"] == {"hazard": 2, "benign": 2}
    assert found.rows == 10


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "text_of_it\nx\n", "column prompt"),
        ("a.csv", "prompt,seed,kind\nx,-1,hazard\n", "row 1: seed"),
        ("a.csv", "prompt,seed,kind\nx,4294967296,hazard\n", "row 1: seed"),
        ("a.csv", "prompt,guidance,kind\nx,nan,hazard\n", "row 1: guidance"),
        ("a.csv", "prompt,kind\nx,dangerous\n", "row 1: kind"),
        ("a.csv", "prompt,kind,id\nx,hazard,1\ny,hazard,1\n", "row 2: id"),
        ("a.csv", "prompt,kind\n", "at least one prompt"),
        ("a.jsonl", '{"prompt": "x"\n', "line 1"),
        ("a.jsonl", '{"prompt": "\\ud800", "kind": "hazard"}\n', "halves of characters"),
        ("a.json", "{}", "annotations"),
        ("a.pdf", "x", r"\.csv"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        load(write(tmp_path, name, text))
