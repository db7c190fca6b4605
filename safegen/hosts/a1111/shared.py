"""Shared streams: the safe rows at the sampler's own latent, blended before guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from safegen.errors import certain
from safegen.hosts.a1111.evaluation import OwnCalls
from safegen.hosts.a1111.guidance import Guidance
from safegen.hosts.a1111.rows import ExtraRow
from safegen.hosts.a1111.streams import OpenCall, Streams
from safegen.method.push import pushed
from safegen.method.session import Call


class SharedStreams(Streams):
    """Every guarded ``AND`` part has a safe row of its own and is one "image" of the session.

    The guided result is that of the blended parts,
    û + Σᵢ wᵢ·s·((1 - w)·ĉᵢ + w·ĉ_safeᵢ - û), which is the blend of the two guided
    reconstructions.
    """

    def session_rows(self, image: int) -> Sequence[int]:
        return self.layout.of_image(image)

    def extra(self, current: OpenCall) -> list[ExtraRow]:
        # Where the safe text is the prompt's own, its cond row is the safe row.
        safe = [row for row in current.call.chosen if self.conds.has_safe(row) is not False]
        # An image's parts have one latent and one unsafe text: one row serves them all.
        pushed_rows = [row for row, r in enumerate(current.call.pushes) if r > 0]
        of_image = {self.layout.image_of[row]: row for row in reversed(pushed_rows)}
        unsafe = sorted(of_image.values())
        texts = [*self.safe_texts(current, safe), *self.unsafe_texts(current, unsafe)]
        return [
            ExtraRow(row, text, unsafe=i >= len(safe))
            for i, (row, text) in enumerate(zip([*safe, *unsafe], texts, strict=True))
        ]

    def blend(self, current: OpenCall, rows: Tensor, calls: OwnCalls) -> None:
        call, layout, chosen = current.call, self.layout, current.call.chosen
        cond = rows[: layout.cond_rows]
        if not call.active:
            self.session.combine(call, cond)
            return
        safe, push = None, {}
        if call.evaluate:
            predicted = self._predicted(current, rows, calls)
            self._check_answered(call, [one for one, _ in predicted])
            safe = cond.clone()
            for one, row in predicted:
                if not one.unsafe:
                    safe[one.row] = row
            if call.push:
                push = self._push(current, rows, calls, predicted)
            self._observe(current, rows, safe, push)
        blended = self.session.combine(call, cond, safe, **push)
        if blended.shape != cond.shape:
            raise ValueError(f"{tuple(cond.shape)} rows were blended to {tuple(blended.shape)}")
        cond.copy_(blended)  # of a row with weight 0 every bit stays
        if current.without_uncond:
            uncond = layout.uncond(rows)
            current.uncond_before = uncond.clone()
            for image in {layout.image_of[row] for row in chosen}:
                uncond[image] = rows[layout.first[image]]

    def _check_answered(self, call: Call, answered: Sequence[ExtraRow]) -> None:
        """Raise unless what is blended has a safe row, and what is pushed an unsafe one."""
        safe = {one.row for one in answered if not one.unsafe}
        pushed_images = {self.layout.image_of[one.row] for one in answered if one.unsafe}
        for row, (weight, push) in enumerate(zip(call.weights, call.pushes, strict=True)):
            if weight > 0 and row not in safe and not certain(self.conds.is_own(row), "own text"):
                raise ValueError(f"row {row} has no safe row to be blended with")
            if push > 0 and self.layout.image_of[row] not in pushed_images:
                raise ValueError(f"row {row} has no unsafe row to be pushed away from")

    def _predicted(
        self, current: OpenCall, rows: Tensor, calls: OwnCalls
    ) -> list[tuple[ExtraRow, Tensor]]:
        """The model's predictions for the call's extra rows, wherever they are evaluated."""
        first = self.layout.cond_rows
        found = list(zip(current.inserted, rows[first:], strict=False))
        apart = [one for one in current.extra if one not in current.inserted]
        if apart:
            places = [one.row for one in apart]
            own = calls.evaluate(current.given.x[places], [one.text for one in apart], places)
            found += zip(apart, own.to(rows), strict=True)
        current.own_rows += len(found)
        return found

    def _push(
        self,
        current: OpenCall,
        rows: Tensor,
        calls: OwnCalls,
        predicted: Sequence[tuple[ExtraRow, Tensor]],
    ) -> dict[str, Any]:
        """What the session needs to push: unsafe rows, uncond rows and scales.

        Where the host left the uncond rows out, those of pushed images are evaluated here.
        """
        layout, given = self.layout, current.given
        has_push = [strength > 0 for strength in current.call.pushes]
        uncond = layout.uncond(rows)
        skipped = current.without_uncond and not given.says_nothing_more(layout)
        if skipped:
            images = sorted({layout.image_of[row] for row, own in enumerate(has_push) if own})
            uncond = uncond.clone()
            uncond[images] = calls.uncond(layout.uncond(given.x)[images], images).to(uncond)
            current.own_rows += len(images)
        uncond = uncond[layout.image_of]
        unsafe = uncond.clone()
        for one, row in predicted:
            if one.unsafe:
                unsafe[list(layout.of_image(layout.image_of[one.row]))] = row
        guidance = Guidance.of(self.denoiser, layout, without_uncond=skipped)
        return {"unsafe": unsafe, "uncond": uncond, "scale": guidance.push_scales(has_push)}

    def _observe(self, current: OpenCall, rows: Tensor, safe: Tensor, push: dict[str, Any]) -> None:
        """Look at the host's rows and the safe ones, if anybody asked for what that shows."""
        cond = rows[: len(safe)]
        if push and (self.session.observing or self.disagreement is not None):
            strengths = torch.tensor(current.call.pushes, dtype=torch.float64, device="cpu")
            safe = pushed(safe, strength=strengths, **push)
        if self.session.observing:
            uncond = None
            if not current.without_uncond:
                uncond = self.layout.uncond(rows)[self.layout.image_of]
            self.session.observe(current.call, cond, safe, uncond)
        if self.disagreement is not None:
            noise = self.levels.at(current.given.sigma)
            x0 = noise.x0_difference(safe - cond)
            self.disagreement.add(self.guidance(current).summed(x0))
