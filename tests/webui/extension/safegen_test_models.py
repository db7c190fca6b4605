"""Test only: parts that the made-up checkpoints of ``families.py`` are built from by name."""

from pathlib import Path

import open_clip
import sgm.modules.diffusionmodules.openaimodel as sgm_unet
import torch
from ldm.modules.diffusionmodules import openaimodel as ldm_unet

open_clip.add_model_config(Path(__file__).parent / "safegen-tiny.json")


def _velocity(x, timesteps, eps):
    """What a v-prediction model answers where one that predicts ``eps`` answers that.

    At x = a·x0 + s·eps the velocity a·eps - s·x0 is (eps - s·x) / a. Between two timesteps the
    logarithm of the noise level is interpolated, as the samplers do.
    """
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1 - betas, 0)
    log_sigmas = (0.5 * ((1 - alphas) / alphas).log()).to(x.device)
    at = timesteps.double().clamp(0, 999)
    low = at.floor().long()
    high = (low + 1).clamp(max=999)
    sigma = torch.lerp(log_sigmas[low], log_sigmas[high], at - low).exp().to(x.dtype)
    scale = ((1 + sigma**2) ** -0.5).view(-1, 1, 1, 1)
    return (eps - sigma.view(-1, 1, 1, 1) * scale * x) / scale


class Velocity(ldm_unet.UNetModel):
    """An SD2 UNet whose answer is turned into a velocity."""

    def forward(self, x, timesteps=None, context=None, *args, **kwargs):
        return _velocity(x, timesteps, super().forward(x, timesteps, context, *args, **kwargs))


class VelocityXL(sgm_unet.UNetModel):
    """The same for SDXL."""

    def forward(self, x, timesteps=None, context=None, *args, **kwargs):
        return _velocity(x, timesteps, super().forward(x, timesteps, context, *args, **kwargs))


class Depth(torch.nn.Module):
    """In the place of MiDaS: how dark each point of the picture is."""

    def forward(self, x):
        return -x.mean(1, keepdim=True)
