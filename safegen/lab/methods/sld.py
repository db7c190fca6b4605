"""Safe Latent Diffusion (Schramowski et al., arXiv 2211.05105), from its equations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from safegen.errors import InvalidValue
from safegen.hosts.diffusers import Forward, replaced_forward, sample_of, with_sample
from safegen.lab.methods.rows import chunked, encode, evaluate


@dataclass(frozen=True)
class SafeLatentDiffusion:
    """Settings of Safe Latent Diffusion; `PEERS` has the paper's four configurations.

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


@contextmanager
def safe_latent_diffusion(
    pipe: Any, concepts: Sequence[str], settings: SafeLatentDiffusion
) -> Iterator[None]:
    """Within the block each picture of ``pipe`` avoids its own concept: 3 rows a picture.

    Needs classifier-free guidance: ε̄ = ε(∅) + s_g·(ε(c_p) - ε(∅) - γ), which the pipeline
    computes by itself from the cond row ε(c_p) - γ.
    """
    text = encode(pipe, concepts)
    images = torch.arange(len(concepts))
    velocity: list[Tensor] = []
    calls = 0

    def make(forward: Forward) -> Forward:
        def guided(sample: Tensor, timestep: Any, encoder_hidden_states: Tensor, **kw: Any) -> Any:
            nonlocal calls
            chunked(sample, len(images), "Safe Latent Diffusion")
            output = forward(sample, timestep, encoder_hidden_states=encoder_hidden_states, **kw)
            unsafe = evaluate(forward, sample, timestep, text, images, **kw)
            uncond, cond = sample_of(output).chunk(2)
            before = velocity[0] if velocity else torch.zeros_like(cond)
            gamma = settings.guidance(cond, uncond, unsafe, before)
            velocity[:] = [settings.next_velocity(before, gamma)]
            if calls >= round(settings.warmup * pipe.num_timesteps):
                cond = cond - gamma
            calls += 1
            return with_sample(output, torch.cat([uncond, cond]))

        return guided

    with replaced_forward(pipe.unet, make):
        yield
