"""Model calls of SafeGen's own, for rows that can't travel in the host's call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from safegen.hosts.a1111.conds import cast, join, length, padded, rows_of
from safegen.hosts.a1111.rows import HostCall, RowLayout, check_rows

PAD_OPTIONS = ("pad_cond_uncond", "pad_cond_uncond_v0")
"""Settings with which the host makes cond and uncond rows of one token length."""


@dataclass(frozen=True)
class Frame:
    """Which of the host's rows a call of our own repeats.

    Args:
        rows: The host's rows, of which some get another latent and text.
        places: Where in ``rows`` those stand.
        size: Rows of one model call.
    """

    rows: Sequence[int]
    places: Sequence[int]
    size: int


@dataclass(frozen=True)
class OwnCalls:
    """How to evaluate rows of our own beside one of the host's calls.

    Another extension's hooks in the UNet may tell rows by their place, or keep something for as
    many rows as the first call had (ControlNet keeps its picture's latents so). Where there are
    such hooks the host's call is made once more, with our rows in the places of its own.

    Args:
        host: `safegen.webui.host`.
        layout: The call's rows.
        given: What the host gave the model.
        model: The host's inner model.
        hooked: Whether another extension has hooks in the UNet.
        without_uncond: Whether the host left the uncond rows out.
    """

    host: Any
    layout: RowLayout
    given: HostCall
    model: Any
    hooked: bool
    without_uncond: bool

    def evaluate(self, latents: Tensor, conds: Sequence[Any], rows: list[int]) -> Tensor:
        """The model's predictions for ``latents``, in one call for each token length.

        Beside hooks there is a call more where a row comes again, since it has but one place.

        Args:
            latents: ``[k, C, H, W]``.
            conds: k texts of one row each.
            rows: The k host's rows that they share noise level and image condition with: cond
                rows alone or uncond rows alone.
        """
        conds = [self._padded(cond, row) for cond, row in zip(conds, rows, strict=True)]
        kinds = [
            (length(cond), rows[:i].count(row) if self.hooked else 0)
            for i, (cond, row) in enumerate(zip(conds, rows, strict=True))
        ]
        out = torch.empty_like(latents)
        for kind in sorted(set(kinds)):
            group = [i for i, other in enumerate(kinds) if other == kind]
            of_group = [rows[i] for i in group]
            out[group] = self._call(latents[group], [conds[i] for i in group], of_group).to(out)
        return out

    def uncond(self, latents: Tensor, images: Sequence[int]) -> Tensor:
        """The model's predictions without a prompt for ``images``, ``[k, C, H, W]``."""
        texts = [rows_of(self.given.text_uncond, [image]) for image in images]
        return self.evaluate(latents, texts, [self.layout.cond_rows + image for image in images])

    def _padded(self, cond: Any, row: int) -> Any:
        """``cond`` as long as the host's setting would make it in place of its own ``row``."""
        if not self._option("pad_cond_uncond") or self._option("pad_cond_uncond_v0"):
            return cond
        is_cond = row < self.layout.cond_rows
        other = self.given.text_uncond if is_cond else self.given.text_cond
        return padded(cond, length(other), self.host.empty_prompt())

    def _option(self, name: str, default: bool = False) -> bool:
        return bool(self.host.option(name, default))

    def _call(self, latents: Tensor, conds: list[Any], rows: Sequence[int]) -> Tensor:
        """The predictions for ``conds`` of one token length."""
        texts, frame = conds, Frame(rows, range(len(rows)), len(rows))
        if self.hooked:
            frame, fill = self._host_frame(conds[0], rows)
            texts = [rows_of(fill, [row]) for row in range(len(frame.rows))]
            for place, cond in zip(frame.places, conds, strict=True):
                texts[place] = cond
        x = self.given.x[frame.rows]
        x[frame.places] = latents
        found = []
        for begin in range(0, len(x), frame.size):
            part = slice(begin, begin + frame.size)
            of_part = frame.rows[part]
            cond = self._condition(join(texts[part]), self.given.image_cond[of_part])
            found.append(self.model(x[part], self.given.sigma[of_part], cond=cond))
        predicted = torch.cat(found)
        check_rows("answer to the safe rows", predicted, len(x))
        return predicted[frame.places]

    def _host_frame(self, cond: Any, rows: Sequence[int]) -> tuple[Frame, Any]:
        """The host's own call around ``rows``, and texts as long as ``cond`` for the other rows.

        Those texts are the host's own where the lengths agree.
        """
        given, layout = self.given, self.layout
        lengths = length(given.text_cond), length(given.text_uncond)
        alike = lengths[0] == lengths[1] or any(map(self._option, PAD_OPTIONS))
        together = alike and not self.without_uncond
        of_uncond = min(rows) >= layout.cond_rows
        if together:
            first, last = 0, layout.rows
        elif of_uncond:
            first, last = layout.cond_rows, layout.rows
        else:
            first, last = 0, layout.cond_rows
        fill = join([cond] * (last - first))
        if together and lengths == (length(cond), length(cond)):
            fill = join([given.text_cond, given.text_uncond])
        elif not together and length(cond) == lengths[of_uncond]:
            fill = given.text_uncond if of_uncond else given.text_cond
        size = last - first
        if not self._option("batch_cond_uncond", True):
            size = layout.images
        elif not together and not self.without_uncond:
            size = 2 * layout.images
        return Frame(range(first, last), [row - first for row in rows], size), fill

    def _condition(self, text: Any, image: Tensor) -> dict[str, Any]:
        """The cond dict in the shape that the host gives the loaded model."""
        text = cast(text, self.given.text_cond)
        if self.host.conditioning_key() == "crossattn-adm":
            return {"c_crossattn": [text], "c_adm": image}
        if isinstance(text, dict):
            return {**text, "c_concat": [image]}
        return {"c_crossattn": [text], "c_concat": [image]}
