"""Published alternatives, on the same pipeline and the same seeds, to compare with.

Each is written from its paper's equations and acts, like SafeGen's diffusers host, on the
rows of the UNet, so that scheduler, guidance and seeds are shared by all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from safegen.errors import InvalidValue, Unsupported
from safegen.hosts.diffusers.pipelines import Forward, replaced_forward, sample_of, with_sample


@dataclass(frozen=True)
class SafeLatentDiffusion:
    """Settings of Safe Latent Diffusion (Schramowski et al., arXiv 2211.05105).

    Args:
        scale: s_S, how strongly the safety concept repels.
        warmup: Share of the steps before safety guidance acts (the paper counts δ in steps
            of 50: 15, 10, 7 and 0).
        threshold: λ, up to which difference a latent element counts as unsafe.
        momentum: s_m, the momentum's share in the guidance.
        beta: β_m, the momentum's memory.
    """

    scale: float
    warmup: float
    threshold: float
    momentum: float
    beta: float

    def __post_init__(self) -> None:
        if not 0 <= self.warmup <= 1:
            raise InvalidValue("warmup", self.warmup, "a share of the steps, 0 to 1")

    def guidance(self, cond: Tensor, uncond: Tensor, concept: Tensor, velocity: Tensor) -> Tensor:
        """γ, the safety guidance of one step, from eps rows ``[B, C, H, W]``.

        γ = μ ⊙ (ε(c_S) - ε(∅)) + s_m·ν with μ = min(1, |s_S·(ε(c_p) - ε(c_S))|) where
        ε(c_p) - ε(c_S) < λ, else 0. (The paper's equation prints max(1, ·); its published code
        takes the minimum, and so does this.)
        """
        difference = cond - concept
        mu = (difference.abs() * self.scale).clamp(max=1.0)
        mu = torch.where(difference < self.threshold, mu, torch.zeros_like(mu))
        return (concept - uncond) * mu + self.momentum * velocity

    def next_velocity(self, velocity: Tensor, guidance: Tensor) -> Tensor:
        """ν of the next step: β_m·ν + (1 - β_m)·γ."""
        return self.beta * velocity + (1 - self.beta) * guidance


SLD_PRESETS: dict[str, SafeLatentDiffusion] = {
    "weak": SafeLatentDiffusion(20, 15 / 50, 0.0, 0.0, 0.0),
    "medium": SafeLatentDiffusion(1000, 10 / 50, 0.01, 0.3, 0.4),
    "strong": SafeLatentDiffusion(2000, 7 / 50, 0.025, 0.5, 0.7),
    "max": SafeLatentDiffusion(5000, 0.0, 1.0, 0.5, 0.7),
}
"""The four settings that the paper publishes."""


@contextmanager
def safe_latent_diffusion(
    pipe: Any, concept: str, settings: SafeLatentDiffusion, images: int
) -> Iterator[None]:
    """Within the block ``pipe`` samples ``images`` pictures a call with SLD: 3 rows a picture.

    Needs classifier-free guidance: ε̄ = ε(∅) + s_g·(ε(c_p) - ε(∅) - γ), which the pipeline
    computes by itself from the cond row ε(c_p) - γ.
    """
    state, _ = pipe.encode_prompt(
        prompt=[concept],
        device=pipe._execution_device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=False,
    )
    states = state.expand(images, -1, -1)
    velocity: list[Tensor | None] = [None]
    calls = 0

    def make(forward: Forward) -> Forward:
        def guided(sample: Tensor, timestep: Any, encoder_hidden_states: Tensor, **kw: Any) -> Any:
            nonlocal calls
            if len(sample) != 2 * images:
                raise Unsupported("Safe Latent Diffusion needs classifier-free guidance")
            output = forward(
                torch.cat([sample, sample[images:]]),
                timestep,
                encoder_hidden_states=torch.cat([encoder_hidden_states, states]),
                **kw,
            )
            uncond, cond, unsafe = sample_of(output).chunk(3)
            before = velocity[0] if velocity[0] is not None else torch.zeros_like(cond)
            gamma = settings.guidance(cond, uncond, unsafe, before)
            velocity[0] = settings.next_velocity(before, gamma)
            if calls >= round(settings.warmup * pipe.num_timesteps):
                cond = cond - gamma
            calls += 1
            return with_sample(output, torch.cat([uncond, cond]))

        return guided

    with replaced_forward(pipe.unet, make):
        yield


@contextmanager
def composition(
    pipe: Any, also: Sequence[str], weights: tuple[float, float], images: int
) -> Iterator[None]:
    """Within the block every picture composes its prompt with a second one: 3 rows a picture.

    Composable Diffusion (Liu et al., arXiv 2206.01714): ε(∅) + s·Σ wᵢ·(ε(cᵢ) - ε(∅)), a
    negative weight being its negation. The pipeline computes it by itself from the cond row
    ε(∅) + Σ wᵢ·(ε(cᵢ) - ε(∅)).

    Args:
        pipe: A ``StableDiffusionPipeline`` with classifier-free guidance.
        also: The second prompt of each picture, ``""`` for none: that one stays as it is.
        weights: w of the pipeline's own prompt and of the second.
        images: Pictures a call.
    """
    chosen = torch.tensor([i for i, text in enumerate(also) if text], dtype=torch.long)
    if not len(chosen):
        yield
        return
    state, _ = pipe.encode_prompt(
        prompt=[text for text in also if text],
        device=pipe._execution_device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=False,
    )

    def make(forward: Forward) -> Forward:
        def composed(
            sample: Tensor, timestep: Any, encoder_hidden_states: Tensor, **kw: Any
        ) -> Any:
            if len(sample) != 2 * images:
                raise Unsupported("a composition needs classifier-free guidance")
            # Apart, so that a picture without a second prompt is evaluated in the same batch
            # as without this block and comes out the same.
            output = forward(sample, timestep, encoder_hidden_states=encoder_hidden_states, **kw)
            second = sample_of(
                forward(sample[images + chosen], timestep, encoder_hidden_states=state, **kw)
            )
            uncond, cond = sample_of(output).chunk(2)
            base = uncond[chosen]
            cond = cond.clone()
            cond[chosen] = base + weights[0] * (cond[chosen] - base) + weights[1] * (second - base)
            return with_sample(output, torch.cat([uncond, cond]))

        return composed

    with replaced_forward(pipe.unet, make):
        yield


@dataclass(frozen=True)
class SemanticGuidance:
    """Settings of SEGA (Brack et al., arXiv 2301.12247), as its authors' pipeline names them.

    The defaults are that pipeline's own; ``warmup`` is a share of the steps, where it counts 10
    of 50.
    """

    scale: float = 5.0
    warmup: float = 10 / 50
    threshold: float = 0.9
    momentum: float = 0.1
    beta: float = 0.4

    def arguments(self, concept: str, steps: int) -> dict[str, Any]:
        """What ``SemanticStableDiffusionPipeline`` is called with to avoid ``concept``."""
        return {
            "editing_prompt": [concept],
            "reverse_editing_direction": [True],
            "edit_guidance_scale": [self.scale],
            "edit_warmup_steps": [round(self.warmup * steps)],
            "edit_threshold": [self.threshold],
            "edit_momentum_scale": self.momentum,
            "edit_mom_beta": self.beta,
        }


def semantic_pipeline(pipe: Any) -> Any:
    """SEGA's pipeline on the very components of ``pipe``."""
    from diffusers import SemanticStableDiffusionPipeline

    return SemanticStableDiffusionPipeline(
        vae=pipe.vae,
        text_encoder=pipe.text_encoder,
        tokenizer=pipe.tokenizer,
        unet=pipe.unet,
        scheduler=pipe.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
