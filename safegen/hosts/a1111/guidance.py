"""The host's classifier-free guidance of one denoiser call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from safegen.hosts.a1111.rows import RowLayout


@dataclass(frozen=True)
class Guidance:
    """û + Σᵢ wᵢ·s·(ĉᵢ - û) for each image, over its ``AND`` parts i.

    Args:
        layout: The call's rows.
        scale: s, the CFG scale.
        weights: w of each cond row.
    """

    layout: RowLayout
    scale: float
    weights: tuple[float, ...]

    @classmethod
    def of(cls, denoiser: Any, layout: RowLayout, *, without_uncond: bool) -> Guidance:
        """How the host will combine the rows of the call that is under way.

        Where it left the uncond rows out it guides with a scale of 1.
        """
        arguments = denoiser.sampler.sampler_extra_args
        scale = 1.0
        if not without_uncond:
            scale = float(arguments["cond_scale"] * denoiser.cond_scale_miltiplier)
        batch = arguments["cond"].batch
        return cls(layout, scale, tuple(float(part.weight) for of in batch for part in of))

    def guided(self, cond: Tensor, uncond: Tensor) -> Tensor:
        """The guided result ``[B, C, H, W]`` of the cond and the uncond rows."""
        result = uncond.clone()
        for row, image in enumerate(self.layout.image_of):
            result[image] += self.weights[row] * self.scale * (cond[row] - uncond[image])
        return result

    def total(self, image: int) -> float:
        """s·Σᵢ wᵢ of ``image``."""
        return self.scale * sum(self.weights[row] for row in self.layout.of_image(image))

    def summed(self, rows: Tensor) -> Tensor:
        """Σᵢ wᵢ·rowᵢ ``[B, C, H, W]`` of ``rows``, one for each cond row."""
        result = rows.new_zeros((self.layout.images, *rows.shape[1:]))
        for row, image in enumerate(self.layout.image_of):
            result[image] += self.weights[row] * rows[row]
        return result
