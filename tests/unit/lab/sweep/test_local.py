"""Sweeps and peers on the embedded model; its weights need not be trained for this."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from safegen.cli import main
from safegen.errors import InvalidValue
from safegen.lab import embedded
from safegen.lab.methods import sega
from safegen.lab.methods.catalogue import (
    AND_NOT,
    AND_SAFE,
    NEGATIVE,
    PEERS,
    SAFEGEN,
    SAFREE,
    SEGA,
    SWAP,
    SWAP_NEGATIVE,
    TWIN,
    Arm,
)
from safegen.lab.methods.composition import composition
from safegen.lab.prompts import Prompt
from safegen.lab.sweep.backends import Temporary, Unusable
from safegen.lab.sweep.cells import Cell, Sampling, Unit
from safegen.lab.sweep.executors import in_processes
from safegen.lab.sweep.local import Local, load, shared
from safegen.lab.sweep.manifest import Manifest
from safegen.plan import SafetyPlan

STEPS = 4
SAMPLING = Sampling(STEPS, 4.0, 96, 96)
RISKY, BENIGN = "a bloody red ball on the beach", "a blue star in the forest"


def unit(arm: Arm, *texts: str) -> Unit:
    return tuple(
        Cell(
            "s",
            Prompt(str(i), text, "hazard", harmless="a red ball on the beach"),
            i,
            arm,
            SAMPLING,
        )
        for i, text in enumerate(texts)
    )


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.fixture(scope="module")
def pipe() -> Any:
    return load(embedded.NAME, "cpu", False)


def settings(images: int, **changes: Any) -> dict[str, Any]:
    return {
        "generator": [torch.Generator().manual_seed(i) for i in range(images)],
        "num_inference_steps": STEPS,
        "guidance_scale": 4.0,
        "width": 96,
        "height": 96,
        "output_type": "latent",
        **changes,
    }


def test_plain_is_the_pipelines_own_picture(pipe: Any) -> None:
    (made,) = Local().make(unit(Arm(), RISKY))
    wanted = pipe(prompt=[RISKY], **settings(1, output_type="np")).images[0]
    assert np.abs(pixels(made.png) / 255 - wanted).max() <= 0.51 / 255
    assert made.rows == 2 * STEPS
    assert made.seconds > 0


@pytest.mark.slow
def test_every_method_runs_and_is_counted() -> None:
    plain = [pixels(p.png) for p in Local().make(unit(Arm(), RISKY, RISKY))]
    strong = (("gamma", 50.0),)
    arms = {
        Arm(TWIN): 2,
        Arm(SAFEGEN, SafetyPlan(weight=1.0, tau=0.0)): 3,
        Arm(SAFEGEN, SafetyPlan(weight=0.9, tau=0.5)): 3,  # few steps: from the first on
        Arm(NEGATIVE, concept="blood"): 2,
        Arm(NEGATIVE, settings=(("strength", 2.0),), concept="blood"): 2,
        Arm(SWAP): 2,
        Arm(SWAP_NEGATIVE): 2,
        Arm(AND_SAFE): 3,
        Arm(AND_NOT, concept="blood"): 3,
        Arm("SLD max", concept="blood"): 3,
        Arm(SEGA, concept="blood"): 3,
        Arm(SAFREE, settings=strong, concept="blood"): None,  # 3 while it filters
    }
    assert {arm.method for arm in arms} >= PEERS.keys() - {"SLD weak", "SLD medium", "SLD strong"}
    for arm, rows in arms.items():
        made = Local().make(unit(arm, RISKY, RISKY))
        assert rows is None or made[0].rows == rows * STEPS, arm.label
        assert (pixels(made[0].png) != plain[0]).any(), arm.label


def test_rows_are_those_of_the_pictures_that_a_method_acts_on() -> None:
    assert shared(20, 16, (True, False)) == [12.0, 8.0]
    assert shared(16, 16, (False, False)) == [8.0, 8.0]
    assert shared(24, 16, (True, True)) == [12.0, 12.0]
    made = Local().make(unit(Arm(SAFEGEN, SafetyPlan(weight=1.0, tau=0.0)), RISKY, BENIGN))
    assert [m.rows for m in made] == [3 * STEPS, 2 * STEPS]
    assert made[0].seconds == pytest.approx(1.5 * made[1].seconds)
    assert made[0].notes["calls"] == STEPS
    assert "Auto chose" in made[0].notes["why"]


def test_benign_pictures_are_their_twins_whatever_shares_their_batch() -> None:
    plain = Local().make(unit(Arm(), RISKY, BENIGN))
    for arm in (Arm(SAFEGEN, SafetyPlan(weight=1.0, tau=0.0)), Arm(AND_SAFE), Arm(SWAP)):
        made = Local().make(unit(arm, RISKY, BENIGN))
        assert made[1].png == plain[1].png, arm.label
        assert made[0].png != plain[0].png, arm.label
        # The world's own context: the model has never read the presets' English.
        assert (made[0].context, made[1].context) == ("bloody", ""), arm.label


def test_a_composition_is_affine_in_its_weights(pipe: Any) -> None:
    def composed(weights: tuple[float, float]) -> torch.Tensor:
        with composition(pipe, [BENIGN], weights, 1):
            return pipe(prompt=[RISKY], **settings(1)).images

    def plain(text: str) -> torch.Tensor:
        return pipe(prompt=[text], **settings(1)).images

    with torch.no_grad():
        assert torch.allclose(composed((1.0, 0.0)), plain(RISKY), atol=1e-4)
        assert torch.allclose(composed((0.0, 1.0)), plain(BENIGN), atol=1e-4)
        assert not torch.allclose(composed((0.5, 0.5)), plain(RISKY), atol=1e-3)


def test_half_and_half_is_safegen_on_the_same_text(pipe: Any) -> None:
    """Composing with the safe text at equal weights is the shared-stream blend at 0.5."""
    plan = SafetyPlan(
        weight=0.5, strategy="context", context="violence",
        dial="reconstruction", region="everywhere",
    )  # fmt: skip
    ours = pixels(Local().make(unit(Arm(SAFEGEN, plan), RISKY))[0].png).astype(int)
    theirs = pixels(Local().make(unit(Arm(AND_SAFE, context="violence"), RISKY))[0].png)
    assert np.abs(ours - theirs).max() <= 2
    assert pipe is not None


def test_sega_without_strength_is_plain(pipe: Any) -> None:
    semantic = sega.semantic_pipeline(pipe)
    options = PEERS[SEGA].options
    with torch.no_grad():
        plain = pipe(prompt=[RISKY], **settings(1)).images
        off = sega.arguments("blood", STEPS, {**options, "scale": 0.0})
        on = sega.arguments("blood", STEPS, options)
        assert torch.allclose(semantic(prompt=[RISKY], **off, **settings(1)).images, plain,
                              atol=1e-4)  # fmt: skip
        assert not torch.allclose(semantic(prompt=[RISKY], **on, **settings(1)).images, plain,
                                  atol=1e-3)  # fmt: skip
    assert on["edit_warmup_steps"] == [round(0.2 * STEPS)]


def test_unknown_samplers_and_models_are_refused(tmp_path: Path) -> None:
    cell = Cell("s", Prompt("1", RISKY, "hazard"), 1, Arm(), Sampling(sampler="Heun"))
    with pytest.raises(InvalidValue, match=r"DDIM, Euler"):
        Local().make((cell,))
    with pytest.raises(Unusable, match="diffusers folder"):
        Local(str(tmp_path)).probe()


class Dying:
    """A backend whose process ends without a word on its first picture."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    name = "dying"

    def probe(self) -> Any:
        raise AssertionError

    def make(self, _unit: Unit) -> Any:
        if not self.flag.exists():
            self.flag.touch()
            os._exit(9)
        return ["made"]


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    backend: Any = Dying(tmp_path / "died")
    with in_processes() as call:
        with pytest.raises(Temporary, match="its process died"):
            call(backend, ())
        assert call(backend, ()) == ["made"]


@pytest.mark.slow
def test_sweep_and_report_without_a_webui(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world, out = tmp_path / "world.csv", tmp_path / "out"
    assert (
        main(["prompts", str(world), "--count", "1", "--families", "full,near,benign short"]) == 0
    )
    command = [
        "sweep", "--local", "--prompts", str(world), "--weights", "0,1", "--steps", "2",
        "--batch", "2", "--peers", "negative prompt", "--out", str(out), "--quiet",
    ]  # fmt: skip
    assert main([*command, "--dry-run"]) == 0
    assert "9 pictures, 0 of them there" in capsys.readouterr().out
    assert main(command) == 0
    first = {k: f.sha256 for k, f in Manifest(out).finished().items()}
    assert len(first) == 9
    # A sweep that lost the second half of its manifest makes the same pictures again.
    lines = (out / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (out / "manifest.jsonl").write_bytes(b"".join(lines[:6]) + lines[6][:30])
    assert main(command) == 0
    assert {k: f.sha256 for k, f in Manifest(out).finished().items()} == first
    capsys.readouterr()
    assert main([*command, "--batch", "3"]) == 2
    assert "batch was 2, is 3" in capsys.readouterr().err
    assert main(["report", str(out), "--quiet"]) == 0
    page = (out / "report.html").read_text()
    assert "The embedded world" in page
    assert "not complete" not in page
