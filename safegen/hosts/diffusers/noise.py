"""Noise levels of diffusers' schedulers, and conversions between predictions and x0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from safegen.errors import Unsupported


@dataclass(frozen=True)
class Noise:
    """Conversions between a UNet's prediction and x0 at one timestep (variance-preserving).

    x = alpha·x0 + sigma·eps, alpha² + sigma² = 1; v = alpha·eps - sigma·x0 (Salimans & Ho,
    arXiv 2202.00512).
    """

    alpha: float
    sigma: float
    prediction: str

    @property
    def karras_sigma(self) -> float:
        """The noise level in variance-exploding form."""
        return self.sigma / self.alpha

    def to_x0(self, x: Tensor, prediction: Tensor) -> Tensor:
        x, prediction = x.float(), prediction.float()
        if self.prediction == "epsilon":
            return (x - self.sigma * prediction) / self.alpha
        if self.prediction == "v_prediction":
            return self.alpha * x - self.sigma * prediction
        return prediction

    def from_x0(self, x: Tensor, x0: Tensor) -> Tensor:
        x = x.float()
        if self.prediction == "epsilon":
            return (x - self.alpha * x0) / self.sigma
        if self.prediction == "v_prediction":
            return (self.alpha * x - x0) / self.sigma
        return x0


def sigma_at(scheduler: Any, timestep: Any) -> float:
    """The noise level at a timestep of ``scheduler``, in variance-exploding form.

    Raises:
        Unsupported: The scheduler has no noise levels that are known here.
    """
    if getattr(scheduler, "alphas_cumprod", None) is not None:
        return noise_at(scheduler, float(timestep)).karras_sigma
    if hasattr(scheduler, "index_for_timestep"):  # EDM's, which are made of sigmas alone
        return float(scheduler.sigmas[scheduler.index_for_timestep(timestep)])
    raise Unsupported(
        f"the scheduler {type(scheduler).__name__} does not tell how much noise is left at a "
        "timestep: use one of Stable Diffusion's, such as DDIMScheduler"
    )


def noise_at(scheduler: Any, timestep: float) -> Noise:
    """The noise at a possibly fractional timestep; log sigma is interpolated, as schedulers do."""
    cumprod = scheduler.alphas_cumprod.cpu().double()
    log_sigma = 0.5 * ((1 - cumprod) / cumprod).log()
    low = min(max(int(timestep), 0), len(cumprod) - 1)
    high = min(low + 1, len(cumprod) - 1)
    level = torch.lerp(log_sigma[low], log_sigma[high], min(max(timestep - low, 0.0), 1.0)).exp()
    alpha = float((level**2 + 1) ** -0.5)
    return Noise(alpha, float(level) * alpha, scheduler.config.prediction_type)
