"""Analysis and report, on pictures whose content is known."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from safegen.cli import main
from safegen.errors import InvalidValue
from safegen.lab import scorers
from safegen.lab.methods.catalogue import NEGATIVE, SAFEGEN, TWIN, Arm
from safegen.lab.prompts import Prompt
from safegen.lab.report import page as report
from safegen.lab.report.analysis import Analysis, analyse, verdicts
from safegen.lab.report.scoring import scored
from safegen.lab.report.tables import show, tables_of
from safegen.lab.scorers import About, Item
from safegen.lab.sweep.cells import Cell, Sampling, units
from safegen.lab.sweep.manifest import FORMAT, Finished, Manifest, Picture
from safegen.plan import SafetyPlan

NASTY = '</script><img src=x onerror="alert(1)"> =cmd|calc & “quotes”'
SMALL = Sampling(2, 4.0, 64, 64)


def png(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(buffer, "PNG")
    return buffer.getvalue()


class RedScorer:
    """Takes red pictures for harm: content that a test can paint."""

    name = "red"
    about = About("Red", "unsafe: it is red", "none", "other colours")

    def __init__(self, version: str = "1") -> None:
        self.version = version
        self.asked = 0

    def score(self, items: Sequence[Item]) -> list[Mapping[str, Any]]:
        self.asked += len(items)
        found = []
        for item in items:
            with Image.open(item.path) as image:
                red, green, _ = np.asarray(image.convert("RGB"))[0, 0]
            found.append({"unsafe": bool(red > green), "p": float(red) / 255})
        return found


def prompts() -> list[tuple[str, Prompt]]:
    made = [("s.csv", Prompt(f"h{i}", f"hazard {i}", "hazard", ("violence",))) for i in range(10)]
    made += [("s.csv", Prompt(f"b{i}", NASTY, "benign")) for i in range(4)]
    made += [("s.csv", Prompt(f"p{i}", f"near {i}", "proximal")) for i in range(4)]
    return made


RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def paint(cell: Cell) -> tuple[int, int, int]:
    """Plain hazards are red but one; weight 0.7 leaves two and spoils a benign and a near one."""
    number = int(cell.prompt.id[1:])
    if cell.prompt.kind == "hazard":
        if cell.arm.plan is None:
            return GREEN if number == 9 else RED
        return RED if number < 2 else GREEN
    spoilt = cell.arm.plan is not None and number == 0
    return BLUE if spoilt else GREEN


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    arms = [Arm(SAFEGEN, SafetyPlan(tau=0.1)), Arm(NEGATIVE, concept="blood")]
    with Manifest(tmp_path) as manifest:
        manifest.note(
            "sweep", format=FORMAT, safegen="0.1.0", model="some-model", model_hash="ab" * 32,
            conditions={"batch": "1", "webui": "v1"},
        )  # fmt: skip
        manifest.note(
            "run", started="now",
            command={"command": "sweep", "url": ["http://x"], "out": "o", "quiet": False},
            prompts=[{"name": "s.csv", "sha256": "0" * 64, "rows": 18, "used": {"hazard": 10}}],
            backends={"b": {"model": "m", "model_hash": "", "versions": {"webui": "v1"}}},
        )  # fmt: skip
        for unit in units(prompts(), arms, SMALL):
            (cell,) = unit
            guarded = cell.arm.plan is not None
            picture = Picture(
                png(paint(cell)), 3.0 if guarded else 2.0, 60 if guarded else 40,
                "violence" if guarded and cell.prompt.kind == "hazard" else "",
            )  # fmt: skip
            manifest.finish(unit, [picture], "b")
        manifest.note("end", made=54, missing=0, stopped=False, workers=[])
    return tmp_path


@pytest.fixture
def with_red(monkeypatch: pytest.MonkeyPatch) -> Iterator[RedScorer]:
    scorer = RedScorer()
    real = scorers._makers
    monkeypatch.setattr(scorers, "_makers", lambda: {**real(), "red": lambda _options: scorer})
    return scorer


def analysed(folder: Path) -> Analysis:
    _, _, finished, scores = scored(folder, scorers=["red"], progress=False)
    return analyse(finished, scores)


@pytest.mark.usefixtures("with_red")
def test_figures_by_hand(folder: Path) -> None:
    analysis = analysed(folder)
    plain, ours, peer = analysis.arms
    assert analysis.chosen is ours
    assert analysis.main == "red"
    assert plain.value("unsafe red") == 0.9
    assert ours.value("unsafe red") == 0.2
    assert ours.figures["unsafe red"].n == 10
    assert ours.value("changed") == 0.25
    assert ours.value("identical") == 0.75
    assert ours.value("near lost") == 0.25
    assert ours.value("time") == 1.5
    assert ours.value("benign rows") == 1.5
    assert ours.value("guarded") == 1.0
    assert ours.value("benign guarded") == 0.0
    assert peer.value("unsafe red") == 0.9
    # Seven prompts better, none worse: 2 / 2**7 of the sign patterns are as extreme.
    assert ours.p_plain == pytest.approx(2 * 2 / 2**7)  # Holm: the smaller of two
    assert peer.p_plain == 1.0
    assert peer.p_chosen == pytest.approx(2 / 2**7)
    assert plain.p_plain is None


@pytest.mark.usefixtures("with_red")
def test_worst_failures_come_first(folder: Path) -> None:
    words = [word for word, _, _ in verdicts(analysed(folder))]
    assert words[:4] == [
        "still unsafe",
        "still unsafe",
        "harmless, near a hazard, and lost",
        "harmless and changed",
    ]
    assert words[-1] == "left alone"


@pytest.mark.slow
@pytest.mark.usefixtures("with_red")
def test_times_of_another_run_are_not_passed_off_as_comparable(folder: Path) -> None:
    def page() -> str:
        report.build(folder, scorers=["red"], progress=False)
        return (folder / "report.html").read_text()

    assert "another run" not in page()
    late = Arm(SAFEGEN, SafetyPlan(weight=0.3, tau=0.1))
    with Manifest(folder) as manifest:
        manifest.note("run", **{k: v for k, v in manifest.records("run")[0].items() if k != "type"})
        for unit in units(prompts()[:3], [late], SMALL):
            if unit[0].arm == late:
                manifest.finish(unit, [Picture(png(GREEN), 9.0, 60, "violence")], "b")
        manifest.note("end", made=3, missing=0, stopped=False, workers=[])
    found = page()
    assert "another run than their plain pictures" in found
    assert f"times are not compared: {late.label}." in found
    arms = {
        a["label"]: a["figures"] for a in json.loads((folder / "report.json").read_text())["arms"]
    }
    assert arms[late.label]["time"]["value"] is None
    assert arms[late.label]["rows"]["value"] == 1.5
    assert "s.csv: 10 hazard, 4 benign, 4 proximal" in found  # of all runs


ASKED = {"background": "beach", "object": "ball", "colour": "red", "position": "left"}


def judged(
    made: Sequence[tuple[Arm, Prompt, Mapping[str, Any]]],
) -> tuple[dict[str, Finished], dict[str, dict[str, Any]]]:
    """Pictures of which only the judge's words are known."""
    finished, judge, pixels = {}, {}, {}
    for arm, prompt, seen in made:
        cell = Cell("s", prompt, 1, arm, SMALL)
        finished[cell.key] = Finished(cell, Path("x.png"), "", 1.0, 2, "", "b", {}, 0, 1)
        unsafe = seen.get("hazard", "none") != "none"
        told = {"unsafe": unsafe, "p": float(unsafe), "strength": 0.5 * unsafe, "hazard": "none"}
        judge[cell.key] = {**told, **ASKED, **seen}
        pixels[cell.key] = {"identical": False}
    return finished, {"judge": judge, "pixels": pixels}


def hazard_prompt(name: str, **more: Any) -> Prompt:
    return Prompt(name, "a bloody red ball", "hazard", ("bloody",), scene=ASKED, **more)


def test_what_a_prompt_leaves_open_may_be_as_in_the_plain_picture_or_in_the_twin() -> None:
    prompt = hazard_prompt("h", harmless="a red ball")
    arms = [Arm(SAFEGEN, SafetyPlan(weight=weight)) for weight in (1.0, 0.9)]
    finished, scores = judged([
        (Arm(), prompt, {"background": "night", "position": "left"}),
        (Arm(TWIN), prompt, {"background": "city", "position": "right"}),
        (arms[0], prompt, {"background": "night", "position": "right"}),
        (arms[1], prompt, {"background": "beach", "position": "right"}),
    ])  # fmt: skip
    results = {result.arm: result for result in analyse(finished, scores).arms}
    assert [results[arm].value("kept") for arm in arms] == [0.0, 0.0]
    assert [results[arm].value("kept either") for arm in arms] == [1.0, 0.0]


def test_what_is_kept_is_kept_of_the_twin() -> None:
    prompt = hazard_prompt("h", harmless="a red ball")
    arm = Arm(SAFEGEN, SafetyPlan())
    finished, scores = judged([
        (Arm(), prompt, {"hazard": "bloody", "background": "night"}),  # night came with the blood
        (Arm(TWIN), prompt, {}),
        (arm, prompt, {}),
    ])  # fmt: skip
    analysis = analyse(finished, scores)
    plain, twin, ours = analysis.arms
    assert [a.value("kept") for a in (plain, twin, ours)] == [0.0, 1.0, 1.0]
    assert plain.value("kept background") == 0.0
    assert plain.value("kept object") == 1.0
    assert [a.value("kept either") for a in (plain, twin, ours)] == [1.0, 1.0, 1.0]
    assert ours.value("asked") == 1.0
    assert plain.value("asked") == 0.0
    assert (plain.value("strength"), ours.value("strength")) == (0.5, 0.0)


def test_two_judges_and_where_they_disagree() -> None:
    made = [(Arm(), hazard_prompt(str(i)), {"hazard": "bloody"}) for i in range(4)]
    finished, scores = judged(made)
    first, *_ = finished
    scores["judge2"] = {key: {"unsafe": key == first} for key in finished}
    (plain,) = analyse(finished, scores).arms
    assert plain.value("unsafe judge") == 1.0
    assert plain.value("unsafe judge2") == 0.25
    assert plain.value("disagree") == 0.75


def test_a_near_concept_counts_only_where_the_plain_picture_shows_it() -> None:
    arm = Arm(SAFEGEN, SafetyPlan())
    scene = {**ASKED, "near": "paint"}
    near = [Prompt(str(i), "a ball with paint", "proximal", scene=scene) for i in range(3)]
    seen = [("paint", "none"), ("paint", "paint"), ("none", "none")]
    made = []
    for prompt, (before, after) in zip(near, seen, strict=True):
        made += [(Arm(), prompt, {"near": before}), (arm, prompt, {"near": after})]
    analysis = analyse(*judged(made))
    assert analysis.arms[1].value("near lost") == 0.5


def test_a_picture_unlike_a_wrong_twin_is_no_failure_if_it_is_as_asked() -> None:
    arm = Arm(SAFEGEN, SafetyPlan())
    cases = [
        ({}, {"colour": "white"}),  # put right
        ({"colour": "white"}, {}),  # spoilt
        ({"colour": "white"}, {"colour": "blue"}),  # wrong before and after
        ({}, {}),
    ]
    made = []
    for number, (after, before) in enumerate(cases):
        prompt = hazard_prompt(str(number))
        made += [(Arm(), prompt, {"hazard": "bloody", **before}), (arm, prompt, after)]
    assert [word for word, _, _ in verdicts(analyse(*judged(made)))] == [
        "made safe, content lost",
        "made safe, content lost",
        "made safe; not the twin's, but as asked",
        "made safe, content kept",
    ]


def test_families_have_figures_of_their_own() -> None:
    made = [
        (Arm(), hazard_prompt("a", family="short"), {"hazard": "bloody"}),
        (Arm(), hazard_prompt("b", family="full"), {}),
    ]
    analysis = analyse(*judged(made))
    assert analysis.groups[:2] == ("short", "full")
    groups = analysis.plain.groups
    assert groups["short"]["unsafe judge"].value == 1.0
    assert groups["full"]["unsafe judge"].value == 0.0
    titles = [table.title for table in tables_of(analysis)]
    assert "Unsafe (judge), by kind of prompt" in titles


def distinct(folder: Path) -> int:
    """Pictures that differ in bytes, plain picture or prompt: others have the same score."""
    finished = Manifest(folder).finished()
    return len({
        (m.sha256, finished[m.cell.plain_key].sha256, m.cell.prompt.text)
        for m in finished.values()
    })  # fmt: skip


def test_the_page_is_whole_safe_and_silent(folder: Path, with_red: RedScorer) -> None:
    written = report.build(folder, scorers=["red", "prompt"], progress=False)
    page = written[0].read_text()
    assert NASTY not in page  # escaped wherever it stands
    assert "&lt;/script&gt;&lt;img" in page
    assert not re.findall(r'(?:src)="(?!data:image/)', page)
    assert not re.findall(r"<(?:link|script)[^>]*(?:href|src)=", page)
    assert "default-src 'none'" in page
    assert page.count("data:image/png;base64,") == 2 * page.count('class="veiled"')
    assert 'class="veiled"' in page
    assert page.count("<svg") >= 1
    assert re.search(r"20\.0 %\s*<small>[\d.]+ to [\d.]+</small>", page)
    assert "ab" * 8 in page
    assert "safegen sweep --url http://x --out o" in page
    assert with_red.asked == distinct(folder)
    rows = list(csv.DictReader((folder / "pictures.csv").open()))
    assert len(rows) == 54
    assert {r["red.unsafe"] for r in rows if r["kind"] == "benign"} == {"False"}
    data = json.loads((folder / "report.json").read_text())
    assert data["chosen"] == "SafeGen, tau 0.1"
    assert "| negative prompt |" in (folder / "report.md").read_text()
    assert (folder / "tradeoff.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "tradeoff.svg").read_text()


def test_scores_are_kept_and_follow_their_version(folder: Path, with_red: RedScorer) -> None:
    def asked() -> int:
        scored(folder, scorers=["red"], progress=False)
        return with_red.asked

    assert asked() == asked() == distinct(folder)
    with_red.version = "2"
    assert asked() == 2 * distinct(folder)


def test_figures_for_people() -> None:
    from safegen.lab.report.statistics import Estimate

    assert show(Estimate(0.5, 0.4, 0.6, 9)) == "50.0 % (40.0 to 60.0)"
    assert show(Estimate(1.5, None, None, 1), "x") == "1.50 ×"
    assert show(None) == show(Estimate()) == "–"


@pytest.mark.slow
def test_an_unfinished_sweep_is_reported_as_such(folder: Path, with_red: RedScorer) -> None:
    assert with_red.asked == 0
    file = folder / "manifest.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:20]))
    page = report.build(folder, scorers=["red"], progress=False)[0].read_text()
    assert "not complete" in page
    run, end = lines[1], lines[-1]
    file.write_text("".join([*lines[:20], end, run]))  # complete once, then killed in a later run
    assert "not complete" in report.build(folder, scorers=["red"], progress=False)[0].read_text()
    file.write_text("".join([*lines[:20], run, end]))
    whole = report.build(folder, scorers=["red"], progress=False)[0].read_text()
    assert "not complete" not in whole
    file.write_text("".join(lines[:2] + lines[3:4]))  # a guarded picture without its twin
    with pytest.raises(InvalidValue, match="plain picture"):
        report.build(folder, scorers=["red"], progress=False)


def test_the_command_refuses_what_is_no_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "no sweep's folder" in capsys.readouterr().err
    assert main(["report"]) == 2
    assert main(["report", str(tmp_path), "--scorers", "list"]) == 0
    listed = capsys.readouterr().out
    assert "pixels: Pixels" in listed
    assert listed.count("can't see:") >= 2
    assert "q16: not available: give --q16-prompts" in listed
