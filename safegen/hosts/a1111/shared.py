"""Shared streams: the safe rows at the sampler's own latent, blended before guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from safegen.hosts.a1111.conds import marked
from safegen.hosts.a1111.evaluation import OwnCalls
from safegen.hosts.a1111.streams import OpenCall, Streams


class SharedStreams(Streams):
    """Every guarded ``AND`` part has a safe row of its own and is one "image" of the session.

    The guided result is that of the blended parts,
    û + Σᵢ wᵢ·s·((1 - w)·ĉᵢ + w·ĉ_safeᵢ - û), which is the blend of the two guided
    reconstructions.
    """

    def session_rows(self, image: int) -> Sequence[int]:
        return self.layout.of_image(image)

    def travelling(self, current: OpenCall) -> list[Any]:
        texts = self.conds.at(current.chosen, self.denoiser.step)
        return marked(texts, current.given.text_cond)

    def blend(self, current: OpenCall, rows: Tensor, calls: OwnCalls) -> None:
        call, layout, chosen = current.call, self.layout, current.chosen
        cond = rows[: layout.cond_rows]
        if not call.active:
            self.session.combine(call, cond)
            return
        safe = None
        if call.evaluate:
            if current.inserted:
                predicted = rows[layout.cond_rows : layout.cond_rows + current.inserted]
            else:
                predicted = calls.evaluate(current.given.x[chosen], current.safe, chosen)
            current.own_rows += len(chosen)
            safe = cond.clone()
            safe[chosen] = predicted.to(safe)
            self._observe(current, rows, safe)
        rows[chosen] = self.session.combine(call, cond, safe)[chosen]
        if current.without_uncond:
            uncond = layout.uncond(rows)
            current.uncond_before = uncond.clone()
            for image in {layout.image_of[row] for row in chosen}:
                uncond[image] = rows[layout.first[image]]

    def _observe(self, current: OpenCall, rows: Tensor, safe: Tensor) -> None:
        """Look at the host's rows and the safe ones, if anybody asked for what that shows."""
        cond = rows[: len(safe)]
        if self.session.observing:
            uncond = None
            if not current.without_uncond:
                uncond = self.layout.uncond(rows)[self.layout.image_of]
            self.session.observe(current.call, cond, safe, uncond)
        if self.disagreement is not None:
            noise = self.levels.at(current.given.sigma)
            x0 = noise.x0_difference(safe - cond)
            self.disagreement.add(self.guidance(current).summed(x0))
