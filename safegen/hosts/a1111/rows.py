"""The rows of a denoiser call: whose they are, and what the host gives the model for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from safegen.hosts.a1111.conds import join, tokens


def check_rows(name: str, value: Tensor, wanted: int) -> None:
    """Raise `ValueError` unless ``value`` has ``wanted`` rows."""
    if len(value) != wanted:
        raise ValueError(
            f"the host's {name} has {len(value)} rows where the prompts call for {wanted}"
        )


@dataclass(frozen=True)
class RowLayout:
    """Which row of a denoiser call belongs to which image.

    First come the cond rows: those of image 0's ``AND`` parts, of image 1's, and so on. Then
    comes one uncond row for each image.

    Args:
        parts: How many ``AND`` parts each image has.
    """

    parts: tuple[int, ...]

    @property
    def images(self) -> int:
        """How many images the batch has, which is also the number of uncond rows."""
        return len(self.parts)

    @cached_property
    def cond_rows(self) -> int:
        """How many cond rows a call has."""
        return sum(self.parts)

    @property
    def rows(self) -> int:
        """How many rows a call has."""
        return self.cond_rows + self.images

    @cached_property
    def image_of(self) -> list[int]:
        """The image of each cond row."""
        return [image for image, count in enumerate(self.parts) for _ in range(count)]

    @cached_property
    def first(self) -> list[int]:
        """Each image's first cond row."""
        return [sum(self.parts[:image]) for image in range(self.images)]

    def of_image(self, image: int) -> range:
        """The cond rows of ``image``."""
        return range(self.first[image], self.first[image] + self.parts[image])

    def any_of_image(self, of_rows: Sequence[bool]) -> list[bool]:
        """For each image, whether it holds for any of its cond rows."""
        return [any(of_rows[row] for row in self.of_image(i)) for i in range(self.images)]

    def uncond(self, rows: Tensor) -> Tensor:
        """The uncond rows: the last of ``rows``, also where extra rows lie before them."""
        return rows[-self.images :]

    def own(self, rows: Tensor) -> Tensor:
        """``rows`` without the extra rows that lie between the cond and the uncond rows."""
        if len(rows) == self.rows:
            return rows
        return torch.cat([rows[: self.cond_rows], self.uncond(rows)])

    def lacks_uncond(self, rows: Tensor) -> bool:
        """Whether the host left the uncond rows out ("skip early CFG", NGMS).

        It then puts copies of each image's first cond row in their place.
        """
        return bool(torch.equal(self.uncond(rows), rows[self.first]))


@dataclass(frozen=True, eq=False)
class ExtraRow:
    """A row of SafeGen's own in a denoiser call.

    Args:
        row: The cond row whose latent, noise level and image condition it has.
        text: Its text, a cond of one row.
        unsafe: Whether that is the context's unsafe text, and not the safe one.
    """

    row: int
    text: Any
    unsafe: bool = False


@dataclass(frozen=True)
class HostCall:
    """What the host gives the model in one denoiser call.

    Args:
        x: Noisy latents ``[rows, C, H, W]``, in the order of `RowLayout`.
        sigma: Noise levels or timesteps ``[rows]``.
        image_cond: The image condition ``[rows, ...]`` of inpainting and other such models.
        text_cond: The texts of the cond rows.
        text_uncond: The texts of the uncond rows.
    """

    x: Tensor
    sigma: Tensor
    image_cond: Tensor
    text_cond: Any
    text_uncond: Any

    @classmethod
    def read(cls, params: Any, layout: RowLayout) -> HostCall:
        """What is in the ``cfg_denoiser`` callback's ``params``.

        Raises:
            ValueError: The rows are not those of ``layout``.
        """
        check_rows("x", params.x, layout.rows)
        check_rows("text_cond", tokens(params.text_cond), layout.cond_rows)
        check_rows("text_uncond", tokens(params.text_uncond), layout.images)
        return cls(params.x, params.sigma, params.image_cond, params.text_cond, params.text_uncond)

    def says_nothing_more(self, layout: RowLayout) -> bool:
        """Whether every image's first prompt is its negative prompt, so that their rows agree."""
        cond, uncond = tokens(self.text_cond), tokens(self.text_uncond)
        return bool(torch.equal(cond[layout.first], uncond))

    def with_rows(self, extra: Sequence[ExtraRow], layout: RowLayout) -> HostCall:
        """The same call with ``extra`` rows, as long as the cond rows, before the uncond rows."""
        index = torch.tensor([one.row for one in extra], device=self.x.device)
        count = layout.cond_rows

        def extended(value: Tensor) -> Tensor:
            return torch.cat([value[:count], value[index.to(value.device)], value[count:]])

        return HostCall(
            extended(self.x),
            extended(self.sigma),
            extended(self.image_cond),
            join([self.text_cond, *(one.text for one in extra)]),
            self.text_uncond,
        )

    def write(self, params: Any) -> None:
        """Let the host evaluate this call: nothing in here can fail half-way."""
        params.x, params.sigma = self.x, self.sigma
        params.image_cond, params.text_cond = self.image_cond, self.text_cond
