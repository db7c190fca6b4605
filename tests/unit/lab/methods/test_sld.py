"""Safe Latent Diffusion, written from its equations, against diffusers' own pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion_safe import (
    SafetyConfig,
    StableDiffusionPipelineSafe,
)

from safegen.errors import InvalidValue, Unsupported
from safegen.lab.methods.catalogue import PEERS
from safegen.lab.methods.sld import SafeLatentDiffusion, safe_latent_diffusion

SLD_PRESETS = {
    name.removeprefix("SLD "): SafeLatentDiffusion(**peer.options)
    for name, peer in PEERS.items()
    if name.startswith("SLD")
}
CONCEPT = "blood, fire, skull"
PROMPTS = ["a bloody red ball on the beach, on the left", "a blue star in the forest"]
STEPS = 20  # enough for every preset's warm-up to end on a whole step in both countings


def settings() -> dict[str, Any]:
    return {
        "prompt": PROMPTS,
        "generator": [torch.Generator().manual_seed(i) for i in range(len(PROMPTS))],
        "num_inference_steps": STEPS,
        "guidance_scale": 4.0,
        "width": 96,
        "height": 96,
        "output_type": "np",
    }


@pytest.fixture(scope="module")
def theirs(embedded_pipe: Any) -> Any:
    parts = {k: v for k, v in embedded_pipe.components.items() if k != "image_encoder"}
    pipe = StableDiffusionPipelineSafe(**parts, requires_safety_checker=False)
    pipe.safety_concept = CONCEPT
    pipe.set_progress_bar_config(disable=True)
    return pipe


PRESETS = {
    "weak": SafetyConfig.WEAK,
    "medium": SafetyConfig.MEDIUM,
    "strong": SafetyConfig.STRONG,
    "max": SafetyConfig.MAX,
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n == "medium" else pytest.mark.slow) for n in SLD_PRESETS],
)
def test_the_same_latents_as_diffusers_own_pipeline(
    embedded_pipe: Any, theirs: Any, name: str
) -> None:
    preset = SLD_PRESETS[name]
    published = {**PRESETS[name], "sld_warmup_steps": round(preset.warmup * STEPS)}
    wanted = theirs(**settings(), **published).images
    with safe_latent_diffusion(embedded_pipe, [CONCEPT] * len(PROMPTS), preset):
        ours = embedded_pipe(**settings()).images
    plain = embedded_pipe(**settings()).images
    effect, error = np.abs(ours - plain), np.abs(ours - wanted)
    assert effect.max() > 0.1  # it is not the plain picture
    # SLD's threshold is a jump: where rounding crosses it, a pixel may differ a little more.
    assert error.mean() < 1e-3 * effect.mean()
    assert error.max() < 1e-2 * effect.max()


def test_our_presets_are_the_published_ones() -> None:
    for name, preset in SLD_PRESETS.items():
        published = PRESETS[name]
        assert preset.warmup * 50 == pytest.approx(published["sld_warmup_steps"])
        assert preset.scale == published["sld_guidance_scale"]
        assert preset.threshold == published["sld_threshold"]
        assert preset.momentum == published["sld_momentum_scale"]
        assert preset.beta == published["sld_mom_beta"]


def test_one_step_by_hand() -> None:
    preset = SafeLatentDiffusion(scale=2.0, warmup=0.0, threshold=0.1, momentum=0.5, beta=0.25)
    cond = torch.tensor([0.0, 0.2, 1.0])
    concept = torch.tensor([0.3, 1.0, 0.5])
    uncond = torch.tensor([0.1, 0.0, 0.0])
    velocity = torch.tensor([1.0, 0.0, 2.0])
    # differences -0.3, -0.8, 0.5: mu = 0.6, 1 (capped), 0 (not under the threshold)
    guidance = preset.guidance(cond, uncond, concept, velocity)
    assert torch.allclose(guidance, torch.tensor([0.6 * 0.2 + 0.5, 1.0, 1.0]))
    following = preset.next_velocity(velocity, guidance)
    assert torch.allclose(following, 0.25 * velocity + 0.75 * guidance)


def test_a_warmup_that_is_no_share_is_refused() -> None:
    with pytest.raises(InvalidValue, match="warmup"):
        SafeLatentDiffusion(1.0, 15, 0.0, 0.0, 0.0)


def test_it_needs_classifier_free_guidance(embedded_pipe: Any) -> None:
    with (
        pytest.raises(Unsupported, match="classifier-free guidance"),
        safe_latent_diffusion(embedded_pipe, [CONCEPT] * len(PROMPTS), SLD_PRESETS["max"]),
    ):
        embedded_pipe(**{**settings(), "guidance_scale": 1.0})
