"""What a picture is moved towards: the texts that count with a weight above 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from safegen.errors import InvalidValue

ROUNDING = 1e-6
"""A weight that is not further above 0 than this is one that came of rounding."""
CFG_PP = {"DDIM CFG++": 1 / 12.5}
"""Samplers that take the noise to the next level from the uncond row (arXiv 2406.08070), and what
they multiply the CFG scale with."""


@dataclass(frozen=True)
class Guiding:
    """How the host guides a pass.

    Args:
        cfg: The CFG scale that was asked for.
        scale: s, which is that times the sampler's own factor. With CFG++ it is that of the plain
            sampler which makes the same first step.
        may_skip: Whether the host may leave the uncond rows out of some calls; it then guides
            with a scale of 1, and the first part's row stands in for the uncond row.
    """

    cfg: float
    scale: float
    may_skip: bool = False

    @classmethod
    def before(cls, host: Any, p: Any, *, hires: bool) -> Guiding:
        """How a pass of ``p`` will be guided, by what is known before it begins."""
        sampler = (getattr(p, "hr_sampler_name", None) if hires else None) or p.sampler_name
        return cls._of(host, p, CFG_PP.get(sampler, 1.0), hires=hires)

    @classmethod
    def of(cls, host: Any, denoiser: Any) -> Guiding:
        """How a denoiser that is at work guides."""
        cfg = denoiser.sampler.sampler_extra_args["cond_scale"]
        hires = bool(getattr(denoiser.p, "is_hr_pass", False))
        factor = getattr(denoiser, "cond_scale_miltiplier", 1.0)
        return cls._of(host, denoiser.p, factor, cfg, hires=hires)

    @classmethod
    def _of(cls, host: Any, p: Any, factor: float, cfg: Any = None, *, hires: bool) -> Guiding:
        """Raises `InvalidValue` where the scale is no number."""
        own = hires_cfg(p) if hires else None
        cfg = own if own is not None else p.cfg_scale if cfg is None else cfg
        if not isinstance(cfg, int | float) or not math.isfinite(cfg):
            raise InvalidValue("cfg_scale", cfg, "a number")
        skips = (
            bool(host.option("skip_early_cond", 0.0))
            or (getattr(p, "s_min_uncond", 0.0) or 0.0) > 0
            or host.option("s_min_uncond", 0.0) > 0
        )
        if factor != 1.0:
            second = getattr(p, "hr_second_pass_steps", 0) if hires else 0
            steps = second or p.steps
            factor *= first_step(getattr(p.sd_model, "alphas_cumprod", None), steps)
            if host.is_forge():  # it takes no notice of the sampler's own factor
                factor /= CFG_PP["DDIM CFG++"]
        return cls(float(cfg), float(cfg) * factor, skips)


def hires_cfg(p: Any) -> Any:
    """The hires pass's own CFG scale, which Forge and reForge have; ``None`` elsewhere.

    0 means the first pass's on reForge, which puts that in its place only when it encodes the
    prompts: with a checkpoint of its own not before that pass. Forge takes it as it is.
    """
    own = getattr(p, "hr_cfg", None)
    code = getattr(getattr(p, "calculate_hr_conds", None), "__code__", None)
    if own == 0 and "cfg_scale" in getattr(code, "co_names", ()):
        return p.cfg_scale
    return own


def first_step(alphas: Tensor | None, steps: int) -> float:
    """What the scale of CFG++ has to be multiplied with to be a plain sampler's, at least 1.

    From noise level a to b, in the model's ᾱ, a plain DDIM step adds -(A - B)·ε to the latent and
    one of CFG++ adds -A·ε + B·ε_uncond, with A = √(b(1 - a)/a) and B = √(1 - b). The larger a step
    is, the less CFG++ guides.
    """
    width = 1000 // max(steps, 1)
    first = (999 // width) * width + 1
    if alphas is None or first <= width:
        return 1.0
    here, there = (float(alphas[min(level, 999)]) for level in (first, first - width))
    by_guided, by_uncond = math.sqrt(there * (1 - here) / here), math.sqrt(1 - there)
    return by_guided / (by_guided - by_uncond)


@dataclass(frozen=True)
class Towards:
    """Which texts a picture is moved towards, in any call.

    Args:
        parts: For each ``AND`` part of the prompt.
        negative: For the negative prompt.
    """

    parts: tuple[bool, ...]
    negative: bool


def towards(weights: Sequence[float], guiding: Guiding) -> Towards:
    """What a picture with ``AND`` parts of these ``weights`` is moved towards.

    The guided result û + Σᵢ wᵢ·s·(ĉᵢ - û) is a sum of rows, in which part i weighs s·wᵢ and the
    negative prompt what the parts leave of 1.
    """
    own = [guiding.scale * weight for weight in weights]
    parts = [weight > ROUNDING for weight in own]
    if guiding.may_skip:
        skipping = [1.0 - sum(weights[1:]), *weights[1:]]
        parts = [
            counts or weight > ROUNDING for counts, weight in zip(parts, skipping, strict=True)
        ]
    return Towards(tuple(parts), 1.0 - sum(own) > ROUNDING)
