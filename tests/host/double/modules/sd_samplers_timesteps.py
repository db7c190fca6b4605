"""Samplers in timesteps; the denoiser's rows are eps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modules import sd_samplers_common, shared
from modules.sd_samplers_cfg_denoiser import CFGDenoiser


class TimestepsDenoiser:
    """The model as a function of (x, timestep) to eps."""

    def __init__(self, model: Any) -> None:
        self.inner_model = model

    def __call__(self, x: Tensor, timesteps: Tensor, cond: Any) -> Tensor:
        return self.inner_model.apply_model(x, timesteps, cond)


class CFGDenoiserTimesteps(CFGDenoiser):
    def __init__(self, sampler: Any) -> None:
        super().__init__(sampler)
        self.alphas = shared.sd_model.alphas_cumprod
        self.mask_before_denoising = True

    def get_pred_x0(self, x_in: Tensor, x_out: Tensor, sigma: Tensor) -> Tensor:
        a = self.alphas[sigma.long()][:, None, None, None]
        return (x_in - (1 - a).sqrt() * x_out) / a.sqrt()

    @property
    def inner_model(self) -> Any:
        if self.model_wrap is None:
            self.model_wrap = TimestepsDenoiser(shared.sd_model)
        return self.model_wrap


class CompVisSampler(sd_samplers_common.Sampler):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.model_wrap_cfg = CFGDenoiserTimesteps(self)
        self.model_wrap = self.model_wrap_cfg.inner_model

    def _timesteps(self, steps: int) -> Tensor:
        return (torch.arange(0, 1000, 1000 // steps) + 1).clip(0, 999)

    def start_at(self, p: Any, noise: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        return noise, self._timesteps(steps)

    def start_from(
        self, p: Any, x: Tensor, noise: Tensor, steps: Any
    ) -> tuple[Tensor, Tensor, int]:
        steps, left = self.img2img_steps(p, steps)
        timesteps = self._timesteps(steps)
        a = shared.sd_model.alphas_cumprod[timesteps[left]]
        return x * a.sqrt() + noise * (1 - a).sqrt(), timesteps[:left], left + 1

    def run(self, x: Tensor, timesteps: Tensor) -> Tensor:
        denoiser = self.model_wrap_cfg
        alphas = shared.sd_model.alphas_cumprod
        denoiser.need_last_noise_uncond = self.name == "DDIM CFG++"
        previous: Tensor | None = None
        for i, index in enumerate(range(len(timesteps) - 1, 0, -1)):
            # UniPC asks at levels between the trained ones.
            level = timesteps[index].float() + (0.25 if self.name == "UniPC" else 0.0)
            a = alphas[timesteps[index]]
            after = alphas[timesteps[index - 1]]
            eps = self.ask(x, level)
            clean = (x - (1 - a).sqrt() * eps) / a.sqrt()
            if self.name == "UniPC" and previous is not None:
                clean, previous = 1.5 * clean - 0.5 * previous, clean
            else:
                previous = clean
            noise = denoiser.last_noise_uncond if self.name == "DDIM CFG++" else eps
            x = after.sqrt() * clean + (1 - after).sqrt() * noise
            self.callback_state({"x": x, "i": i})
        return x


def _constructor(name: str) -> Any:
    return lambda _model: CompVisSampler(name)


samplers_data_timesteps = [
    sd_samplers_common.SamplerData(name, _constructor(name), [name.lower()])
    for name in ("DDIM", "DDIM CFG++", "UniPC")
]
