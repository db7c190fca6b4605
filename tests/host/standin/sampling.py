"""Samplers in a table, and one call of the denoiser with the callbacks around it.

Every step is written for latents of the form clean + sigma · noise; a sampler's space says what
the model is asked and what its rows are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from standin import scripting
from standin.model import SigmaSpace, TimestepSpace
from standin.prompts import reconstruct_cond_batch
from standin.settings import shared

Look = Callable[[Tensor, int], Tensor]
"""From a latent and the number of its level to the guided reconstruction."""


class Stopped(BaseException):
    """The user has interrupted or skipped; no ``Exception``, as on the real host."""


# ---------------------------------------------------------------------- steps


def towards(x: Tensor, clean: Tensor, here: Tensor, there: Tensor) -> Tensor:
    """``x`` with the noise of ``there`` in place of that of ``here``."""
    return clean + (x - clean) * (there / here)


def first_order(x: Tensor, sigmas: Tensor, look: Look, _sampler: Any) -> Tensor:
    for i, (here, there) in enumerate(pairwise(sigmas)):
        x = towards(x, look(x, i), here, there)
    return x


def second_order(x: Tensor, sigmas: Tensor, look: Look, _sampler: Any) -> Tensor:
    for i, (here, there) in enumerate(pairwise(sigmas)):
        clean = look(x, i)
        if there > 0:
            clean = (clean + look(towards(x, clean, here, there), i + 1)) / 2
        x = towards(x, clean, here, there)
    return x


def two_steps(x: Tensor, sigmas: Tensor, look: Look, _sampler: Any) -> Tensor:
    before = None
    for i, (here, there) in enumerate(pairwise(sigmas)):
        clean = look(x, i)
        ahead = clean if before is None else 1.5 * clean - 0.5 * before
        x, before = towards(x, ahead, here, there), clean
    return x


def noisy(x: Tensor, sigmas: Tensor, look: Look, sampler: Any) -> Tensor:
    for i, (here, there) in enumerate(pairwise(sigmas)):
        down = there.square() / here
        x = towards(x, look(x, i), here, down)
        x = x + (there.square() - down.square()).clamp(min=0).sqrt() * sampler.noise()
    return x


def along_uncond(x: Tensor, sigmas: Tensor, look: Look, sampler: Any) -> Tensor:
    for i, (here, there) in enumerate(pairwise(sigmas)):
        clean = look(x, i)
        x = clean + (x - sampler.model_wrap_cfg.uncond_clean) * (there / here)
    return x


def sigmas(steps: int) -> Tensor:
    """From 14.6 down to 0.03 at even timesteps, and 0."""
    bars = TimestepSpace.alphas[torch.linspace(999, 0, steps).round().long()]
    return torch.cat([((1 - bars) / bars).sqrt().float(), torch.zeros(1)])


def whole_timesteps(steps: int) -> Tensor:
    """Every (1000 // steps)-th from 1 on, the latest first."""
    return torch.arange(1, 1001, 1000 // steps).flip(0).float()


def even_timesteps(steps: int) -> Tensor:
    return torch.linspace(999, 1, steps + 1)


@dataclass(frozen=True)
class Recipe:
    """One sampler.

    Args:
        space: What its levels and the model's rows are.
        levels: From steps to levels.
        walk: All of its steps.
        order: Denoiser calls that the host expects for each step.
        scale: A factor of the CFG scale.
    """

    name: str
    space: type[SigmaSpace]
    levels: Callable[[int], Tensor]
    walk: Callable[..., Tensor]
    order: int = 1
    scale: float = 1.0

    def total_steps(self, steps: int) -> int:
        return self.order * steps


RECIPES = [
    Recipe("Euler", SigmaSpace, sigmas, first_order),
    Recipe("Euler a", SigmaSpace, sigmas, noisy),
    Recipe("Heun", SigmaSpace, sigmas, second_order, order=2),
    Recipe("DPM++ 2M", SigmaSpace, sigmas, two_steps),
    Recipe("DDIM", TimestepSpace, whole_timesteps, first_order),
    Recipe("DDIM CFG++", TimestepSpace, whole_timesteps, along_uncond, scale=0.08),
    Recipe("UniPC", TimestepSpace, even_timesteps, two_steps),
]


def find_sampler_config(name: str) -> Recipe:
    return next(recipe for recipe in RECIPES if recipe.name == name)


# ---------------------------------------------------------------------- one call


@dataclass
class BeforeCall:
    """What ``cfg_denoiser`` callbacks see and may change."""

    x: Tensor
    sigma: Tensor
    image_cond: Tensor
    text_cond: Any
    text_uncond: Any
    denoiser: Denoiser
    sampling_step: int


@dataclass
class AfterCall:
    """What ``cfg_denoised`` callbacks see; only writing into ``x`` counts."""

    x: Tensor
    inner_model: Any
    sampling_step: int


@dataclass
class AfterGuidance:
    """What ``cfg_after_cfg`` callbacks see; ``x`` is read back."""

    x: Tensor
    sampling_step: int


def length(cond: Any) -> int:
    return int(cond.shape[1])


def map_cond(function: Callable[..., Tensor], *conds: Any) -> Any:
    """``function`` of the tensors in conds of one kind."""
    if isinstance(conds[0], dict):
        return type(conds[0])({k: function(*(c[k] for c in conds)) for k in conds[0]})
    return function(*conds)


def lengthened(cond: Any, tokens: int) -> Any:
    """``cond`` filled up to ``tokens`` with encodings of nothing, if the settings want that."""
    missing = tokens - length(cond)
    if missing <= 0 or not (shared.opts.pad_cond_uncond or shared.opts.pad_cond_uncond_v0):
        return cond
    nothing = shared.sd_model.cond_stage_model_empty_prompt
    text = cond["crossattn"] if isinstance(cond, dict) else cond
    text = torch.cat([text, nothing.repeat(len(text), missing // nothing.shape[1], 1)], 1)
    return type(cond)({**cond, "crossattn": text}) if isinstance(cond, dict) else text


class Denoiser:
    """The model with guidance: from a latent and its level to what the sampler goes by."""

    cond_scale_miltiplier: float

    def __init__(self, sampler: Sampler, recipe: Recipe, total_steps: int) -> None:
        self.sampler, self.p, self.recipe = sampler, sampler.p, recipe
        self.cond_scale_miltiplier = recipe.scale
        self.step, self.total_steps = 0, total_steps
        self.inner_model = recipe.space(shared.sd_model)
        self.alphas = recipe.space.alphas
        self.padded: set[str] = set()
        self.uncond_clean: Tensor | None = None

    def get_pred_x0(self, x_in: Tensor, x_out: Tensor, sigma: Tensor) -> Tensor:
        return self.inner_model.clean(x_in, x_out, sigma)

    def combine_denoised(
        self, x_out: Tensor, conds_list: Any, _uncond: Any, cond_scale: float
    ) -> Tensor:
        base = x_out[len(x_out) - len(conds_list) :]
        pulls = [
            torch.stack([weight * (x_out[row] - own) for row, weight in parts]).sum(0)
            for own, parts in zip(base, conds_list, strict=True)
        ]
        return base + cond_scale * torch.stack(pulls)

    def _change_checkpoint(self) -> None:
        """Load the refiner when its time has come."""
        wanted = getattr(self.p, "refiner_checkpoint_info", None)
        due = wanted and self.step >= self.p.refiner_switch_at * self.total_steps
        if due and shared.sd_model.sd_checkpoint_info != wanted:
            self.p.load(wanted.name)
            self.inner_model = self.recipe.space(shared.sd_model)
            self.sampler.sampler_extra_args.update(self.p.encoded())

    def _skips_uncond(self, level: Tensor) -> bool:
        early = shared.opts.skip_early_cond
        if early and self.step / self.total_steps <= early:
            self.p.extra_generation_params["Skip Early CFG"] = early
            return True
        counted = shared.opts.s_min_uncond_all or self.step % 2
        return bool(counted and level[0] < self.p.s_min_uncond)

    def _rows(self, seen: BeforeCall, images: int, skip: bool) -> Tensor:
        """The model's rows for what the callbacks left, without uncond rows if ``skip``."""
        cond, uncond = seen.text_cond, seen.text_uncond
        if length(cond) != length(uncond):
            long = max(length(cond), length(uncond))
            cond, uncond = lengthened(cond, long), lengthened(uncond, long)
            if length(cond) == length(uncond):
                old = " v0" if shared.opts.pad_cond_uncond_v0 else ""
                self.p.extra_generation_params[f"Pad conds{old}"] = True
        if skip:
            groups = [cond]
        elif length(cond) == length(uncond):
            groups = [map_cond(lambda a, b: torch.cat([a, b]), cond, uncond)]
        else:
            groups = [cond, uncond]
        rows: list[Tensor] = []
        done = 0
        for group in groups:
            count = len(group["crossattn"] if isinstance(group, dict) else group)
            size = images if not shared.opts.batch_cond_uncond else count
            for begin in range(0, count, size):
                part = slice(done + begin, done + min(begin + size, count))
                text = map_cond(lambda v, b=begin, s=size: v[b : b + s], group)
                named = text if isinstance(text, dict) else {"c_crossattn": [text]}
                cond_in = {**named, "c_concat": [seen.image_cond[part]]}
                rows.append(self.inner_model(seen.x[part], seen.sigma[part], cond=cond_in))
            done += count
        return torch.cat(rows)

    def __call__(self, x: Tensor, level: Tensor) -> Tensor:
        return self.keeping_masked(x, self.forward(x, level), level)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """The guided row, before an inpainting's mask."""
        if shared.state.stopping:
            raise Stopped
        self._change_checkpoint()
        args, images = self.sampler.sampler_extra_args, len(x)
        batch, now = args["cond"].batch, shared.state.sampling_step
        owner = [image for image, parts in enumerate(batch) for _ in parts]
        first = [owner.index(image) for image in range(images)]
        weights = [[part.weight for part in parts] for parts in batch]
        conds_list = [
            list(enumerate(own, begin)) for own, begin in zip(weights, first, strict=True)
        ]
        order = [*owner, *range(images)]
        schedules = [part.schedules for parts in batch for part in parts]
        seen = BeforeCall(
            x=x[order],
            sigma=level[order],
            image_cond=args["image_cond"][order],
            text_cond=reconstruct_cond_batch(schedules, self.step),
            text_uncond=reconstruct_cond_batch(args["uncond"], self.step),
            denoiser=self,
            sampling_step=now,
        )
        scripting.fire("cfg_denoiser", seen)
        skip = self._skips_uncond(level)
        rows = self._rows(seen, images, skip)
        if skip:
            rows = torch.cat([rows, rows[first]])
        scripting.fire("cfg_denoised", AfterCall(rows, self.inner_model, now))

        def show(which: Any, found: Tensor) -> Tensor:
            return self.get_pred_x0(seen.x[which], found, seen.sigma[which])

        scale = 1.0 if skip else args["cond_scale"] * self.cond_scale_miltiplier
        result = self.combine_denoised(rows, conds_list, args["uncond"], scale)
        last = slice(len(rows) - images, None)
        self.sampler.last_latent = show(first, rows[first])
        self.uncond_clean = self.inner_model.clean(x, rows[last], level)
        shown = {"Prompt": self.sampler.last_latent}
        content = shared.opts.live_preview_content
        if content == "Negative prompt":
            shown[content] = show(slice(-images, None), rows[last])
        elif content == "Combined":
            shown[content] = show(slice(-images, None), result)
        shared.state.current_latent = shown[content]
        after = AfterGuidance(result, now)
        scripting.fire("cfg_after_cfg", after)
        self.step += 1
        return after.x

    def keeping_masked(self, x: Tensor, row: Tensor, level: Tensor) -> Tensor:
        """Where an inpainting's mask is 0 the picture stays as it came."""
        mask, came = getattr(self.p, "latent_mask", None), self.p.init_latent
        if mask is None:
            return row
        clean = mask * self.inner_model.clean(x, row, level) + (1 - mask) * came
        return self.inner_model.row(x, clean, level)


# ---------------------------------------------------------------------- one pass


class Sampler:
    """One sampling pass of a processing object."""

    def __init__(self, p: Any, recipe: Recipe, steps: int, kept: int | None) -> None:
        self.p, self.recipe = p, recipe
        levels = recipe.levels(steps)
        self.levels = levels if kept is None else levels[-kept - 1 :]
        calls = recipe.total_steps(steps if kept is None else kept)
        self.last_latent: Tensor | None = None
        self.sampler_extra_args: dict[str, Any] = {}
        self.model_wrap_cfg = Denoiser(self, recipe, calls)

    def noise(self) -> Tensor:
        """Noise for every image, each from its own seed."""
        shape = self.p.latent_shape
        return torch.stack([torch.randn(shape, generator=own) for own in self.p.generators])

    def launch_sampling(self, steps: int, func: Callable[[], Tensor]) -> Tensor:
        """``func``, or where it was stopped what there is so far."""
        shared.state.sampling_steps, shared.state.sampling_step = steps, 0
        try:
            return func()
        except Stopped:
            assert self.last_latent is not None
            return self.last_latent

    def add_infotext(self, p: Any) -> None:
        """Called when the pass is over."""
        if self.recipe.scale != 1.0:
            p.extra_generation_params["Sampler scale"] = self.recipe.scale

    def run(self, latent: Tensor) -> Tensor:
        """From a latent, zeros for none, to the finished one."""
        space = self.model_wrap_cfg.inner_model
        noises = space.sigma(self.levels)
        self.last_latent = latent

        def look(x: Tensor, number: int) -> Tensor:
            inner = self.model_wrap_cfg
            level = self.levels[number].expand(len(x))
            scale = inner.inner_model.scale(self.levels[number])
            row = inner(x * scale, level)
            shared.state.sampling_step = number
            return inner.inner_model.clean(x * scale, row, level)

        def walk() -> Tensor:
            return self.recipe.walk(latent + noises[0] * self.noise(), noises, look, self)

        found = self.launch_sampling(len(self.levels) - 1, walk)
        self.add_infotext(self.p)
        return found
