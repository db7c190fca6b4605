"""Where the two reconstructions disagree: a soft mask of the part that has to change."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from safegen.method.blend import check_pair, wide

MASK_LOW = 0.10
MASK_HIGH = 0.40
"""Where, as a share of the image's greatest disagreement, the mask leaves 0 and reaches 1."""


def _smooth(x: Tensor, radius: int) -> Tensor:
    """A binomial blur of ``[..., 1, H, W]``: ``radius`` times 1-2-1 both ways, edges repeated.

    Written as sums, not as a convolution: autocast would run that in half precision, and its
    algorithm, so its rounding, may change with the batch size.
    """
    shape = x.shape
    x = x.reshape(-1, 1, *shape[-2:])
    for _ in range(radius):
        x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        x = (x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 4
        x = (x[..., :-2, :] + 2 * x[..., 1:-1, :] + x[..., 2:, :]) / 4
    return x.reshape(shape)


def disagreement_mask(original: Tensor, safe: Tensor) -> Tensor:
    """A soft mask of where two reconstructions disagree, ``[B, 1, H, W]`` in [0, 1].

    Of videos, ``[B, C, frames, H, W]``, it is ``[B, 1, frames, H, W]``.

    |safe - original| averaged over channels, smoothed, divided by the image's own greatest
    value, and passed through a smooth step from `MASK_LOW` to `MASK_HIGH`. An image whose two
    reconstructions are equal gets all zeros; any other reaches 1 somewhere, however small its
    disagreement. Invariant to the scale of the rows, so x0 and eps rows agree.
    """
    check_pair(original, safe)
    if original.ndim not in (4, 5):
        raise ValueError(
            f"original: {original.ndim} dimensions are not allowed; allowed: [B, C, H, W] or "
            "[B, C, frames, H, W]"
        )
    difference = (wide(safe) * 0.5 - wide(original) * 0.5).abs()
    places = tuple(range(1, original.ndim))
    peak = difference.amax(dim=places, keepdim=True)
    # Dividing by the peak first keeps the mean finite for any finite input.
    level = (difference / torch.where(peak > 0, peak, 1)).mean(dim=1, keepdim=True)
    level = _smooth(level, radius=max(1, min(original.shape[-2:]) // 32))
    top = level.amax(dim=places, keepdim=True)
    level = level / torch.where(top > 0, top, 1)
    t = ((level - MASK_LOW) / (MASK_HIGH - MASK_LOW)).clamp(0, 1)
    return t * t * (3 - 2 * t)
