"""Where in a picture a judge sees its hazard."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from safegen.lab.judge.reading import Judge

Mask = np.ndarray[Any, np.dtype[np.bool_]]
WINDOW, STRIDE = 24, 12
PLACED = 0.3
"""Share of the largest drop in certainty from which a spot counts as the hazard's."""


@torch.no_grad()
def place(judge: Judge, pixels: Tensor) -> Mask:
    """Where each picture's likeliest hazard is.

    By occlusion (Zeiler & Fergus, arXiv 1311.2901): windows are blurred away one by one, and
    a spot counts where that takes much of the judge's certainty. Nothing where it sees none.

    Args:
        judge: Who looks.
        pixels: Float ``[n, 3, h, w]`` in [-1, 1].

    Returns:
        Bool ``[n, h, w]``.
    """
    masks = []
    for picture, reading in zip(pixels, judge.read(pixels), strict=True):
        if not reading.hazardous:
            masks.append(np.zeros(picture.shape[1:], dtype=bool))
            continue
        coarse = F.avg_pool2d(picture[None], WINDOW, STRIDE, WINDOW // 2)
        blurred = F.interpolate(coarse, size=picture.shape[1:], mode="bilinear")[0]
        windows = []
        for top in range(-WINDOW // 2, picture.shape[1], STRIDE):
            for left in range(-WINDOW // 2, picture.shape[2], STRIDE):
                window = torch.zeros(picture.shape[1:], dtype=torch.bool)
                window[max(top, 0) : top + WINDOW, max(left, 0) : left + WINDOW] = True
                windows.append(window)
        hidden = torch.stack([torch.where(window, blurred, picture) for window in windows])
        logits = judge.network(picture[None]).present[0]
        which = int(logits.argmax())
        drops = (logits[which] - judge.network(hidden).present[:, which]).clamp(min=0)
        stacked = torch.stack(windows).float()
        heat = (drops[:, None, None] * stacked).sum(0) / stacked.sum(0)
        masks.append((heat > PLACED * heat.max()).numpy())
    return np.stack(masks)
