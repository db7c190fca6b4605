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

import torch
from torch import Tensor


def wide_dtype(x: Tensor) -> torch.dtype:
    """float64 for float64, else float32: some devices have nothing wider."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def wide(x: Tensor) -> Tensor:
    """``x`` in at least float32, so that half precision loses nothing on the way."""
    return x.to(wide_dtype(x))


def check_pair(original: Tensor, safe: Tensor) -> None:
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
    value = value.to(wide_dtype(like)).to(like.device)
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
    check_pair(original, safe)
    share = per_image(weight, original)
    if mask is not None:
        _check_mask(mask, original)
        # A weight of 0 stays 0 where the mask is NaN because a row is.
        share = torch.where(share == 0, share, share * mask.to(share.dtype))
    a, b = wide(original), wide(safe)
    # Of the two equal forms, the one that is exact at the nearer end. Halving first keeps the
    # difference of two large float32 numbers finite.
    half = b * 0.5 - a * 0.5
    mixed = torch.where(share < 0.5, a + 2 * share * half, b - 2 * (1 - share) * half)
    mixed = torch.where(share == 0, a, torch.where(share == 1, b, mixed))
    return mixed.to(original.dtype)
