"""Sweeps and peers on the embedded model; its weights need not be trained for this."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("diffusers")
pytest.importorskip("filelock")

from safegen.cli import main
from safegen.errors import InvalidValue
from safegen.lab.demo.model import MODEL_FOLDER
from safegen.lab.demo.sampling import WORLD_CONCEPT
from safegen.lab.methods.peers import SemanticGuidance, composition, semantic_pipeline
from safegen.lab.sweep.cells import (
    AND_NOT,
    AND_SAFE,
    NEGATIVE,
    SAFEGEN,
    SEGA,
    SWAP,
    Arm,
    Cell,
    Sampling,
    Unit,
)
from safegen.lab.sweep.local import Local, _pipeline
from safegen.lab.sweep.manifest import Manifest
from safegen.lab.sweep.prompts import Prompt
from safegen.plan import SafetyPlan

STEPS = 4
SAMPLING = Sampling(STEPS, 4.0, 96, 96)
RISKY, BENIGN = "a bloody red ball on the beach", "a blue star in the forest"


def unit(arm: Arm, *texts: str) -> Unit:
    return tuple(
        Cell("s", Prompt(str(i), text, "hazard"), i, arm, SAMPLING) for i, text in enumerate(texts)
    )


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.fixture(scope="module")
def pipe() -> Any:
    return _pipeline(MODEL_FOLDER)


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


def test_every_method_runs_and_is_counted() -> None:
    plain = [pixels(p.png) for p in Local().make(unit(Arm(), RISKY, RISKY))]
    arms = {
        Arm(SAFEGEN, SafetyPlan(weight=1.0, tau=0.0)): 3,
        Arm(SAFEGEN, SafetyPlan(weight=1.0, tau=0.5)): 2.5,
        Arm(NEGATIVE, concept="blood"): 2,
        Arm(SWAP): 2,
        Arm(AND_SAFE): 3,
        Arm(AND_NOT, concept="blood"): 3,
        Arm("SLD max", concept="blood"): 3,
        Arm(SEGA, concept="blood"): 3,
    }
    for arm, rows in arms.items():
        made = Local().make(unit(arm, RISKY, RISKY))
        assert made[0].rows == rows * STEPS, arm.label
        assert (pixels(made[0].png) != plain[0]).any(), arm.label


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
    plan = SafetyPlan(weight=0.5, tau=0.0, strategy="context", context="violence")
    ours = pixels(Local().make(unit(Arm(SAFEGEN, plan), RISKY))[0].png).astype(int)
    theirs = pixels(Local().make(unit(Arm(AND_SAFE, context="violence"), RISKY))[0].png)
    assert np.abs(ours - theirs).max() <= 2
    assert pipe is not None


def test_sega_without_strength_is_plain(pipe: Any) -> None:
    semantic = semantic_pipeline(pipe)
    semantic.set_progress_bar_config(disable=True)
    with torch.no_grad():
        plain = pipe(prompt=[RISKY], **settings(1)).images
        off = SemanticGuidance(scale=0.0).arguments("blood", STEPS)
        on = SemanticGuidance().arguments("blood", STEPS)
        assert torch.allclose(semantic(prompt=[RISKY], **off, **settings(1)).images, plain,
                              atol=1e-4)  # fmt: skip
        assert not torch.allclose(semantic(prompt=[RISKY], **on, **settings(1)).images, plain,
                                  atol=1e-3)  # fmt: skip
    assert on["edit_warmup_steps"] == [round(0.2 * STEPS)]


def test_another_sampler_is_refused() -> None:
    cell = Cell("s", Prompt("1", RISKY, "hazard"), 1, Arm(), Sampling(sampler="Euler a"))
    with pytest.raises(InvalidValue, match="DDIM"):
        Local().make((cell,))


def test_sweep_and_report_without_a_webui(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world, out = tmp_path / "world.csv", tmp_path / "out"
    counts = ["--hazard", "3", "--benign", "2", "--proximal", "2"]
    assert main(["prompts", str(world), *counts]) == 0
    command = [
        "sweep", "--local", "--prompts", str(world), "--weights", "0,1", "--steps", "2",
        "--batch", "2", "--peers", "negative prompt", "--out", str(out), "--quiet",
    ]  # fmt: skip
    assert main([*command, "--dry-run"]) == 0
    assert "21 pictures, 0 of them there" in capsys.readouterr().out
    assert main(command) == 0
    concepts = {f.cell.arm.concept for f in Manifest(out).finished().values()} - {""}
    assert concepts == {WORLD_CONCEPT}, "peers avoid what this world calls its hazards"
    first = {k: f.sha256 for k, f in Manifest(out).finished().items()}
    assert len(first) == 21
    # A sweep that lost the second half of its manifest makes the same pictures again.
    lines = (out / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (out / "manifest.jsonl").write_bytes(b"".join(lines[:6]) + lines[6][:30])
    assert main(command) == 0
    assert {k: f.sha256 for k, f in Manifest(out).finished().items()} == first
    capsys.readouterr()
    assert main(["report", str(out), "--quiet", "--resamples", "50"]) == 0
    page = (out / "report.html").read_text()
    assert "The embedded world" in page
    assert "not complete" not in page
