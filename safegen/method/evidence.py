"""The image-time check: what the two streams' disagreement says about a picture. Pure torch.

A detector reads words. Here the model itself is asked: at the first call that is guarded, how
far does the safe prompt pull the picture away from where the user's prompt takes it, and where?
A prompt whose words gave nothing away still has to show its content to the denoiser.

Both measures are the same for rows of x0, eps and v, which differ by one factor and one offset
at a given noisy latent, so they compare across samplers. Each image is measured by itself.

How a session reports it: where the plan's ``evidence`` is on, the host calls `Session.observe`
once it has the rows of a guarded call; the first such call is kept as `Session.evidence` and ends
up in the run's verdict. Observing never raises and never changes a picture. The figures are
evidence for people and logs: nothing is decided by them.

`Disagreement` is the same question asked at every call and answered place by place: a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safegen.sentence import told

TOP = 0.1
"""Share of the latent's places that `concentration` looks at."""


@dataclass(frozen=True)
class Evidence:
    """What the streams' first disagreement was, per image.

    Args:
        progress: Sampling progress at which it was seen, 0 to 1.
        pull: See `pull`; ``None`` where the host has no uncond rows.
        concentration: See `concentration`.
    """

    progress: float
    pull: tuple[float, ...] | None
    concentration: tuple[float, ...]

    def image(self, rows: Sequence[int]) -> str:
        """One line for the picture that ``rows`` belong to, of which the strongest counts.

        A picture has one row, or one for each guarded ``AND`` part.
        """
        shares = max(self.concentration[row] for row in rows)
        values = {
            "when": f"{self.progress:.0%}",
            "share": f"{shares:.0%}",
            "area": f"{TOP:.0%}",
        }
        if self.pull is None:
            return told(
                "at {when} of the denoising {share} of the streams' difference lay in {area} of "
                "the picture",
                **values,
            )
        return told(
            "at {when} of the denoising {share} of the streams' difference lay in {area} of the "
            "picture, and it was {pull} of the prompt's own pull",
            **values,
            pull=f"{max(self.pull[row] for row in rows):.2f}",
        )

    def __str__(self) -> str:
        return self.image(range(len(self.concentration)))


class Disagreement:
    """Where the streams' reconstructions differ, per image: mean over calls of |x0_safe - x0|.

    At each place of the latent the difference is the root mean square over its channels. The
    running sum is one value for each image and place.
    """

    def __init__(self) -> None:
        self._sum: Tensor | None = None

    def add(self, difference: Tensor) -> None:
        """Add one call's x0_safe - x0 of every image, ``[images, channels, h, w]``."""
        root = difference.detach().float().square().mean(1).sqrt()
        self._sum = root if self._sum is None else self._sum + root

    def maps(self) -> tuple[NDArray[np.float32], ...]:
        """For each image ``[h, w]`` in [0, 1], scaled to its own maximum; none without a call.

        An image on which the streams agreed everywhere has zeros.
        """
        if self._sum is None:
            return ()
        total = self._sum.cpu().numpy().astype(np.float32)
        tops = total.max(axis=(1, 2), keepdims=True)
        return tuple(total / np.where(tops > 0, tops, np.float32(1)))


def _check(first: Tensor, second: Tensor) -> None:
    if first.ndim < 3 or first.shape != second.shape:
        raise ValueError(
            f"rows: shapes {tuple(first.shape)}, {tuple(second.shape)} are not allowed; "
            "allowed: two alike, [images, channels, places...]"
        )


def pull(original: Tensor, safe: Tensor, uncond: Tensor) -> Tensor:
    """‖safe - original‖ / ‖original - uncond‖ of each image, ``[images]``, float64, 0 and up.

    How far the safe prompt leads away from the user's, measured in how far the user's leads
    away from no prompt at all. 0: both ask for the same picture. Near 1: what the safe prompt
    takes away is about all that the user's prompt asks for.

    Args:
        original: The cond rows ``[images, channels, places...]``: x0, eps or v.
        safe: The safe stream's, at the same noisy latent.
        uncond: The rows without a prompt.
    """
    _check(original, safe)
    _check(original, uncond)
    a, b, u = (rows.detach().cpu().double().flatten(1) for rows in (original, safe, uncond))
    away, own = (b - a).norm(dim=1), (a - u).norm(dim=1)
    # Where the prompt itself does nothing, any disagreement at all is without measure.
    return torch.where(away == 0, away, away / own)


def concentration(original: Tensor, safe: Tensor, top: float = TOP) -> Tensor:
    """How much of the squared difference lies where it is greatest, ``[images]``, float64.

    From ``top`` (spread evenly: another picture altogether) to 1 (all within the share ``top``
    of places: one thing in the picture differs). 0 where the two agree everywhere.

    Args:
        original: ``[images, channels, places...]``: x0, eps or v.
        safe: The safe stream's, at the same noisy latent.
        top: Share of places to look at, above 0 up to 1.
    """
    _check(original, safe)
    if not 0.0 < top <= 1.0:
        raise ValueError(f"top: {top} is not allowed; allowed: above 0 up to 1")
    difference = safe.detach().cpu().double() - original.detach().cpu().double()
    energy = (difference**2).sum(1).flatten(1)
    greatest = energy.topk(max(1, round(top * energy.shape[1])), dim=1).values.sum(1)
    total = energy.sum(1)
    return torch.where(total > 0, greatest / total, torch.zeros_like(total))


def observe(
    progress: float, original: Tensor, safe: Tensor, uncond: Tensor | None = None
) -> Evidence:
    """Both measures of one call; see `pull` and `concentration` for the rows."""
    return Evidence(
        float(progress),
        None if uncond is None else tuple(pull(original, safe, uncond).tolist()),
        tuple(concentration(original, safe).tolist()),
    )
