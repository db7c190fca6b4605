"""The push away from a context's unsafe text, on pipelines: which rows, and what they come to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from diffusers_support import BENIGN, CALM, RISKY, Told, apart, guarded, made, near, plain, settings
from plans import blending
from tiny_pipelines import tiny_sd, tiny_sdxl

from safegen.conditioning.strategies import SafeConditioning
from safegen.hosts.diffusers import guard, replaced_forward

UNSAFE = "blood, a fire, a skull"
STEPS = 3
PUSH = 1.5


def told(safe: str = CALM, unsafe: str = UNSAFE) -> Told:
    strategy = "away" if safe == RISKY else "counterpart"
    return Told({RISKY: SafeConditioning(strategy, safe, unsafe=unsafe)})


@pytest.fixture(scope="module")
def pipe() -> Any:
    return tiny_sd()


@pytest.fixture(scope="module")
def sdxl() -> Any:
    return tiny_sdxl()


def quick(images: int = 1, **changes: Any) -> dict[str, Any]:
    return settings(images, **{"num_inference_steps": STEPS, **changes})


@contextmanager
def watched(unet: Any) -> Iterator[list[dict[str, Any]]]:
    """The inputs of every call of the UNet's forward within the block."""
    seen: list[dict[str, Any]] = []

    def spy(forward: Any) -> Any:
        def call(sample: Any, timestep: Any, **kwargs: Any) -> Any:
            seen.append({"sample": sample, **kwargs})
            return forward(sample=sample, timestep=timestep, **kwargs)

        return call

    with replaced_forward(unet, spy):
        yield seen


def rows(seen: list[dict[str, Any]]) -> list[int]:
    return [len(inputs["sample"]) for inputs in seen]


@torch.no_grad()
@pytest.mark.parametrize("safe", [CALM, RISKY], ids=["counterpart", "away"])
@pytest.mark.parametrize("g", [4.0, 1.0])
def test_pushes_the_guided_reconstruction(pipe: Any, g: float, safe: str) -> None:
    """Against a loop written out by hand, which guides first, then pushes, then blends."""
    weight, scheduler = 0.6, pipe.scheduler
    scheduler.set_timesteps(STEPS)
    x = torch.randn((1, 4, 12, 12), generator=torch.Generator().manual_seed(0))
    texts = ("", RISKY, safe, UNSAFE)
    states = {text: pipe.encode_prompt([text], "cpu", 1, False)[0] for text in texts}
    for t in scheduler.timesteps:
        eps = {text: pipe.unet(x, t, states[text]).sample for text in states}
        original = eps[""] + g * (eps[RISKY] - eps[""])
        pushed = eps[""] + g * (eps[safe] - eps[""]) - PUSH * (eps[UNSAFE] - eps[""])
        x = scheduler.step((1 - weight) * original + weight * pushed, t, x).prev_sample
    plan = blending(weight=weight, tau=0.0, push=PUSH)
    with watched(pipe.unet) as seen:
        ours = guarded(pipe, [RISKY], plan, told(safe), **quick(guidance_scale=g))
    assert near(ours, x)
    assert rows(seen) == [3 if safe == RISKY else 4] * STEPS
    assert apart(ours, guarded(pipe, [RISKY], plan.replace(push=0), told(safe), **quick()))


@torch.no_grad()
@pytest.mark.parametrize("g", [4.0, 1.0])
def test_independent_streams_push_the_second_latent(pipe: Any, g: float) -> None:
    weight, scheduler = 0.6, pipe.scheduler
    scheduler.set_timesteps(STEPS)
    alphas = scheduler.alphas_cumprod
    x = torch.randn((1, 4, 12, 12), generator=torch.Generator().manual_seed(0))
    safe_x = x.clone()
    texts = ("", RISKY, CALM, UNSAFE)
    states = {text: pipe.encode_prompt([text], "cpu", 1, False)[0] for text in texts}

    def x0(latent: torch.Tensor, t: Any, text: str) -> torch.Tensor:
        eps = pipe.unet(latent, t, states[text]).sample
        return (latent - (1 - alphas[t]).sqrt() * eps) / alphas[t].sqrt()

    for t in scheduler.timesteps:

        def step(latent: torch.Tensor, clean: torch.Tensor, t: Any = t) -> torch.Tensor:
            eps = (latent - alphas[t].sqrt() * clean) / (1 - alphas[t]).sqrt()
            return scheduler.step(eps, t, latent).prev_sample

        base, safe_base = x0(x, t, ""), x0(safe_x, t, "")
        safe = safe_base + g * (x0(safe_x, t, CALM) - safe_base)
        safe = safe - PUSH * (x0(safe_x, t, UNSAFE) - safe_base)
        blended = (1 - weight) * (base + g * (x0(x, t, RISKY) - base)) + weight * safe
        x, safe_x = step(x, blended), step(safe_x, safe)
    plan = blending(weight=weight, tau=0.0, push=PUSH, streams="independent")
    ours = guarded(pipe, [RISKY], plan, told(), **quick(guidance_scale=g))
    assert near(ours, x)


def test_rows_are_evaluated_where_they_act_and_nowhere_else(sdxl: Any) -> None:
    plan = blending(weight=0.6, tau=0.3, end=0.9, push=PUSH, refresh=2)
    with watched(sdxl.unet) as seen:
        verdict = made(sdxl, [RISKY], plan, told(), **quick(num_inference_steps=10)).verdict
    assert (verdict.guarded, verdict.evaluated) == (6, 3)
    assert rows(seen) == [2, 2, 2, 4, 2, 4, 2, 4, 2, 2]
    with watched(sdxl.unet) as seen:  # its context has no unsafe text
        made(sdxl, [RISKY], plan, told(unsafe=""), **quick(num_inference_steps=10))
    assert rows(seen) == [2, 2, 2, 3, 2, 3, 2, 3, 2, 2]


def test_no_push_is_todays_blend_bit_for_bit(sdxl: Any) -> None:
    plan = blending(weight=0.6, tau=0.0)
    without = guarded(sdxl, [RISKY], plan, told(unsafe=""), **quick())
    assert torch.equal(without, guarded(sdxl, [RISKY], plan, told(), **quick()))
    off = plan.replace(weight=0.0, push=PUSH)
    assert torch.equal(
        guarded(sdxl, [RISKY], off, told(), **quick()), plain(sdxl, [RISKY], **quick())
    )


def test_harmless_neighbours_stay_bit_for_bit_and_the_batch_does_not_matter(sdxl: Any) -> None:
    plan = blending(weight=0.8, tau=0.0, push=PUSH, region="disagreement")
    other = "a red ball"
    chooser = told()
    chooser.table[other] = SafeConditioning("away", other, unsafe=UNSAFE)
    batch = [RISKY, BENIGN, other]
    both = guarded(sdxl, batch, plan, chooser, **quick(3))
    before = plain(sdxl, batch, **quick(3))
    assert torch.equal(both[1], before[1])
    for i in (0, 2):
        generator = [torch.Generator().manual_seed(i)]
        alone = guarded(sdxl, [batch[i]], plan, chooser, **quick(generator=generator))
        assert near(both[i : i + 1], alone)
        assert apart(both[i], before[i])


@pytest.mark.parametrize("negative", [None, "grey"])
@pytest.mark.parametrize("g", [4.0, 1.0])
def test_sdxls_rows_have_their_own_pooled_vectors(sdxl: Any, g: float, negative: Any) -> None:
    def encoded(text: str) -> tuple[torch.Tensor, torch.Tensor]:
        states, _, pooled, _ = sdxl.encode_prompt(text, do_classifier_free_guidance=False)
        return states[0], pooled[0]

    _, uncond, _, pooled = sdxl.encode_prompt(RISKY, negative_prompt=negative)
    expected = [encoded(RISKY), encoded(CALM), encoded(UNSAFE)]
    expected.insert(0 if g > 1 else 3, (uncond[0], pooled[0]))
    plan = blending(weight=0.6, tau=0.0, push=PUSH)
    with watched(sdxl.unet) as seen:
        how = {"guidance_scale": g, "negative_prompt": negative and [negative]}
        guarded(sdxl, [RISKY], plan, told(), **quick(**how))
    assert rows(seen) == [4] * STEPS
    for row, (states, vector) in enumerate(expected):
        assert near(seen[0]["encoder_hidden_states"][row], states) or not states.any()
        given = seen[0]["added_cond_kwargs"]["text_embeds"][row]
        assert torch.allclose(given, vector, atol=1e-5)
        assert torch.equal(seen[0]["sample"][row], seen[0]["sample"][0])


def test_an_embedding_is_pushed_unread(pipe: Any) -> None:
    states, _ = pipe.encode_prompt([RISKY], "cpu", 1, False)
    named = {"context": "violence", "strategy": "away", "push": PUSH, "tau": 0.0}
    with guard(pipe, **named), watched(pipe.unet) as seen:
        unread = pipe(prompt_embeds=states, **quick()).images
        read = pipe(prompt=[RISKY], **quick()).images
    assert near(unread, read)
    assert rows(seen) == [3] * 2 * STEPS
