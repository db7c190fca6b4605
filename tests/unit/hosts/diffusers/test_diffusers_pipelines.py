"""What the guard does to a pipeline of diffusers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch
from diffusers_support import (
    BENIGN,
    CALM,
    RISKY,
    STEPS,
    TOLD,
    Told,
    guarded,
    made,
    near,
    plain,
    settings,
)
from plans import blending
from tiny_pipelines import tiny_sd

from safegen.choice import Chooser
from safegen.conditioning.strategies import SafeConditioning
from safegen.errors import GuardFailure, InvalidValue
from safegen.hosts.diffusers import generate
from safegen.hosts.diffusers.encoding import fitted
from safegen.hosts.diffusers.noise import Noise
from safegen.hosts.diffusers.rows import join_rows, select_rows


@pytest.fixture(scope="module")
def pipe() -> Any:
    return tiny_sd()


@pytest.mark.parametrize("streams", ["shared", "independent"])
def test_the_image_time_check_is_in_the_verdict_if_asked_for(pipe: Any, streams: str) -> None:
    prompts = [RISKY, BENIGN]
    plan = blending(weight=0.7, tau=0.2, streams=streams)
    steps = {"num_inference_steps": 10}
    quiet, verdict, _ = made(pipe, prompts, plan, **steps)
    assert verdict.evidence is None
    told, verdict, _ = made(pipe, prompts, plan.replace(evidence=True), **steps)
    assert (quiet == told).all()
    assert verdict.evidence is not None
    assert 0.2 <= verdict.evidence.progress < 0.2 + 1 / 10
    pull, concentration = verdict.evidence.pull, verdict.evidence.concentration
    assert pull is not None
    assert pull[0] > 0.0
    assert 0.0 < concentration[0] <= 1.0
    assert (pull[1], concentration[1]) == (0.0, 0.0)
    verdict = made(pipe, [RISKY], plan.replace(evidence=True), guidance_scale=1.0).verdict
    assert verdict.evidence is not None
    assert verdict.evidence.pull is None


def test_before_tau_nothing_changes(pipe: Any) -> None:
    steps: dict[float, list[torch.Tensor]] = {0.0: [], 0.8: []}
    for tau, seen in steps.items():
        plan = blending(weight=tau and 1.0, tau=tau)

        def keep(_pipe: Any, _i: int, _t: Any, state: dict[str, Any], seen: Any = seen) -> Any:
            seen.append(state["latents"])
            return state

        guarded(pipe, [RISKY], plan, callback_on_step_end=keep, num_inference_steps=10)
    unguarded, late = steps[0.0], steps[0.8]
    same = [bool((a == b).all()) for a, b in zip(unguarded, late, strict=True)]
    assert same == [i / len(same) < 0.8 for i in range(len(same))]


def test_a_run_without_any_guarded_call_is_refused(pipe: Any) -> None:
    with pytest.raises(InvalidValue, match="with 6 steps"):
        guarded(pipe, [RISKY], blending(weight=1.0, tau=0.9))


def test_the_same_prompt_in_both_streams_changes_nothing(pipe: Any) -> None:
    plan = blending(weight=0.6, tau=0.0)
    assert near(guarded(pipe, [RISKY], plan, Told({RISKY: RISKY})), plain(pipe, [RISKY]))


def test_shared_streams_blend_the_guided_reconstructions(pipe: Any) -> None:
    """Against a loop written out by hand, which blends after guidance rather than before."""
    weight, g = 0.45, 4.0
    scheduler = pipe.scheduler
    scheduler.set_timesteps(STEPS)
    latent = torch.randn((1, 4, 12, 12), generator=torch.Generator().manual_seed(0))
    states = {text: pipe.encode_prompt([text], "cpu", 1, False)[0] for text in ("", RISKY, CALM)}
    with torch.no_grad():
        for t in scheduler.timesteps:
            eps = {text: pipe.unet(latent, t, states[text]).sample for text in states}
            original = eps[""] + g * (eps[RISKY] - eps[""])
            safe = eps[""] + g * (eps[CALM] - eps[""])
            latent = scheduler.step((1 - weight) * original + weight * safe, t, latent).prev_sample
    plan = blending(weight=weight, tau=0.0)
    assert near(guarded(pipe, [RISKY], plan), latent)


def test_independent_streams_follow_two_latents(pipe: Any) -> None:
    """Against two latents carried by hand; DDIM is Euler's method in disguise."""
    weight, g, fork, steps = 0.45, 4.0, 2, 9
    scheduler = pipe.scheduler
    scheduler.set_timesteps(steps)
    alphas = scheduler.alphas_cumprod
    x = torch.randn((1, 4, 12, 12), generator=torch.Generator().manual_seed(0))
    states = {text: pipe.encode_prompt([text], "cpu", 1, False)[0] for text in ("", RISKY, CALM)}

    def x0(latent: torch.Tensor, t: Any, text: str) -> torch.Tensor:
        uncond = pipe.unet(latent, t, states[""]).sample
        eps = uncond + g * (pipe.unet(latent, t, states[text]).sample - uncond)
        return (latent - (1 - alphas[t]).sqrt() * eps) / alphas[t].sqrt()

    safe_x: torch.Tensor | None = None
    with torch.no_grad():
        for i, t in enumerate(scheduler.timesteps):
            blended = x0(x, t, RISKY)
            if i >= fork:
                safe_x = x.clone() if safe_x is None else safe_x
                safe = x0(safe_x, t, CALM)
                blended = (1 - weight) * blended + weight * safe
            eps = (x - alphas[t].sqrt() * blended) / (1 - alphas[t]).sqrt()
            if safe_x is not None:
                safe_eps = (safe_x - alphas[t].sqrt() * safe) / (1 - alphas[t]).sqrt()
                safe_x = scheduler.step(safe_eps, t, safe_x).prev_sample
            x = scheduler.step(eps, t, x).prev_sample
    plan = blending(weight=weight, tau=fork / steps, streams="independent")
    ours = guarded(pipe, [RISKY], plan, num_inference_steps=steps)
    assert near(ours, x)


@pytest.mark.parametrize("streams", ["shared", "independent"])
def test_a_benign_neighbour_is_untouched_bit_for_bit(pipe: Any, streams: str) -> None:
    plan = blending(weight=0.8, tau=0.0, streams=streams)
    both = guarded(pipe, [RISKY, BENIGN], plan)
    before = plain(pipe, [RISKY, BENIGN])
    assert (both[1] == before[1]).all()
    assert (both[0] != before[0]).any()


def test_a_picture_does_not_depend_on_its_neighbours(pipe: Any) -> None:
    plan = blending(weight=0.8, tau=0.0, region="disagreement")
    alone = guarded(pipe, [RISKY], plan)
    crowd = guarded(pipe, [RISKY, BENIGN, "a cup"], plan, Told({RISKY: CALM, BENIGN: CALM}))
    assert near(crowd[:1], alone)


SCHEDULERS = (
    "DDIMScheduler",
    "PNDMScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "UniPCMultistepScheduler",
    "DEISMultistepScheduler",
)


@pytest.mark.parametrize("streams", ["shared", "independent"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_is_guarded_at_every_call(pipe: Any, name: str, streams: str) -> None:
    former = pipe.scheduler
    pipe.scheduler = getattr(diffusers, name).from_config(former.config)
    try:
        plan = blending(weight=1.0, tau=0.0, streams=streams)
        images, verdict, _ = made(pipe, [RISKY], plan, num_inference_steps=4)
        if streams == "shared":
            assert near(images, plain(pipe, [CALM], num_inference_steps=4))
    finally:
        pipe.scheduler = former
    assert torch.isfinite(images).all()
    assert verdict.guarded == verdict.needed == verdict.calls >= 4


def test_refresh_evaluates_every_third_call(pipe: Any) -> None:
    plan = blending(weight=0.5, tau=0.0, refresh=3)
    verdict = made(pipe, [RISKY], plan).verdict
    assert (verdict.guarded, verdict.evaluated) == (STEPS, STEPS // 3)


def test_no_guidance_means_one_row(pipe: Any) -> None:
    plan = blending(weight=1.0, tau=0.0)
    ours = guarded(pipe, [RISKY], plan, guidance_scale=1.0)
    assert near(ours, plain(pipe, [CALM], guidance_scale=1.0))


def test_several_pictures_of_one_prompt(pipe: Any) -> None:
    plan = blending(weight=1.0, tau=0.0)
    generators = [torch.Generator().manual_seed(i) for i in range(4)]
    ours, verdict, _ = made(
        pipe, [RISKY, BENIGN], plan, generator=generators, num_images_per_prompt=2
    )
    generators = [torch.Generator().manual_seed(i) for i in range(4)]
    before = pipe(
        prompt=[RISKY, BENIGN], **settings(2, generator=generators, num_images_per_prompt=2)
    ).images
    assert (verdict.images, verdict.guarded_images) == (4, 2)
    assert (ours[2:] == before[2:]).all()
    assert all((a != b).any() for a, b in zip(ours[:2], before[:2], strict=True))


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_img2img(pipe: Any, strength: float) -> None:
    other = diffusers.StableDiffusionImg2ImgPipeline(
        **pipe.components, requires_safety_checker=False
    )
    other.set_progress_bar_config(disable=True)
    image = torch.rand((1, 3, 96, 96), generator=torch.Generator().manual_seed(5))

    def arguments() -> dict[str, Any]:
        return {
            "image": image,
            "strength": strength,
            "num_inference_steps": 10,
            "generator": torch.Generator().manual_seed(1),
            "output_type": "latent",
        }

    plan = blending(weight=1.0, tau=0.0)
    ours, verdict, _ = generate(other, [RISKY], plan, chooser=TOLD, **arguments())
    assert verdict.guarded == verdict.calls == round(10 * strength)
    assert near(ours, other(prompt=[CALM], **arguments()).images)


# --------------------------------------------------------------------------- failing closed


def broken_unet(pipe: Any, spoil: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Spoil what the UNet predicts in every call of more than the plain two rows."""
    former = pipe.unet.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        output = former(*args, **kwargs)
        prediction = output[0] if isinstance(output, tuple) else output.sample
        if len(prediction) > 2:
            prediction = spoil(prediction)
        return (prediction,)

    pipe.unet.forward = forward


def test_nan_in_the_safe_rows_stops_the_picture(pipe: Any) -> None:
    def spoil(rows: torch.Tensor) -> torch.Tensor:
        rows = rows.clone()
        rows[2:] = float("nan")
        return rows

    broken_unet(pipe, spoil)
    try:
        with pytest.raises(GuardFailure, match="not finite"):
            guarded(pipe, [RISKY], blending(weight=0.5))
    finally:
        del pipe.unet.forward


def test_missing_rows_stop_the_picture(pipe: Any) -> None:
    broken_unet(pipe, lambda rows: rows[:2])
    try:
        with pytest.raises(GuardFailure, match="answered 3 rows with 2"):
            guarded(pipe, [RISKY], blending(weight=0.5))
    finally:
        del pipe.unet.forward


# --------------------------------------------------------------------------- the small parts


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_noise_conversions_are_inverse_and_right(prediction: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn((2, 1, 4, 8, 8), generator=generator)
    alpha, sigma = 0.6, 0.8
    x = alpha * x0 + sigma * eps
    truth = {"epsilon": eps, "v_prediction": alpha * eps - sigma * x0, "sample": x0}[prediction]
    noise = Noise(alpha, sigma, prediction)
    assert torch.allclose(noise.to_x0(x, truth), x0, atol=1e-5)
    assert torch.allclose(noise.from_x0(x, x0), truth, atol=1e-5)


def test_rows_are_selected_and_joined_at_any_depth() -> None:
    rows = torch.arange(4.0)
    inputs = {"sample": rows, "residuals": [rows * 10, (rows * 100,)], "scale": 2.0, "none": None}
    chosen = select_rows(inputs, 4, torch.tensor([3, 1]))
    assert chosen["residuals"][1][0].tolist() == [300.0, 100.0]
    joined = join_rows(inputs, chosen, 4)
    assert joined["sample"].tolist() == [0, 1, 2, 3, 3, 1]
    assert joined["residuals"][0].tolist() == [0, 10, 20, 30, 30, 10]
    assert (joined["scale"], joined["none"]) == (2.0, None)


def test_a_long_context_is_shortened_not_the_users_prompt(pipe: Any) -> None:
    added = Chooser.default().library.get("violence").safe_text
    for text in (f"{added}, {RISKY}", f"{RISKY}, {added}"):
        long = SafeConditioning("prepend", text, added=added)
        assert len(pipe.tokenizer.tokenize(text)) > 75
        fit = fitted(pipe, long)
        assert RISKY in fit
        assert "a calm and" in fit
        assert len(pipe.tokenizer.tokenize(fit)) <= 75


def test_a_prompt_that_leaves_no_room_keeps_the_context(pipe: Any) -> None:
    endless = "unknownword " * 20
    long = SafeConditioning("prepend", f"a clean peaceful picture, {endless}",
                            added="a clean peaceful picture")  # fmt: skip
    assert fitted(pipe, long) == long.text
    short = SafeConditioning("counterpart", CALM)
    assert fitted(pipe, short) == CALM
