"""The host's classifier-free guidance of one denoiser call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from safegen.hosts.a1111.rows import RowLayout


@dataclass(frozen=True)
class Guidance:
    """û + Σᵢ wᵢ·s·(ĉᵢ - û) for each image, over its ``AND`` parts i.

    Args:
        layout: The call's rows.
        cfg: The CFG scale that the user asked for; 1 where the host left the uncond rows out.
        scale: s, which is that times the sampler's own factor (DDIM CFG++ has one).
        weights: w of each cond row. Where the host left the uncond rows out û is the first part's
            row, and w of that is what the others leave of 1.
    """

    layout: RowLayout
    cfg: float
    scale: float
    weights: tuple[float, ...]

    @classmethod
    def of(cls, denoiser: Any, layout: RowLayout, *, without_uncond: bool) -> Guidance:
        """How the host will combine the rows of the call that is under way.

        Where it left the uncond rows out it guides with a scale of 1.
        """
        arguments = denoiser.sampler.sampler_extra_args
        weights = [float(part.weight) for of in arguments["cond"].batch for part in of]
        if without_uncond:
            for image, first in enumerate(layout.first):
                weights[first] = 1.0 - sum(weights[row] for row in layout.of_image(image)[1:])
            return cls(layout, 1.0, 1.0, tuple(weights))
        cfg, factor = arguments["cond_scale"], denoiser.cond_scale_miltiplier
        return cls(layout, float(cfg), float(cfg * factor), tuple(weights))

    def guided(self, cond: Tensor, uncond: Tensor) -> Tensor:
        """The guided result ``[B, C, H, W]`` of the cond and the uncond rows."""
        result = uncond.clone()
        for row, image in enumerate(self.layout.image_of):
            result[image] += self.weights[row] * self.scale * (cond[row] - uncond[image])
        return result

    def total(self, image: int) -> float:
        """s·Σᵢ wᵢ of ``image``."""
        return self.scale * sum(self.weights[row] for row in self.layout.of_image(image))

    def push_scales(self, pushed: Sequence[bool]) -> Tensor:
        """What to divide a push by for each cond row, so that each image is pushed once.

        All its pushed parts are edited alike. In the units of `cfg`: a sampler that guides
        less than was asked for also pushes less.

        Args:
            pushed: Which cond rows are pushed.
        """
        sums = [0.0] * self.layout.images
        for row, image in enumerate(self.layout.image_of):
            sums[image] += self.weights[row] * pushed[row]
        scales = [
            self.cfg * sums[image] if own else 1.0
            for own, image in zip(pushed, self.layout.image_of, strict=True)
        ]
        return torch.tensor(scales, dtype=torch.float64, device="cpu")

    def summed(self, rows: Tensor) -> Tensor:
        """Σᵢ wᵢ·rowᵢ ``[B, C, H, W]`` of ``rows``, one for each cond row."""
        result = rows.new_zeros((self.layout.images, *rows.shape[1:]))
        for row, image in enumerate(self.layout.image_of):
            result[image] += self.weights[row] * rows[row]
        return result
