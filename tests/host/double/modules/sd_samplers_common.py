"""What every sampler shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from modules import sd_models, shared
from modules.shared import opts, state


class InterruptedException(BaseException):
    """Raised by the denoiser; the sampler then hands on its last latent."""


@dataclass
class SamplerData:
    name: str
    constructor: Callable[..., Any]
    aliases: list[str]
    options: dict[str, Any] = field(default_factory=dict)

    def total_steps(self, steps: int) -> int:
        """Model calls to expect: a second-order sampler makes two for each step."""
        return steps * 2 if self.options.get("second_order", False) else steps


def sample_to_image(latents: Tensor) -> Any:
    return latents[0]


def store_latent(latent: Tensor) -> None:
    """What a live preview shows."""
    state.current_latent = latent
    if opts.live_previews_enable and state.sampling_step % opts.show_progress_every_n_steps == 0:
        previews.append(latent.clone())


previews: list[Tensor] = []
"""Every preview since a test last cleared it."""


def apply_refiner(denoiser: Any, sigma: Tensor) -> bool:
    """Swap the checkpoint in the middle of a run; whether that happened."""
    p = denoiser.p
    info = getattr(p, "refiner_checkpoint_info", None)
    if info is None or shared.sd_model.sd_checkpoint_info is info:
        return False
    if denoiser.step / denoiser.total_steps < p.refiner_switch_at:
        return False
    sd_models.reload_model_weights(info=info)
    p.setup_conds()
    denoiser.update_inner_model()
    return True


class Sampler:
    def __init__(self, name: str) -> None:
        self.name, self.config = name, None
        self.stop_at: int | None = None
        self.last_latent: Any = None
        self.sampler_extra_args: dict[str, Any] = {}
        self.p: Any = None
        self.model_wrap_cfg: Any = None

    def callback_state(self, info: dict[str, Any]) -> None:
        """k-diffusion calls this once a step, after the step's first model call."""
        if self.stop_at is not None and info["i"] > self.stop_at:
            raise InterruptedException
        state.sampling_step = info["i"]

    def initialize(self, p: Any) -> None:
        self.p = p
        denoiser = self.model_wrap_cfg
        denoiser.p, denoiser.step = p, 0
        denoiser.mask, denoiser.nmask = getattr(p, "mask", None), getattr(p, "nmask", None)
        denoiser.image_cfg_scale = getattr(p, "image_cfg_scale", None)

    def launch_sampling(self, steps: int, func: Callable[[], Tensor]) -> Tensor:
        self.model_wrap_cfg.steps = steps
        self.model_wrap_cfg.total_steps = self.config.total_steps(steps)
        state.sampling_steps, state.sampling_step = steps, 0
        try:
            return func()
        except InterruptedException:
            return self.last_latent

    def add_infotext(self, p: Any) -> None:
        if self.model_wrap_cfg.padded_cond_uncond:
            p.extra_generation_params["Pad conds"] = True
        if self.model_wrap_cfg.padded_cond_uncond_v0:
            p.extra_generation_params["Pad conds v0"] = True

    def _arguments(self, p: Any, cond: Any, uncond: Any, image_cond: Any) -> None:
        self.sampler_extra_args = {
            "cond": cond,
            "image_cond": image_cond,
            "uncond": uncond,
            "cond_scale": p.cfg_scale,
            "s_min_uncond": p.s_min_uncond,
        }

    def start_at(self, p: Any, noise: Tensor, steps: int) -> tuple[Tensor, Any]:
        """Latent and schedule from pure noise."""
        raise NotImplementedError

    def img2img_steps(self, p: Any, steps: int | None) -> tuple[int, int]:
        """Steps of the whole schedule, and how many of them are left to do but one.

        Given steps, as in a second pass, are all done, whatever the strength.
        """
        strength = min(p.denoising_strength, 0.999)
        if steps:
            return int(steps / strength), steps - 1
        return p.steps, int(strength * p.steps)

    def start_from(self, p: Any, x: Tensor, noise: Tensor, steps: Any) -> tuple[Tensor, Any, int]:
        """Latent and schedule from a noised picture, and the steps that are left."""
        raise NotImplementedError

    def run(self, x: Tensor, schedule: Any) -> Tensor:
        raise NotImplementedError

    def sample(
        self,
        p: Any,
        x: Tensor,
        cond: Any,
        uncond: Any,
        steps: Any = None,
        image_conditioning: Any = None,
    ) -> Tensor:
        steps = steps or p.steps
        x, schedule = self.start_at(p, x, steps)
        self.initialize(p)
        self.last_latent = x
        self._arguments(p, cond, uncond, image_conditioning)
        samples = self.launch_sampling(steps, lambda: self.run(x, schedule))
        self.add_infotext(p)
        return samples

    def sample_img2img(
        self,
        p: Any,
        x: Tensor,
        noise: Tensor,
        cond: Any,
        uncond: Any,
        steps: Any = None,
        image_conditioning: Any = None,
    ) -> Tensor:
        noised, schedule, left = self.start_from(p, x, noise, steps)
        self.initialize(p)
        self.model_wrap_cfg.init_latent = x
        self.last_latent = x
        self._arguments(p, cond, uncond, image_conditioning)
        samples = self.launch_sampling(left, lambda: self.run(noised, schedule))
        self.add_infotext(p)
        return samples

    def ask(self, x: Tensor, level: Any) -> Tensor:
        """One model call at a noise level for the whole batch."""
        levels = torch.as_tensor(level, dtype=torch.float32) * x.new_ones([len(x)])
        return self.model_wrap_cfg(x, levels, **self.sampler_extra_args)
