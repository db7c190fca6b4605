"""Samplers in sigmas; the denoiser's rows are x0."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modules import sd_samplers_common, shared
from modules.sd_samplers_cfg_denoiser import CFGDenoiser


class KDenoiser:
    """The model as a function of (x0 + sigma * noise, sigma) to x0."""

    def __init__(self, model: Any) -> None:
        self.inner_model = model
        self.sigmas = ((1 - model.alphas_cumprod) / model.alphas_cumprod).sqrt()

    def get_sigmas(self, n: int) -> Tensor:
        steps = torch.linspace(len(self.sigmas) - 1, 0, n)
        return torch.cat([self._at(steps), torch.zeros(1)])

    def _at(self, t: Tensor) -> Tensor:
        low = t.floor().long()
        high = t.ceil().long()
        share = t - low
        return torch.lerp(self.sigmas.log()[low], self.sigmas.log()[high], share).exp()

    def __call__(self, x: Tensor, sigma: Tensor, cond: Any) -> Tensor:
        t = (self.sigmas.log()[:, None] - sigma.log()).abs().argmin(dim=0)
        size = sigma[:, None, None, None]
        scaled = x / (1 + size**2).sqrt()
        return x - size * self.inner_model.apply_model(scaled, t, cond)


class CFGDenoiserKDiffusion(CFGDenoiser):
    @property
    def inner_model(self) -> Any:
        if self.model_wrap is None:
            self.model_wrap = KDenoiser(shared.sd_model)
        return self.model_wrap


class KDiffusionSampler(sd_samplers_common.Sampler):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.model_wrap_cfg = CFGDenoiserKDiffusion(self)
        self.model_wrap = self.model_wrap_cfg.inner_model

    def start_at(self, p: Any, noise: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        sigmas = self.model_wrap.get_sigmas(steps)
        return noise * sigmas[0], sigmas

    def start_from(
        self, p: Any, x: Tensor, noise: Tensor, steps: Any
    ) -> tuple[Tensor, Tensor, int]:
        steps, left = self.img2img_steps(p, steps)
        sigmas = self.model_wrap.get_sigmas(steps)[steps - left - 1 :]
        return x + noise * sigmas[0], sigmas, left + 1

    def run(self, x: Tensor, sigmas: Tensor) -> Tensor:
        previous: Tensor | None = None
        for i in range(len(sigmas) - 1):
            now, then = sigmas[i], sigmas[i + 1]
            denoised = self.ask(x, now)
            self.callback_state({"x": x, "i": i, "sigma": now, "denoised": denoised})
            slope = (x - denoised) / now
            if self.name == "Euler a" and then > 0:
                up = min(then, (then**2 * (now**2 - then**2) / now**2).sqrt())
                x = x + slope * ((then**2 - up**2).sqrt() - now) + self.p.rng.next() * up
            elif self.name == "Heun" and then > 0:
                guess = x + slope * (then - now)
                second = (guess - self.ask(guess, then)) / then
                x = x + (slope + second) / 2 * (then - now)
            elif self.name == "DPM++ 2M" and then > 0 and previous is not None:
                better = 1.5 * denoised - 0.5 * previous
                x = x * (then / now) + better * (1 - then / now)
            else:
                x = x + slope * (then - now)
            previous = denoised
        return x


def _constructor(name: str) -> Any:
    return lambda _model: KDiffusionSampler(name)


samplers_data_k_diffusion = [
    sd_samplers_common.SamplerData("DPM++ 2M", _constructor("DPM++ 2M"), ["k_dpmpp_2m"]),
    sd_samplers_common.SamplerData("Euler a", _constructor("Euler a"), ["k_euler_a"]),
    sd_samplers_common.SamplerData("Euler", _constructor("Euler"), ["k_euler"]),
    sd_samplers_common.SamplerData(
        "Heun", _constructor("Heun"), ["k_heun"], {"second_order": True}
    ),
]
