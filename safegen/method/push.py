"""The safe stream guided away from what is unsafe: one more row, one term more.

With û, ĉ_safe and ĉ_unsafe the reconstructions without a prompt, for the safe text and for the
context's unsafe text, s the CFG scale and r the push's strength,

    x̂_safe = û + s · (ĉ_safe - û) - r · g · (ĉ_unsafe - û)
           = û + s · (ĉ_pushed - û)     with  ĉ_pushed = ĉ_safe - (r / s) · g · (ĉ_unsafe - û)

so that the push, too, is an edit of the cond row. The formula is ours; pushing away from a
concept's own row is what Safe Latent Diffusion does (Schramowski et al., arXiv 2211.05105).
Pure torch; every image by itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from safegen.method.blend import wide


def pushed(
    safe: Tensor,
    unsafe: Tensor,
    uncond: Tensor,
    strength: Tensor,
    scale: float | Tensor = 1.0,
    gate: Tensor | None = None,
) -> Tensor:
    """The safe cond rows, guided away from the unsafe ones.

    Args:
        safe: Cond rows of the safe text, ``[B, C, H, W]``: x0, eps or v. Or the guided safe
            reconstruction; ``scale`` is then 1.
        unsafe: Cond rows of the context's unsafe text, alike, at the same noisy latent.
        uncond: The rows without a prompt, alike.
        strength: r of each image, ``[B]``, 0 and up. Where it is 0 the image's rows come back
            bit for bit, whatever its unsafe row holds.
        scale: s, the CFG scale with which the host will guide the result, above 0; one number,
            or one per image.
        gate: Optional, broadcastable to the rows, 0 to 1: where the push counts.

    Returns:
        Rows like ``safe``, in float32 or wider.

    Raises:
        ValueError: Shapes differ, a strength is negative or not finite, a scale is not positive.
    """
    for name, rows in (("unsafe", unsafe), ("uncond", uncond)):
        if rows.shape != safe.shape:
            raise ValueError(
                f"{name}: shape {tuple(rows.shape)} is not allowed; "
                f"allowed: the safe rows', {tuple(safe.shape)}"
            )
    r = _of_images("strength", strength, len(safe))
    s = _of_images("scale", torch.as_tensor(scale, dtype=torch.float64, device="cpu"), len(safe))
    if not bool((r >= 0).all()):
        raise ValueError(f"strength: {r.tolist()} is not allowed; allowed: numbers from 0 on")
    if not bool((s > 0).all()):
        raise ValueError(f"scale: {s.tolist()} is not allowed; allowed: numbers above 0")
    rows = wide(safe)
    share = (r / s).to(rows.dtype).to(rows.device).reshape(-1, *[1] * (rows.ndim - 1))
    away = wide(unsafe) - wide(uncond)
    if gate is not None:
        away = gate.to(rows.dtype) * away
    return torch.where(share == 0, rows, rows - share * away)


def _of_images(name: str, value: Tensor, images: int) -> Tensor:
    """``value``, one or one per image, as ``[images]`` on the CPU in float64."""
    value = value.detach().to("cpu", torch.float64)
    if value.ndim > 1 or (value.ndim == 1 and len(value) != images):
        raise ValueError(
            f"{name}: shape {tuple(value.shape)} is not allowed; "
            f"allowed: one number, or one for each of {images} images"
        )
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"{name}: {value.tolist()} is not allowed; allowed: finite numbers")
    return value.expand(images)
