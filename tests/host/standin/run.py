"""What makes pictures: a processing object, and the run that takes it through its stages."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn

from standin import infotext, sampling
from standin.model import decoded, encoded
from standin.prompts import (
    SdConditioning,
    get_learned_conditioning,
    get_parts,
)
from standin.settings import checkpoint, shared

FIELDS: dict[str, Any] = {
    "sd_model": None,
    "prompt": "",
    "negative_prompt": "",
    "seed": -1,
    "sampler_name": "Euler",
    "steps": 20,
    "cfg_scale": 7.0,
    "width": 512,
    "height": 512,
    "batch_size": 1,
    "n_iter": 1,
    "s_min_uncond": 0.0,
    "denoising_strength": 0.75,
    "refiner_checkpoint": None,
    "refiner_switch_at": 1.0,
    "override_settings": {},
    "do_not_save_samples": False,
    "do_not_save_grid": False,
    "outpath_samples": None,
    "is_api": False,
    "scripts": None,
    "script_args": (),
}
TXT2IMG = {
    "enable_hr": False,
    "firstpass_image": None,
    "hr_checkpoint_name": None,
    "hr_prompt": "",
    "hr_sampler_name": None,
    "hr_scale": 2.0,
    "hr_second_pass_steps": 0,
    "hr_upscaler": "Latent",
}
IMG2IMG = {"image_cfg_scale": None, "init_images": (), "mask": None, "mask_blur": 0}


class DecodedSamples(list[Tensor]):
    """Finished pictures that a ``sample`` returns in place of latents."""


@dataclass
class Processed:
    """What a run made."""

    images: list[Any] = field(default_factory=list)
    infotexts: list[str] = field(default_factory=list)
    comments: str = ""
    index_of_first_image: int = 0


@dataclass(frozen=True)
class Pass:
    """One sampling pass; ``strength`` is ``None`` where it starts from noise alone."""

    sampler: str
    steps: int
    width: int
    height: int
    strength: float | None = None
    hires: bool = False

    def sampler_for(self, p: Any) -> sampling.Sampler:
        recipe = sampling.find_sampler_config(self.sampler)
        if self.strength is None:
            return sampling.Sampler(p, recipe, self.steps, None)
        strength = min(self.strength, 0.999)
        if self.hires:  # makes all of its steps, whatever the strength
            return sampling.Sampler(p, recipe, int(self.steps / strength) + 1, self.steps)
        return sampling.Sampler(p, recipe, self.steps, int(strength * self.steps) + 1)


class Processing:
    """A request for pictures, and how far it has come."""

    fields = FIELDS
    tab_fields: dict[str, Any] = {}
    is_given_a_picture = False
    is_hr_pass = enable_hr = False
    sampler = c = uc = init_latent = None
    firstpass_image = image_cfg_scale = mask = None
    refiner_checkpoint_info = hr_checkpoint_info = None
    iteration = 0

    def __init__(self, **given: Any) -> None:
        known = {**self.fields, **self.tab_fields}
        if unknown := set(given) - set(known):
            raise TypeError(f"no such field: {unknown}")
        vars(self).update({**known, **given})
        self.extra_generation_params: dict[str, Any] = {}
        self.comments: dict[str, None] = {}
        self.extra_network_data: dict[str, Any] = {}
        self.hr_extra_network_data: dict[str, Any] = {}
        self.caches: dict[str, list[Any]] = {}
        self.outpath_samples = self.outpath_samples and Path(self.outpath_samples)

    def comment(self, text: str) -> None:
        self.comments[text] = None

    def close(self) -> None:
        """The request is done with."""
        self.sampler = self.c = self.uc = None

    def hook(self, name: str, *given: Any, **named: Any) -> None:
        if self.scripts is not None:
            getattr(self.scripts, name)(self, *given, **named)

    # ------------------------------------------------------------------ before sampling

    def plan(self) -> None:
        """Every picture's prompts and seeds."""
        count = self.batch_size * self.n_iter
        fix_seed(self)
        prompts = self.prompt if isinstance(self.prompt, list) else [self.prompt]
        self.all_prompts = (prompts * count)[: max(count, len(prompts))]
        self.n_iter = -(-len(self.all_prompts) // self.batch_size)
        self.all_seeds = [self.seed + i for i in range(len(self.all_prompts))]
        if self.enable_hr:
            self.hr_upscale_to_x = int(self.width * self.hr_scale)
            self.hr_upscale_to_y = int(self.height * self.hr_scale)
            self.all_hr_prompts = [self.hr_prompt or prompt for prompt in self.all_prompts]
        self.base = shared.sd_model
        self.sd_model_name = self.base.sd_checkpoint_info.name
        if self.refiner_checkpoint:
            self.refiner_checkpoint_info = checkpoint(self.refiner_checkpoint).sd_checkpoint_info
        if self.enable_hr and self.hr_checkpoint_name:
            self.hr_checkpoint_info = checkpoint(self.hr_checkpoint_name).sd_checkpoint_info

    def open_batch(self, number: int) -> None:
        own = slice(number * self.batch_size, (number + 1) * self.batch_size)
        self.iteration = number
        self.prompts, self.seeds = self.all_prompts[own], self.all_seeds[own]
        self.negative_prompts = [self.negative_prompt] * len(self.prompts)
        if self.enable_hr:
            self.hr_prompts = self.all_hr_prompts[own]
            self.hr_negative_prompts = self.negative_prompts
        self.generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]

    def load(self, name: str) -> None:
        shared.sd_model = checkpoint(name)

    def get_conds_with_caching(
        self,
        function: Any,
        required_prompts: Sequence[str],
        steps: int,
        caches: list[list[Any]],
        extra_network_data: Any,
        hires_steps: int | None = None,
    ) -> Any:
        """``function`` of the texts; neither polarity nor the size that they name counts."""
        info, skip = shared.sd_model.sd_checkpoint_info, shared.opts.CLIP_stop_at_last_layers
        key = (tuple(required_prompts), steps, hires_steps, info, skip, self.width, self.height)
        for known, found in caches:
            if known == key:
                return found
        found = function(shared.sd_model, required_prompts, steps, hires_steps)
        caches[0][:] = [key, found]
        return found

    def encoded(self) -> dict[str, Any]:
        """The batch's texts for the pass that is under way."""
        first = sampling.find_sampler_config(self.sampler_name).total_steps(self.steps)
        self.firstpass_steps = first
        second, texts, width, height = None, self.prompts, self.width, self.height
        if self.is_hr_pass:
            second, texts = self.hr_second_pass_steps or self.steps, self.hr_prompts
            width, height = self.hr_upscale_to_x, self.hr_upscale_to_y
        found = {}
        for name, function, own in (
            ("cond", get_parts, texts),
            ("uncond", get_learned_conditioning, [self.negative_prompt] * len(texts)),
        ):
            wanted = SdConditioning(own, name == "uncond", width, height)
            cache = self.caches.setdefault(f"{name} {self.is_hr_pass}", [None, None])
            more = (self.extra_network_data, second)
            found[name] = self.get_conds_with_caching(function, wanted, first, [cache], *more)
        return found

    # ------------------------------------------------------------------ sampling

    def passes(self) -> Iterator[Pass]:
        raise NotImplementedError

    def start(self) -> Tensor:
        """The latents that the first pass begins with."""
        return torch.zeros(len(self.prompts), 4, self.height // 8, self.width // 8)

    def sample(self, *_given: Any, **_named: Any) -> Any:
        """The batch's latents, pass by pass."""
        latent = self.start()
        for one in self.passes():
            if one.hires:
                if shared.state.stopping:
                    break
                self.is_hr_pass = True
                if self.hr_checkpoint_info is not None:
                    self.load(self.hr_checkpoint_info.name)
                self.hook("before_hr")
                size = (one.height // 8, one.width // 8)
                latent = nn.functional.interpolate(latent, size=size, mode="bilinear")
            self.latent_shape = latent.shape[1:]
            self.sampler = one.sampler_for(self)
            texts = self.encoded()
            self.c, self.uc = texts["cond"], texts["uncond"]
            self.sampler.sampler_extra_args = {
                **texts,
                "cond_scale": self.cfg_scale,
                "image_cond": torch.zeros(len(latent), 5, 1, 1),
            }
            self.hook("process_before_every_sampling", x=latent, c=self.c, uc=self.uc)
            latent = self.sampler.run(latent)
        self.is_hr_pass = False
        return latent


class Txt2Img(Processing):
    tab_fields = TXT2IMG

    def start(self) -> Tensor:
        if self.firstpass_image is None:
            return super().start()
        return torch.stack([latent_of(self.firstpass_image)] * len(self.prompts))

    def passes(self) -> Iterator[Pass]:
        if self.firstpass_image is None or not self.enable_hr:
            yield Pass(self.sampler_name, self.steps, self.width, self.height)
        if self.enable_hr:
            yield Pass(
                self.hr_sampler_name or self.sampler_name,
                self.hr_second_pass_steps or self.steps,
                self.hr_upscale_to_x,
                self.hr_upscale_to_y,
                self.denoising_strength,
                hires=True,
            )


class Img2Img(Processing):
    tab_fields = IMG2IMG
    is_given_a_picture = True

    def start(self) -> Tensor:
        self.init_latent = torch.stack([latent_of(self.init_images[0])] * len(self.prompts))
        if self.mask is not None:
            mask = self.mask.filter(ImageFilter.GaussianBlur(self.mask_blur))
            small = mask.resize((self.width // 8, self.height // 8), Image.Resampling.BOX)
            self.latent_mask = torch.from_numpy(np.asarray(small, np.float32) / 255).round()
        return self.init_latent

    def passes(self) -> Iterator[Pass]:
        size = (self.width, self.height)
        yield Pass(self.sampler_name, self.steps, *size, strength=self.denoising_strength)


def latent_of(image: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.asarray(image.convert("RGB"), np.float32))
    return encoded(pixels.permute(2, 0, 1) / 127.5 - 1)


def picture_of(pixels: Tensor) -> Image.Image:
    height, width = pixels.shape[1:]
    grey_levels = torch.round(255 * torch.nan_to_num(pixels).add(1).div(2).clamp(0, 1))
    by_pixel = torch.einsum("chw->hwc", grey_levels).to(torch.uint8).contiguous()
    return Image.frombytes("RGB", (width, height), bytes(by_pixel.flatten().tolist()))


# ---------------------------------------------------------------------- the run


def fix_seed(p: Any) -> None:
    if p.seed in (None, "", -1):
        p.seed = random.randrange(2**32)
    p.seed = int(p.seed)
    p.subseed = getattr(p, "subseed", 0)


def process_images(p: Any) -> Processed:
    """The public way in: hooks, settings for a while, then the run by its public name."""
    p.hook("before_process")
    before = shared.opts.override(p.override_settings)
    try:
        return sys.modules["modules.processing"].process_images_inner(p)
    finally:
        shared.opts.data.update(before)


def process_images_inner(p: Any) -> Processed:
    """Every batch of a request; other extensions may stand before this."""
    p.plan()
    p.hook("process")
    made = Processed()
    try:
        for number in range(p.n_iter):
            shared.state.skipped = False
            if shared.state.interrupted:
                break
            with torch.no_grad():
                _make_batch(p, number, made)
    finally:
        shared.sd_model = p.base
    made.comments = "\n".join(p.comments)
    p.hook("postprocess", made)
    return made


def _make_batch(p: Any, number: int, made: Processed) -> None:
    p.open_batch(number)
    shared.sd_model = p.base
    named = {"batch_number": number, "prompts": p.prompts, "seeds": p.seeds}
    p.hook("before_process_batch", **named)
    p.hook("process_batch", **named)
    texts = p.encoded()
    p.c, p.uc = texts["cond"], texts["uncond"]
    samples = p.sample(p.c, p.uc, seeds=p.seeds, prompts=p.prompts)
    pixels = samples if isinstance(samples, DecodedSamples) else [decoded(s) for s in samples]
    p.hook("post_sample", samples)
    p.hook("postprocess_batch", images=pixels, batch_number=number)
    for index, own in enumerate(pixels):
        holder = type("Finished", (), {"image": picture_of(own)})()
        p.hook("postprocess_image", holder)
        made.images.append(holder.image)
        made.infotexts.append(infotext.written(p, index))
        if p.outpath_samples and not p.do_not_save_samples:
            holder.image.save(p.outpath_samples / f"{number}-{index}.png")
    shared.state.jobs_done += 1
