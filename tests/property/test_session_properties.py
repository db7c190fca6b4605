"""Whole guarded runs of a small sampler: what must hold for any plan."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import blending
from property_support import SIGMAS, noise, plans, same_bits, sample, toy_model
from torch import Tensor

from safegen.method.region import disagreement_mask
from safegen.method.schedule import weight_at
from safegen.plan import SafetyPlan

Inputs = tuple[Tensor, Tensor, Tensor]

# Spans that some call of a short run falls into, with a weight that is not 0 there.
guarding = plans(
    enabled=True,
    weight=st.floats(0.05, 1.0),
    tau=st.floats(0.0, 0.4),
    end=st.floats(0.75, 1.0),
)


@st.composite
def inputs(draw: st.DrawFn, dtype: torch.dtype = torch.float64, batch: int = 0) -> Inputs:
    """Noise, cond and safe cond of a few images."""
    shape = (batch or draw(st.integers(1, 3)), draw(st.sampled_from([1, 4, 16])), 5, 4)
    seed = draw(st.integers(0, 10_000))
    x, cond, safe = (noise(shape, seed + i, dtype) for i in range(3))
    return x * SIGMAS[0], cond, safe


how = st.fixed_dictionaries({"heun": st.booleans(), "churn": st.sampled_from([0.0, 0.5])})


@given(plans(weight=0.0), inputs(torch.float16), how)
def test_weight_0_is_the_plain_run_bit_for_bit(plan: SafetyPlan, given_: Inputs, how: dict) -> None:
    x, cond, _ = given_
    poison = torch.full_like(cond, math.nan)
    assert same_bits(
        sample(plan, x, cond, poison, **how).latent, sample(None, *given_, **how).latent
    )


@given(plans(enabled=False), inputs(torch.float16), how)
def test_disabled_is_the_plain_run_bit_for_bit(plan: SafetyPlan, given_: Inputs, how: dict) -> None:
    x, cond, _ = given_
    poison = torch.full_like(cond, math.nan)
    run = sample(plan, x, cond, poison, **how)
    plain = sample(None, *given_, **how)
    assert same_bits(run.latent, plain.latent)
    assert run.rows == plain.rows
    assert run.verdict is not None
    assert run.verdict.needed == run.verdict.guarded == run.verdict.evaluated == 0


@given(guarding, inputs(torch.float32), how)
def test_benign_images_are_those_of_a_plain_run(
    plan: SafetyPlan, given_: Inputs, how: dict
) -> None:
    """Bit for bit, beside guarded neighbours, though the sampler moves all of them together."""
    guarded = [i % 2 == 1 for i in range(len(given_[0]))]
    run = sample(plan, *given_, guarded=guarded, **how)
    plain = sample(None, *given_, **how).latent
    for i, is_guarded in enumerate(guarded):
        assert same_bits(run.latent[i], plain[i]) or is_guarded


@given(guarding, inputs(torch.float32), how)
def test_an_image_does_not_depend_on_its_neighbours(
    plan: SafetyPlan, given_: Inputs, how: dict
) -> None:
    together = sample(plan, *given_, **how).latent
    for i in range(len(together)):
        alone = sample(plan, *(t[i : i + 1] for t in given_), **how).latent
        assert same_bits(together[i : i + 1], alone)


@given(
    plans(
        enabled=True, weight=1.0, tau=0.0, end=1.0, curve="constant", region="everywhere", refresh=1
    ),
    inputs(),
    st.booleans(),
)
def test_weight_1_is_the_safe_prompt_alone(plan: SafetyPlan, given_: Inputs, heun: bool) -> None:
    x, cond, safe = given_
    if plan.streams == "independent":
        heun = False  # the stream's own steps are Euler's
    run = sample(plan, x, cond, safe, heun=heun)
    swapped = sample(None, x, safe, safe, heun=heun)
    torch.testing.assert_close(run.latent, swapped.latent, rtol=1e-9, atol=1e-9)


@given(guarding, inputs(), st.floats(0.0, 15.0))
def test_independent_streams_are_shared_ones_when_both_see_one_cond(
    plan: SafetyPlan, given_: Inputs, scale: float
) -> None:
    x, cond, _ = given_
    runs = [
        sample(plan.replace(streams=streams), x, cond, cond, scale=scale).latent
        for streams in ("shared", "independent")
    ]
    torch.testing.assert_close(runs[0], runs[1], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(runs[0], sample(None, x, cond, cond, scale=scale).latent)


@given(guarding.filter(lambda plan: plan.region == "everywhere"), inputs(), how)
def test_both_streams_agree_at_the_fork(plan: SafetyPlan, given_: Inputs, how: dict) -> None:
    """At the first guarded call both have the sampler's latent, so guidance commutes."""
    shared, independent = (
        sample(plan.replace(streams=streams), *given_, **how).sent
        for streams in ("shared", "independent")
    )
    weights = [weight_at(plan, i / len(SIGMAS)) for i in range(len(SIGMAS))]
    if how["heun"]:
        weights = [w for i, w in enumerate(weights) for _ in range(2 if i < 8 else 1)]
    fork = next(i for i, w in enumerate(weights) if w > 0)
    for a, b in zip(shared[: fork + 1], independent[: fork + 1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@given(inputs(batch=1), st.floats(0.2, 0.8))
def test_streams_part_after_the_fork(given_: Inputs, weight: float) -> None:
    plan = blending(weight=weight, tau=0.0)
    shared, independent = (
        sample(plan.replace(streams=streams), *given_).latent
        for streams in ("shared", "independent")
    )
    assert (shared - independent).abs().max() > 1e-6


@given(guarding, inputs(), st.sampled_from(["everywhere", "disagreement"]))
def test_refresh_1_is_no_refresh(plan: SafetyPlan, given_: Inputs, region: str) -> None:
    """Against the method written down plainly, with shared streams and Euler steps."""
    plan = plan.replace(streams="shared", refresh=1, region=region, dial="reconstruction")
    run = sample(plan, *given_, scale=2.0)
    x, cond, safe = given_
    for i, sigma in enumerate(SIGMAS):
        base, a, b = (toy_model(x, sigma, c) for c in (torch.zeros_like(cond), cond, safe))
        w = weight_at(plan, i / len(SIGMAS))
        mask = disagreement_mask(a, b) if region == "disagreement" else torch.ones_like(a)
        x0 = base + 2.0 * ((1 - w * mask) * a + w * mask * b - base)
        following = SIGMAS[i + 1] if i + 1 < len(SIGMAS) else 0.0
        x = x0 + following / sigma * (x - x0)
    torch.testing.assert_close(run.latent, x, rtol=1e-9, atol=1e-9)
    assert run.verdict is not None
    assert run.verdict.evaluated == run.verdict.guarded == run.verdict.needed > 0


@given(guarding, inputs(), st.integers(2, 10))
def test_refresh_is_exact_where_the_difference_stays(
    plan: SafetyPlan, given_: Inputs, interval: int
) -> None:
    """A safe cond that equals the cond differs by 0 at every call, reused or not."""
    x, cond, _ = given_
    often = sample(plan.replace(refresh=1), x, cond, cond).latent
    seldom = sample(plan.replace(refresh=interval), x, cond, cond).latent
    torch.testing.assert_close(seldom, often, rtol=1e-9, atol=1e-9)


@given(guarding, inputs(torch.float16), how)
def test_the_verdict_counts(plan: SafetyPlan, given_: Inputs, how: dict) -> None:
    batch = len(given_[0])
    run, plain = sample(plan, *given_, **how), sample(None, *given_, **how)
    weights = [weight_at(plan, i / len(SIGMAS)) for i in range(len(SIGMAS))]
    if how["heun"]:
        weights = [w for i, w in enumerate(weights) for _ in range(2 if i < 8 else 1)]
    active = sum(w > 0 for w in weights)
    verdict = run.verdict
    assert verdict is not None
    assert verdict.calls == len(weights)
    assert verdict.needed == verdict.guarded == active
    assert verdict.evaluated == math.ceil(active / plan.refresh)
    assert verdict.images == verdict.guarded_images == batch
    extra = (2 if plan.streams == "independent" else 1) * batch * verdict.evaluated
    assert run.rows - plain.rows == extra


@settings(max_examples=30)
@given(
    inputs(batch=1),
    st.sampled_from(["shared", "independent"]),
    st.sampled_from(["everywhere", "disagreement"]),
    st.lists(st.floats(0.0, 1.0), min_size=2, max_size=2, unique=True),
)
def test_more_weight_goes_further_from_the_plain_reconstruction(
    given_: Inputs, streams: str, region: str, ends: list[float]
) -> None:
    """In one call, at one latent; later ones see latents that have already parted."""
    low, high = sorted(ends)
    plain = sample(None, *given_, sigmas=(3.0,)).latent

    def distance(weight: float) -> float:
        plan = blending(weight=weight, tau=0.0, streams=streams, region=region)
        return float((sample(plan, *given_, sigmas=(3.0,)).latent - plain).norm())

    assert distance(low) <= distance(high) + 1e-9
    if high - low > 1e-3:
        assert distance(low) < distance(high)


@given(guarding, inputs(torch.float64), how)
def test_the_samplers_dtype_stays(plan: SafetyPlan, given_: Inputs, how: dict) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        run = sample(plan, *(t.to(dtype) for t in given_), sigmas=(6.0, 3.0, 1.0), **how)
        assert all(sent.dtype == dtype for sent in run.sent)
        assert torch.isfinite(run.latent).all()


@pytest.mark.parametrize("region", ["everywhere", "disagreement"])
@pytest.mark.parametrize("streams", ["shared", "independent"])
def test_videos_are_guarded(streams: str, region: str) -> None:
    """[B, C, T, H, W]."""
    x, cond, safe = (noise((2, 4, 3, 4, 5), i, torch.float32) for i in range(3))
    plan = blending(weight=0.6, streams=streams, region=region)
    run = sample(plan, x, cond, safe)
    alone = sample(plan, x[1:], cond[1:], safe[1:])
    assert same_bits(run.latent[1:], alone.latent)
    assert not same_bits(run.latent, sample(None, x, cond, safe).latent)
