"""The report: its keys, its figures by hand, and pictures that are drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("diffusers")

from safegen.cli import main
from safegen.lab.demo import figures, rates, report
from safegen.lab.demo.classifier import Reading
from safegen.lab.demo.sampling import SLD, Cell, Result
from safegen.lab.demo.world import SIZE, Scene
from safegen.plan import SafetyPlan


def result(*scenes: Scene) -> Result:
    pixels = np.zeros((len(scenes), SIZE, SIZE, 3), np.uint8)
    return Result(pixels, tuple(Reading(s) for s in scenes), 1.0, 2, ("",) * len(scenes))


BLOODY = Scene("beach", "ball", "red", "left", "bloody")
CALM = Scene("beach", "ball", "red", "left")
MOVED = Scene("beach", "ball", "red", "right")
OTHER = Scene("snow", "cup", "blue", "left", "skull")


def test_rates_by_hand() -> None:
    plain = result(BLOODY, BLOODY, BLOODY, BLOODY)
    guarded = result(CALM, MOVED, OTHER, BLOODY)
    assert rates.hazard_rate(plain) == 1.0
    assert rates.hazard_rate(guarded) == 0.5
    assert rates.kept(guarded, plain) == {
        "background": 0.75,
        "position": 0.75,
        "object": 0.75,
        "colour": 0.75,
    }


def test_accuracy_counts_asked_and_unasked_hazards_apart() -> None:
    asked = Cell("asked", tuple(report.Job(BLOODY, i) for i in range(4)))
    unasked = Cell("unasked", tuple(report.Job(CALM, i) for i in range(2)))
    measured = report.accuracy(
        [(asked, result(BLOODY, BLOODY, CALM, OTHER)), (unasked, result(CALM, BLOODY))]
    )
    assert measured["hazard_when_asked"] == 0.5  # a skull is not what was asked for
    assert measured["hazard_when_not"] == 0.5
    assert measured["background"] == 5 / 6


def test_intervals_are_wilsons() -> None:
    stats = pytest.importorskip("scipy.stats")
    for hits, n in ((0, 50), (3, 50), (25, 50), (50, 50)):
        wanted = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
        assert figures._interval(hits / n, n) == pytest.approx((wanted.low, wanted.high), abs=1e-6)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("demo")
    return out, report.build(out, prompts=4, cell_prompts=2)


def test_the_report_has_every_key(built: tuple[Path, dict[str, Any]]) -> None:
    out, measured = built
    assert json.loads((out / "report.json").read_text()) == measured
    kept = {"background", "position", "object", "colour"}
    assert measured.keys() >= {
        "versions", "seeds", "default", "plain", "guarded", "benign", "proximal", "sweep",
        "peers", "model",
    }  # fmt: skip
    assert measured["default"].keys() == {"weight", "tau", "strategy", "streams", "curve"}
    for part in ("plain", "guarded"):
        assert measured[part]["kept"].keys() == kept
        assert measured[part]["n"] == 4
    assert measured["plain"]["kept"] == dict.fromkeys(kept, 1.0)
    for point in measured["sweep"]:
        assert point.keys() >= {"weight", "tau", "hazard_rate", "kept", "n"}
    assert {p["name"] for p in measured["peers"]} == {"negative prompt", "prompt swap", *SLD}
    for peer in measured["peers"]:
        assert peer.keys() >= {"hazard_rate", "kept", "rows_per_step", "time_ratio", "n"}
    assert measured["model"].keys() == {"classifier", "generator"}


def test_harmless_pictures_are_identical(built: tuple[Path, dict[str, Any]]) -> None:
    benign = built[1]["benign"]
    assert benign["identical"] == benign["n"] == 4


def test_the_sweep_has_weight_zero_and_the_default(built: tuple[Path, dict[str, Any]]) -> None:
    measured = built[1]
    default = measured["default"]
    points = {(p["weight"], p["tau"]) for p in measured["sweep"]}
    assert (0.0, default["tau"]) in points
    assert (default["weight"], default["tau"]) in points
    assert len(points) == len(measured["sweep"])


def test_both_pictures_are_drawn(built: tuple[Path, dict[str, Any]]) -> None:
    for name in ("comparison.png", "tradeoff.png"):
        pixels = np.asarray(Image.open(built[0] / name).convert("RGB"))
        assert min(pixels.shape[:2]) > 500
        assert pixels.std() > 10


def test_a_second_build_reads_the_cache(built: tuple[Path, dict[str, Any]]) -> None:
    out, first = built
    before = {p.name: p.stat().st_mtime_ns for p in (out / "cache").iterdir()}
    assert report.build(out, prompts=4, cell_prompts=2) == first
    assert {p.name: p.stat().st_mtime_ns for p in (out / "cache").iterdir()} == before


def test_one_prompt_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["demo", "--out", str(tmp_path), "--prompt", "a bloody red ball on the beach"]
    assert main([*arguments, "--weight", "0.6", "--context", "violence"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path.parent == tmp_path
    assert Image.open(path).size[0] > 500


def test_wrong_settings_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, named in (
        (["--weight", "7"], "weight: '7' is not allowed; allowed: a number from 0 to 1"),
        (["--curve", "steep"], "curve: 'steep' is not allowed; allowed: constant, linear, cosine"),
        (["--prompt", "x", "--context", "nonsense"], "nonsense"),
    ):
        assert main(["demo", "--out", str(tmp_path / "out"), *arguments]) == 2
        assert named in capsys.readouterr().err


def test_weights_and_taus_given_are_in_the_plan() -> None:
    cells = {c.name: c for c in report.cells(SafetyPlan(), prompts=4, cell_prompts=2)}
    for weight in report.WEIGHTS:
        plan = cells[f"weight {weight}"].plan
        assert plan is not None
        assert plan.weight == weight
