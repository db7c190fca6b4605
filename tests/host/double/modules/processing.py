"""One request from prompt to pictures."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules import infotext_utils, paths, prompt_parser, sd_models, sd_samplers, shared
from modules import scripts as scripts_module
from modules.shared import opts, state

FACTOR = 8


def program_version() -> str:
    return "v1.10.1"


def fix_seed(p: Any) -> None:
    """A seed of -1 becomes any other."""
    p.seed = random.randrange(2**32 - 2) if p.seed == -1 else p.seed
    p.subseed = random.randrange(2**32 - 2) if p.subseed == -1 else p.subseed


class DecodedSamples(list):  # type: ignore[type-arg]
    """Pictures where latents are expected."""

    already_decoded = True


def decode_latent_batch(latents: Tensor) -> DecodedSamples:
    """Latents to pictures in [-1, 1], ``[3, H, W]`` each."""
    if torch.isnan(latents).all():
        raise RuntimeError("A tensor with all NaNs was produced in Unet.")
    big = latents[:, :3].repeat_interleave(FACTOR, -1).repeat_interleave(FACTOR, -2)
    return DecodedSamples((big / 8).clamp(-1, 1))  # guidance overshoots


def encode_image(image: Image.Image) -> Tensor:
    values = torch.from_numpy(np.asarray(image.convert("RGB")).copy()).float() / 127.5 - 1
    small = torch.nn.functional.avg_pool2d(values.permute(2, 0, 1)[None], FACTOR)
    return torch.cat([small * 8, torch.zeros_like(small[:, :1])], dim=1)


class ImageRNG:
    """Noise for each image from its own seed, whatever the batch."""

    def __init__(self, shape: Any, seeds: list[int]) -> None:
        self.shape = tuple(shape)
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def next(self) -> Tensor:
        return torch.stack([torch.randn(self.shape, generator=g) for g in self.generators])


@dataclass(eq=False)
class StableDiffusionProcessing:
    sd_model: Any = None
    prompt: Any = ""
    negative_prompt: Any = ""
    seed: int = -1
    subseed: int = -1
    sampler_name: str | None = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 50
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    outpath_samples: Any = None
    outpath_grids: Any = None
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    denoising_strength: float | None = None
    s_min_uncond: float = 0.0
    override_settings: dict[str, Any] = field(default_factory=dict)
    override_settings_restore_afterwards: bool = True
    refiner_checkpoint: str | None = None
    refiner_switch_at: float | None = None
    extra_generation_params: dict[str, Any] = field(default_factory=dict)
    disable_extra_networks: bool = False

    is_hr_pass = False
    enable_hr = False

    def __post_init__(self) -> None:
        self.scripts: Any = None
        self.script_args: Any = None
        self.comments: dict[str, int] = {}
        self.cached_c: list[Any] = [None, None]
        self.cached_uc: list[Any] = [None, None]
        self.sampler: Any = None
        self.c = self.uc = None
        self.rng: Any = None
        self.iteration = 0
        self.is_api = False
        self.refiner_checkpoint_info: Any = None
        self.extra_network_data: Any = {}
        self.firstpass_steps: int | None = None

    def comment(self, text: str) -> None:
        self.comments[text] = 1

    def save_samples(self) -> bool:
        return bool(opts.samples_save and not self.do_not_save_samples)

    def init(self, all_prompts: list[str], all_seeds: list[int], all_subseeds: Any) -> None: ...

    def sample(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def setup_prompts(self) -> None:
        def all_of(text: Any) -> list[str]:
            return (
                list(text) if isinstance(text, list) else [text] * (self.batch_size * self.n_iter)
            )

        self.all_prompts, self.all_negative_prompts = (
            all_of(self.prompt),
            all_of(self.negative_prompt),
        )
        self.main_prompt = self.all_prompts[0]
        self.main_negative_prompt = self.all_negative_prompts[0]

    def get_conds_with_caching(
        self,
        function: Any,
        required_prompts: Any,
        steps: int,
        caches: list[Any],
        extra_network_data: Any,
        hires_steps: int | None = None,
    ) -> Any:
        """``function``'s answer, from a cache if the same was asked before.

        The key knows the checkpoint and this object's size, but neither polarity nor the size
        of a second pass.
        """
        key = (
            tuple(required_prompts),
            steps,
            hires_steps,
            shared.sd_model.sd_checkpoint_info.name,
            self.width,
            self.height,
            str(extra_network_data),
        )
        for cache in caches:
            if cache[0] == key:
                return cache[1]
        caches[0][1] = function(
            shared.sd_model, required_prompts, steps, hires_steps, opts.use_old_scheduling
        )
        caches[0][0] = key
        return caches[0][1]

    def setup_conds(self) -> None:
        config = sd_samplers.find_sampler_config(self.sampler_name)
        assert config is not None
        self.firstpass_steps = total = config.total_steps(self.steps)
        size = {"width": self.width, "height": self.height}
        prompts = prompt_parser.SdConditioning(self.prompts, **size)
        negative = prompt_parser.SdConditioning(self.negative_prompts, True, **size)
        self.uc = self.get_conds_with_caching(
            prompt_parser.get_learned_conditioning,
            negative,
            total,
            [self.cached_uc],
            self.extra_network_data,
        )
        self.c = self.get_conds_with_caching(
            prompt_parser.get_multicond_learned_conditioning,
            prompts,
            total,
            [self.cached_c],
            self.extra_network_data,
        )

    def get_conds(self) -> tuple[Any, Any]:
        return self.c, self.uc

    def close(self) -> None:
        self.sampler = self.c = self.uc = None

    def _image_condition(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), 5, 1, 1)


@dataclass(eq=False)
class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    enable_hr: bool = False
    denoising_strength: float | None = 0.75
    hr_scale: float = 2.0
    hr_upscaler: str | None = None
    hr_second_pass_steps: int = 0
    hr_checkpoint_name: str | None = None
    hr_sampler_name: str | None = None
    hr_prompt: str = ""
    hr_negative_prompt: str = ""
    firstpass_image: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.is_hr_pass = False
        self.hr_c = self.hr_uc = None
        self.hr_extra_network_data: Any = {}
        self.cached_hr_c: list[Any] = [None, None]
        self.cached_hr_uc: list[Any] = [None, None]
        self.hr_upscale_to_x = int(self.width * self.hr_scale)
        self.hr_upscale_to_y = int(self.height * self.hr_scale)
        self.hr_checkpoint_info: Any = None

    def setup_prompts(self) -> None:
        super().setup_prompts()
        if not self.enable_hr:
            return
        count = len(self.all_prompts)
        self.all_hr_prompts = [self.hr_prompt] * count if self.hr_prompt else self.all_prompts
        self.all_hr_negative_prompts = (
            [self.hr_negative_prompt] * count
            if self.hr_negative_prompt
            else self.all_negative_prompts
        )

    def init(self, all_prompts: list[str], all_seeds: list[int], all_subseeds: Any) -> None:
        if not self.enable_hr:
            return
        self.extra_generation_params["Denoising strength"] = self.denoising_strength
        self.extra_generation_params["Hires upscale"] = self.hr_scale
        if self.hr_checkpoint_name:
            self.hr_checkpoint_info = sd_models.get_closet_checkpoint_match(self.hr_checkpoint_name)

    def sample(
        self,
        conditioning: Any,
        unconditional_conditioning: Any,
        seeds: Any,
        subseeds: Any,
        subseed_strength: float,
        prompts: list[str],
    ) -> Any:
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        x = self.rng.next()
        if self.scripts is not None:
            self.scripts.process_before_every_sampling(
                p=self, x=x, noise=x, c=conditioning, uc=unconditional_conditioning
            )
        samples = self.sampler.sample(
            self,
            x,
            conditioning,
            unconditional_conditioning,
            image_conditioning=self._image_condition(x),
        )
        if not self.enable_hr:
            return samples
        if self.hr_checkpoint_info is not None:
            sd_models.reload_model_weights(info=self.hr_checkpoint_info)
        return self.sample_hr_pass(samples, None, seeds, subseeds, subseed_strength, prompts)

    def calculate_hr_conds(self) -> None:
        sampler = sd_samplers.find_sampler_config(self.hr_sampler_name or self.sampler_name)
        assert sampler is not None
        steps = self.hr_second_pass_steps or self.steps
        size = {"width": self.hr_upscale_to_x, "height": self.hr_upscale_to_y}
        for name, texts, negative, function in (
            ("hr_uc", self.hr_negative_prompts, True, prompt_parser.get_learned_conditioning),
            ("hr_c", self.hr_prompts, False, prompt_parser.get_multicond_learned_conditioning),
        ):
            found = self.get_conds_with_caching(
                function,
                prompt_parser.SdConditioning(texts, negative, **size),
                self.firstpass_steps or self.steps,
                [getattr(self, f"cached_{name}")],
                self.hr_extra_network_data,
                sampler.total_steps(steps),
            )
            setattr(self, name, found)

    def get_conds(self) -> tuple[Any, Any]:
        return (self.hr_c, self.hr_uc) if self.is_hr_pass else super().get_conds()

    def sample_hr_pass(self, samples: Tensor, decoded: Any, *_: Any) -> Any:
        if state.interrupted:
            return samples
        self.is_hr_pass = True
        self.sampler = sd_samplers.create_sampler(
            self.hr_sampler_name or self.sampler_name, self.sd_model
        )
        size = (self.hr_upscale_to_y // FACTOR, self.hr_upscale_to_x // FACTOR)
        samples = torch.nn.functional.interpolate(samples, size=size, mode="bilinear")
        state.nextjob()
        self.rng = ImageRNG(samples.shape[1:], self.seeds)
        noise = self.rng.next()
        self.calculate_hr_conds()
        if self.scripts is not None:
            self.scripts.before_hr(self)
            self.scripts.process_before_every_sampling(
                p=self, x=samples, noise=noise, c=self.hr_c, uc=self.hr_uc
            )
        samples = self.sampler.sample_img2img(
            self,
            samples,
            noise,
            self.hr_c,
            self.hr_uc,
            steps=self.hr_second_pass_steps or self.steps,
            image_conditioning=self._image_condition(samples),
        )
        self.sampler = None
        self.is_hr_pass = False
        return decode_latent_batch(samples)


@dataclass(eq=False)
class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    init_images: list[Any] | None = None
    denoising_strength: float | None = 0.75
    image_cfg_scale: float | None = None
    mask: Any = None
    mask_blur: int = 0
    inpainting_fill: int = 1
    inpaint_full_res: bool = False
    inpainting_mask_invert: int = 0
    resize_mode: int = 0

    def init(self, all_prompts: list[str], all_seeds: list[int], all_subseeds: Any) -> None:
        assert self.init_images
        self.extra_generation_params["Denoising strength"] = self.denoising_strength
        latent = torch.cat([encode_image(image) for image in self.init_images])
        self.init_latent = latent.repeat(self.batch_size // len(latent) or 1, 1, 1, 1)
        if self.mask is not None and not isinstance(self.mask, Tensor):
            grey = torch.from_numpy(np.asarray(self.mask.convert("L")).copy()).float() / 255
            paint = torch.nn.functional.avg_pool2d(grey[None, None], FACTOR).round()[0]
            self.mask, self.nmask = 1 - paint, paint

    def sample(
        self,
        conditioning: Any,
        unconditional_conditioning: Any,
        seeds: Any,
        subseeds: Any,
        subseed_strength: float,
        prompts: list[str],
    ) -> Any:
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        x = self.rng.next()
        if self.scripts is not None:
            self.scripts.process_before_every_sampling(
                p=self, x=self.init_latent, noise=x, c=conditioning, uc=unconditional_conditioning
            )
        samples = self.sampler.sample_img2img(
            self,
            self.init_latent,
            x,
            conditioning,
            unconditional_conditioning,
            image_conditioning=self._image_condition(x),
        )
        if self.mask is not None:
            samples = samples * self.nmask + self.init_latent * self.mask
        return samples


class Processed:
    def __init__(self, p: Any, images: list[Any], infotexts: list[str] | None = None) -> None:
        self.images, self.infotexts = images, infotexts or []
        self.prompt, self.all_prompts = p.main_prompt, p.all_prompts
        self.all_seeds, self.seed = p.all_seeds, p.all_seeds[0]
        self.extra_generation_params = p.extra_generation_params
        self.comments = "".join(f"{comment}\n" for comment in p.comments)
        self.index_of_first_image = 0

    def js(self) -> str:
        return json.dumps({"infotexts": self.infotexts, "all_seeds": self.all_seeds})


def create_infotext(
    p: Any,
    all_prompts: list[str],
    all_seeds: list[int],
    all_subseeds: Any,
    comments: Any = None,
    iteration: int = 0,
    position_in_batch: int = 0,
    use_main_prompt: bool = False,
    index: int | None = None,
    all_negative_prompts: list[str] | None = None,
) -> str:
    """The parameters of one picture. Values may be lists over pictures, or functions."""
    if use_main_prompt:
        index = 0
    elif index is None:
        index = position_in_batch + iteration * p.batch_size
    all_negative_prompts = all_negative_prompts or p.all_negative_prompts
    prompt_text = p.main_prompt if use_main_prompt else all_prompts[index]
    negative_prompt = p.main_negative_prompt if use_main_prompt else all_negative_prompts[index]
    params: dict[str, Any] = {
        "Steps": p.steps,
        "Sampler": p.sampler_name,
        "CFG scale": p.cfg_scale,
        "Seed": p.all_seeds[0] if use_main_prompt else all_seeds[index],
        "Size": f"{p.width}x{p.height}",
        "Model": shared.sd_model.sd_checkpoint_info.name_for_extra,
        **p.extra_generation_params,
        "Version": program_version(),
    }
    scope = {
        "p": p,
        "index": index,
        "prompt_text": prompt_text,
        "negative_prompt": negative_prompt,
        "iteration": iteration,
        "position_in_batch": position_in_batch,
        "use_main_prompt": use_main_prompt,
        "all_prompts": all_prompts,
        "all_seeds": all_seeds,
    }
    for key, value in params.items():
        if callable(value):
            params[key] = value(**scope)
        elif isinstance(value, list):
            params[key] = value[index]
    line = ", ".join(
        key if key == value else f"{key}: {infotext_utils.quote(value)}"
        for key, value in params.items()
        if value is not None
    )
    negative = f"\nNegative prompt: {negative_prompt}" if negative_prompt else ""
    return f"{prompt_text}{negative}\n{line}".strip()


def process_images(p: Any) -> Processed:
    if p.scripts is not None:
        p.scripts.before_process(p)
    # Only what a config.json holds is restored: other overrides leak.
    kept = {k: opts.data[k] for k in p.override_settings if k in opts.data}
    try:
        for key, value in p.override_settings.items():
            if key in opts.data_labels:
                opts.set(key, value, is_api=True, run_callbacks=False)
        sd_models.reload_model_weights()
        return process_images_inner(p)
    finally:
        if p.override_settings_restore_afterwards:
            for key, value in kept.items():
                setattr(opts, key, value)


def process_images_inner(p: Any) -> Processed:
    if p.refiner_checkpoint:
        p.refiner_checkpoint_info = sd_models.get_closet_checkpoint_match(p.refiner_checkpoint)
    p.setup_prompts()
    first = p.seed if p.seed != -1 else 0
    p.all_seeds = [first + i for i in range(len(p.all_prompts))]
    p.all_subseeds = list(p.all_seeds)
    if p.scripts is not None:
        p.scripts.process(p)
    images: list[Any] = []
    infotexts: list[str] = []
    with torch.no_grad():
        p.init(p.all_prompts, p.all_seeds, p.all_subseeds)
        for n in range(p.n_iter):
            p.iteration = n
            state.skipped = False
            if state.interrupted or state.stopping_generation:
                break
            sd_models.reload_model_weights()
            own = slice(n * p.batch_size, (n + 1) * p.batch_size)
            p.prompts, p.negative_prompts = p.all_prompts[own], p.all_negative_prompts[own]
            p.seeds, p.subseeds = p.all_seeds[own], p.all_subseeds[own]
            if p.enable_hr:
                p.hr_prompts = p.all_hr_prompts[own]
                p.hr_negative_prompts = p.all_hr_negative_prompts[own]
            p.rng = ImageRNG((4, p.height // FACTOR, p.width // FACTOR), p.seeds)
            batch = {"batch_number": n, "prompts": p.prompts, "seeds": p.seeds}
            if p.scripts is not None:
                p.scripts.before_process_batch(p, **batch, subseeds=p.subseeds)
                p.scripts.process_batch(p, **batch, subseeds=p.subseeds)
            p.setup_conds()
            samples = p.sample(
                conditioning=p.c,
                unconditional_conditioning=p.uc,
                seeds=p.seeds,
                subseeds=p.subseeds,
                subseed_strength=0.0,
                prompts=p.prompts,
            )
            if p.scripts is not None:
                post = scripts_module.PostSampleArgs(samples)
                p.scripts.post_sample(p, post)
                samples = post.samples
            pictures = (
                samples if isinstance(samples, DecodedSamples) else decode_latent_batch(samples)
            )
            state.nextjob()
            if p.scripts is not None:
                p.scripts.postprocess_batch(p, torch.stack(pictures), batch_number=n)
            for i, picture in enumerate(pictures):
                values = ((picture + 1) * 127.5).byte().permute(1, 2, 0).numpy()
                image = Image.fromarray(values)
                if p.scripts is not None:
                    shown = scripts_module.PostprocessImageArgs(image)
                    p.scripts.postprocess_image(p, shown)
                    image = shown.image
                text = create_infotext(
                    p,
                    p.prompts,
                    p.seeds,
                    p.subseeds,
                    index=i,
                    all_negative_prompts=p.negative_prompts,
                )
                image.info["parameters"] = text
                if p.save_samples():
                    folder = Path(p.outpath_samples or paths.data_path)
                    folder.mkdir(parents=True, exist_ok=True)
                    image.save(folder / f"{len(list(folder.glob('*.png'))):05}.png")
                images.append(image)
                infotexts.append(text)
    processed = Processed(p, images, infotexts)
    if p.scripts is not None:
        p.scripts.postprocess(p, processed)
    return processed
