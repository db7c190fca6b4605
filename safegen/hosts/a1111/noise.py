"""From the sampler's own space to reconstructions and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Noise:
    """One noise level, and what the rows at it are.

    k-diffusion samplers have latents in variance-exploding form, x0 + σ·ε, and rows are x0. The
    timestep samplers (DDIM, PLMS, UniPC) have a·x0 + s·ε with a² + s² = 1, and rows are ε.

    Args:
        sigma: σ, or s / a.
        scale: a, or 1.
        eps: Whether rows are ε.
    """

    sigma: float
    scale: float = 1.0
    eps: bool = False

    def exploded(self, x: Tensor) -> Tensor:
        """The sampler's latent in variance-exploding form."""
        return x.float() / self.scale if self.eps else x

    def imploded(self, x: Tensor) -> Tensor:
        """The inverse of `exploded`."""
        return x * self.scale if self.eps else x

    def to_x0(self, x: Tensor, row: Tensor) -> Tensor:
        """What ``row`` reconstructs at the sampler's latent ``x``."""
        if not self.eps:
            return row
        return x.float() / self.scale - self.sigma * row.float()

    def from_x0(self, x: Tensor, x0: Tensor) -> Tensor:
        """The inverse of `to_x0`."""
        if not self.eps:
            return x0
        return (x.float() / self.scale - x0.float()) / self.sigma

    def x0_difference(self, difference: Tensor) -> Tensor:
        """The difference of two rows of one latent as a difference of x0, but for its sign."""
        return difference.float() * (self.sigma if self.eps else 1.0)


class NoiseLevels:
    """The noise levels of a pass.

    Args:
        denoiser: The pass's CFG denoiser. Those of the timestep samplers have ``alphas``, the
            model's ᾱ by timestep.
    """

    def __init__(self, denoiser: Any) -> None:
        alphas = getattr(denoiser, "alphas", None)
        # On the CPU, since not every device has float64.
        self._log_alpha: Tensor | None = (
            None if alphas is None else 0.5 * alphas.detach().cpu().double().log()
        )

    def at(self, sigma: Tensor) -> Noise:
        """The level of a call, whose rows all have the ``sigma`` of the first.

        Fractional timesteps (UniPC has them) interpolate log a, as UniPC does.
        """
        level, table = float(sigma.flatten()[0]), self._log_alpha
        if table is None:
            return Noise(level)
        low = min(max(int(level), 0), len(table) - 1)
        high = min(low + 1, len(table) - 1)
        share = min(max(level - low, 0.0), 1.0)
        scale = math.exp(float(torch.lerp(table[low], table[high], share)))
        return Noise(math.sqrt(max(1.0 - scale**2, 0.0)) / scale, scale, eps=True)
