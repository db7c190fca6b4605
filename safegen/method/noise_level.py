"""How far sampling has come, told by the noise that is left.

A share of the steps means another moment for each sampler, step count and denoising strength; a
noise level means the same picture-to-be in all of them. So progress is read off σ.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import accumulate

_TIMESTEPS = 1000


def _log_sigmas() -> list[float]:
    """log σ of each timestep of Stable Diffusion's noise schedule, rising.

    β is linear in its square root from 0.00085 to 0.012; ᾱ is the product of 1 - β, and
    σ² = (1 - ᾱ) / ᾱ (Rombach et al., arXiv 2112.10752, and its published configuration).
    """
    first, last = math.sqrt(0.00085), math.sqrt(0.012)
    betas = ((first + (last - first) * t / (_TIMESTEPS - 1)) ** 2 for t in range(_TIMESTEPS))
    alphas = accumulate(betas, lambda product, beta: product * (1.0 - beta), initial=1.0)
    return [0.5 * math.log((1.0 - a) / a) for a in list(alphas)[1:]]


_LOG_SIGMAS = _log_sigmas()


def progress_at(sigma: float) -> float:
    """Sampling progress at noise level ``sigma``: 0 in pure noise, 1 where none is left.

    It is 1 - t / 999, with t the timestep at which Stable Diffusion's own schedule has this σ
    (log σ is interpolated), whatever model samples: so samplers whose steps are evenly spaced
    in t have come as far as their share of the steps, but for one step. Ours.

    Args:
        sigma: In variance-exploding form, x = x0 + σ·ε, 0 and up. Of a flow, x = (1 - s)·x0 +
            s·ε, it is s / (1 - s).

    Raises:
        ValueError: ``sigma`` is negative or not a number.
    """
    if not sigma >= 0.0:
        raise ValueError(f"sigma: {sigma} is not allowed; allowed: a number from 0 on")
    if sigma == 0.0:
        return 1.0
    level = math.log(sigma)
    if level <= _LOG_SIGMAS[0]:
        return 1.0
    if level >= _LOG_SIGMAS[-1]:
        return 0.0
    after = bisect_left(_LOG_SIGMAS, level)
    before = _LOG_SIGMAS[after - 1]
    t = after - 1 + (level - before) / (_LOG_SIGMAS[after] - before)
    return 1.0 - t / (_TIMESTEPS - 1)
