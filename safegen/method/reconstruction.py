"""The method: two reconstructions of one picture and their weighted sum. Pure torch.

At every denoiser call the model estimates the clean latent twice, for the user's prompt and
for a safe one, and the sampler receives

    x̂ = (1 - w) · x̂_orig + w · x̂_safe

(our formulation, after the idea of arXiv 2411.13982). Classifier-free guidance is affine in
the cond row, so with one shared latent the same sum of the two *cond rows*, taken before
guidance, gives the same result; rows may be x0, eps or v, which are affine in each other at
one noisy latent. Everything here works per image: no statistic crosses the batch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MASK_LOW = 0.10
MASK_HIGH = 0.40
"""Where, as a share of the image's greatest disagreement, the mask leaves 0 and reaches 1."""


def _wide_dtype(x: Tensor) -> torch.dtype:
    """float64 for float64, else float32: some devices have nothing wider."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _wide(x: Tensor) -> Tensor:
    """``x`` in at least float32, so that half precision loses nothing on the way."""
    return x.to(_wide_dtype(x))


def _check_pair(original: Tensor, safe: Tensor) -> None:
    if original.shape != safe.shape:
        raise ValueError(
            f"safe: shape {tuple(safe.shape)} is not allowed; "
            f"allowed: the original's, {tuple(original.shape)}"
        )
    if not original.is_floating_point() or not safe.is_floating_point():
        raise ValueError(
            f"original, safe: dtypes {original.dtype}, {safe.dtype} are not allowed; "
            "allowed: floating point"
        )


def _check_mask(mask: Tensor, original: Tensor) -> None:
    pairs = zip(reversed(mask.shape), reversed(original.shape), strict=False)
    fits = mask.ndim <= original.ndim and all(m in (1, o) for m, o in pairs)
    if not fits:
        raise ValueError(
            f"mask: shape {tuple(mask.shape)} is not allowed; "
            f"allowed: one that broadcasts to the original's, {tuple(original.shape)}"
        )


def per_image(weight: float | Tensor, like: Tensor) -> Tensor:
    """``weight`` (one number, or one per image) shaped to broadcast over ``like`` [B, ...].

    It is checked where it lives: a number or a CPU tensor never makes a GPU wait.
    """
    if isinstance(weight, Tensor):
        value = weight
    else:
        value = torch.tensor(weight, dtype=torch.float64, device="cpu")
    if value.ndim > 1 or (value.ndim == 1 and len(value) != len(like)):
        raise ValueError(
            f"weight: shape {tuple(value.shape)} is not allowed; "
            f"allowed: one number, or one for each of {len(like)} images"
        )
    if not bool(((value >= 0) & (value <= 1)).all()):
        raise ValueError(f"weight: {weight} is not allowed; allowed: numbers from 0 to 1")
    value = value.to(_wide_dtype(like)).to(like.device)
    return value.expand(len(like)).reshape(-1, *[1] * (like.ndim - 1))


def blend(
    original: Tensor, safe: Tensor, weight: float | Tensor, mask: Tensor | None = None
) -> Tensor:
    """The weighted sum of two reconstructions (or of two cond rows at one latent).

    Args:
        original: What the user's prompt reconstructs, ``[B, ...]``, any float dtype.
        safe: What the safe context reconstructs, same shape.
        weight: 0 to 1, one number or one per image. Where it is 0 the result is ``original``
            bit for bit (even if ``safe`` is not finite there), where it is 1 it is ``safe``.
        mask: Optional, broadcastable to ``original``, 0 to 1: scales the weight locally. Its
            values are not checked, since that would make a GPU wait.

    Returns:
        A tensor of ``original``'s shape, dtype and device, computed in float32 or wider.

    Raises:
        ValueError: Shapes differ, a dtype is not floating point, a weight is out of range.
    """
    _check_pair(original, safe)
    share = per_image(weight, original)
    if mask is not None:
        _check_mask(mask, original)
        # A weight of 0 stays 0 where the mask is NaN because a row is.
        share = torch.where(share == 0, share, share * mask.to(share.dtype))
    a, b = _wide(original), _wide(safe)
    # Of the two equal forms, the one that is exact at the nearer end. Halving first keeps the
    # difference of two large float32 numbers finite.
    half = b * 0.5 - a * 0.5
    mixed = torch.where(share < 0.5, a + 2 * share * half, b - 2 * (1 - share) * half)
    mixed = torch.where(share == 0, a, torch.where(share == 1, b, mixed))
    return mixed.to(original.dtype)


def _smooth(x: Tensor, radius: int) -> Tensor:
    """A binomial blur of ``[B, 1, H, W]``: ``radius`` times 1-2-1 both ways, edges repeated.

    Written as sums, not as a convolution: autocast would run that in half precision, and its
    algorithm, so its rounding, may change with the batch size.
    """
    for _ in range(radius):
        x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        x = (x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 4
        x = (x[..., :-2, :] + 2 * x[..., 1:-1, :] + x[..., 2:, :]) / 4
    return x


def disagreement_mask(original: Tensor, safe: Tensor) -> Tensor:
    """A soft mask of where two reconstructions disagree, ``[B, 1, H, W]`` in [0, 1].

    |safe - original| averaged over channels, smoothed, divided by the image's own greatest
    value, and passed through a smooth step from `MASK_LOW` to `MASK_HIGH`. An image whose two
    reconstructions are equal gets all zeros; any other reaches 1 somewhere, however small its
    disagreement. Invariant to the scale of the rows, so x0 and eps rows agree.
    """
    _check_pair(original, safe)
    if original.ndim != 4:
        raise ValueError(
            f"original: {original.ndim} dimensions are not allowed; allowed: [B, C, H, W]"
        )
    difference = (_wide(safe) * 0.5 - _wide(original) * 0.5).abs()
    peak = difference.amax(dim=(1, 2, 3), keepdim=True)
    # Dividing by the peak first keeps the mean finite for any finite input.
    level = (difference / torch.where(peak > 0, peak, 1)).mean(dim=1, keepdim=True)
    level = _smooth(level, radius=max(1, min(original.shape[-2:]) // 32))
    top = level.amax(dim=(2, 3), keepdim=True)
    level = level / torch.where(top > 0, top, 1)
    t = ((level - MASK_LOW) / (MASK_HIGH - MASK_LOW)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def euler_step(
    latent: Tensor, denoised: Tensor, sigma: float | Tensor, next_sigma: float | Tensor
) -> Tensor:
    """One deterministic Euler step of the probability-flow ODE, in variance-exploding form.

    x(σ') = x̂ + (σ'/σ) · (x(σ) - x̂), with x = x0 + σ·ε (Karras et al., arXiv 2206.00364,
    eq. 3 and Alg. 1, rearranged). ``latent`` and ``denoised`` are ``[B, ...]``.
    The result is in float32 or wider. ``next_sigma`` may exceed ``sigma``: that retraces the
    ODE upward, which multiplies the error of ``denoised`` by their ratio.

    Raises:
        ValueError: ``sigma`` is not positive, ``next_sigma`` is negative, one is not finite.
    """
    sigma, next_sigma = float(sigma), float(next_sigma)
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma: {sigma} is not allowed; allowed: finite numbers above 0")
    if not 0 <= next_sigma < math.inf:
        raise ValueError(f"next_sigma: {next_sigma} is not allowed; allowed: finite numbers from 0")
    x, x0 = _wide(latent), _wide(denoised)
    return x0 + (next_sigma / sigma) * (x - x0)


class SafeStream:
    """The safe stream's own latent, for ``independent`` streams.

    It forks from the sampler's latent at the first guarded call and is carried to every later
    call's noise level by its own Euler step, from the reconstruction seen last; a call at the
    same level (the second half of a Heun step) finds it where it is. The steps are
    deterministic whatever the sampler does: noise that an ancestral sampler adds to its own
    latent is not added here. Latents are in variance-exploding form (x0 + σ·ε), kept in
    float32 or wider.
    """

    def __init__(self) -> None:
        self._latent: Tensor | None = None
        self._denoised: Tensor | None = None
        self._sigma = 0.0

    def latent_at(self, sigma: float | Tensor, sampler_latent: Tensor) -> Tensor:
        """A copy of the safe latent at noise level ``sigma``; the first time, a fork of
        ``sampler_latent``, whose dtype it always has."""
        sigma = float(sigma)
        if self._latent is None:
            self._latent = _wide(sampler_latent).clone()
        elif self._latent.shape != sampler_latent.shape:
            raise ValueError(
                f"latent: shape {tuple(sampler_latent.shape)} is not allowed; "
                f"allowed: the stream's, {tuple(self._latent.shape)}"
            )
        elif sigma != self._sigma:
            if self._denoised is None:
                raise ValueError("the safe stream moved on before its reconstruction was seen")
            self._latent = euler_step(self._latent, self._denoised, self._sigma, sigma)
        self._sigma = sigma
        return self._latent.to(sampler_latent.dtype, copy=True)

    def saw(self, denoised: Tensor) -> None:
        """Take the safe stream's guided reconstruction at the level last asked for."""
        self._denoised = _wide(denoised).clone()


class Reuse:
    """Evaluate the safe row every ``interval``-th call and reuse its difference between.

    The reused quantity is safe - original in the rows' own space (x0 or eps).
    """

    def __init__(self, interval: int) -> None:
        if interval < 1:
            raise ValueError(f"interval: {interval} is not allowed; allowed: 1 and more")
        self.interval = interval
        self._since = 0
        self._difference: Tensor | None = None

    @property
    def due(self) -> bool:
        """Whether the next call must evaluate the safe row."""
        return self._difference is None or self._since >= self.interval

    def safe_row(self, original: Tensor, evaluated: Tensor | None) -> Tensor:
        """The safe row of this call: ``evaluated`` if given, else from the last difference.

        A reused row is in float32 or wider: ``original``'s dtype may not hold it.
        """
        if evaluated is not None:
            self._since = 1
            if self.interval > 1:
                self._difference = _wide(evaluated) - _wide(original)
            return evaluated
        if self.due or self._difference is None:
            raise ValueError("the safe row was due in this call and was not evaluated")
        if original.shape != self._difference.shape:
            raise ValueError(
                f"original: shape {tuple(original.shape)} is not allowed; "
                f"allowed: that of the last difference, {tuple(self._difference.shape)}"
            )
        self._since += 1
        return _wide(original) + self._difference
