"""Progress is read off the noise that is left: one meaning for every sampler and step count."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
)
from hypothesis import given
from hypothesis import strategies as st

from safegen.errors import InvalidValue, Unsupported
from safegen.hosts.diffusers.noise import sigma_at
from safegen.method.noise_level import progress_at
from safegen.method.schedule import check_start
from safegen.plan import SafetyPlan

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
BARS = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0)
SIGMAS = ((1 - BARS) / BARS).sqrt().tolist()


@pytest.mark.parametrize("t", [0, 1, 250, 500, 998, 999])
def test_it_is_the_share_of_timesteps_that_are_done(t: int) -> None:
    assert progress_at(SIGMAS[t]) == pytest.approx(1 - t / 999)


def test_between_two_timesteps_the_logarithm_is_interpolated() -> None:
    middle = math.sqrt(SIGMAS[400] * SIGMAS[401])
    assert progress_at(middle) == pytest.approx(1 - 400.5 / 999)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_less_noise_is_never_less_progress(one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert 0 <= progress_at(more) <= progress_at(less) <= 1


def test_pure_noise_is_the_beginning_and_none_the_end() -> None:
    assert (progress_at(1e4), progress_at(math.inf), progress_at(0.0)) == (0, 0, 1)


@pytest.mark.parametrize("sigma", [-1e-9, -math.inf, math.nan])
def test_what_is_no_noise_level_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma"):
        progress_at(sigma)


@pytest.mark.parametrize("steps", [4, 12, 50])
@pytest.mark.parametrize(
    "scheduler",
    [
        DDIMScheduler(**BETAS),
        PNDMScheduler(**BETAS, skip_prk_steps=True),
        EulerDiscreteScheduler(**BETAS),
        EulerDiscreteScheduler(**BETAS, use_karras_sigmas=True),
        DPMSolverMultistepScheduler(**BETAS, use_karras_sigmas=True),
    ],
    ids=["DDIM", "PNDM", "Euler", "Euler Karras", "DPM++ Karras"],
)
def test_a_schedulers_calls_are_as_far_as_their_noise(scheduler: object, steps: int) -> None:
    scheduler.set_timesteps(steps)  # type: ignore[attr-defined]
    timesteps = scheduler.timesteps  # type: ignore[attr-defined]
    found = [progress_at(sigma_at(scheduler, t)) for t in timesteps]
    assert found == pytest.approx([1 - float(t) / 999 for t in timesteps], abs=2e-3)


def test_a_scheduler_of_sigmas_alone_is_read_too() -> None:
    scheduler = EDMEulerScheduler()
    scheduler.set_timesteps(10)
    for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        assert sigma_at(scheduler, timestep) == pytest.approx(float(sigma))


def test_a_scheduler_that_tells_no_noise_level_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="object"):
        sigma_at(object(), 1)


def test_a_run_that_begins_after_the_end_is_refused_with_what_to_change() -> None:
    plan = SafetyPlan(weight=0.7, tau=0.0, end=0.6)
    check_start(plan, 0.59)
    with pytest.raises(InvalidValue, match="end") as caught:
        check_start(plan, 0.6)
    assert "Guard until" in str(caught.value.plain)
    check_start(plan.replace(end=1.0), 1.0)
    check_start(plan.replace(weight=0.0), 0.9)
