"""The original and the safe stream of a pass, picture by picture.

The host sums an image's ``AND`` parts before SafeGen sees them, so the session blends images,
not parts. The safe stream's parts are summed by the host in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from safegen.hosts.a1111.conds import mixed_texts
from safegen.hosts.a1111.rows import RowLayout
from safegen.hosts.a1111.safe_conds import SafeConds
from safegen.hosts.forge.entries import Entry, strength, text_of, with_texts
from safegen.hosts.forge.evaluation import UNCOND, Evaluation
from safegen.method.evidence import Disagreement
from safegen.method.push import pushed
from safegen.method.session import Call, Session


@dataclass
class OpenCall:
    """The denoiser call that is under way.

    Args:
        call: What the session wants of it.
        x: The latents that the model sees, in variance-exploding form ``[B, C, H, W]``.
        cond: The entries of the prompts.
        uncond: Those of the negative prompts; ``None`` where the host has none (CFG scale 1).
        cfg: The CFG scale, 1 where the host leaves the uncond rows out.
        evaluation: For rows of our own.
        linear: Whether the host itself guides, and not another extension in its place.
        plain: What guidance makes of the host's own rows, without SafeGen.
        guided: What it makes of the blended rows.
        own_rows: Rows that the model evaluated for the guard.
        finished: Whether the guard has done its part.
    """

    call: Call
    x: Tensor
    cond: Sequence[Entry]
    uncond: Sequence[Entry] | None
    cfg: float
    evaluation: Evaluation
    linear: bool = True
    plain: Tensor | None = None
    guided: Tensor | None = None
    own_rows: int = 0
    finished: bool = False

    @property
    def sigma(self) -> float:
        """The noise level."""
        return float(self.evaluation.sigma.flatten()[0])

    def guide(self, cond: Tensor, uncond: Tensor | None) -> Tensor:
        """û + s·Σw·(ĉ - û), in the host's own order of operations."""
        if uncond is None:
            return cond
        total = strength(self.cond)
        guided = uncond + (cond - uncond) * self.cfg
        if abs(total - 1.0) > 1e-9:
            guided = uncond + (cond - uncond) * self.cfg * total
        return guided


Guide = Callable[[Tensor, Tensor | None], Tensor]
"""From cond and uncond rows to the guided result."""


class Streams:
    """What is common to shared and independent streams.

    Args:
        session: The pass's session, over its images.
        layout: Which part of which image a row of `SafeConds` belongs to.
        conds: The safe texts. After those of the parts comes, where the host has no uncond rows
            of its own, one for each image's negative prompt.
        denoiser: The pass's CFG denoiser.
        maps: Whether to keep where the streams disagree.
    """

    by_image = True

    def __init__(
        self, session: Session, layout: RowLayout, conds: SafeConds, denoiser: Any, *, maps: bool
    ) -> None:
        self.session, self.layout, self.conds = session, layout, conds
        self.denoiser = denoiser
        self.disagreement = Disagreement() if maps else None

    def evidence(self) -> tuple[str, ...]:
        """The image-time check of each image; ``""`` for one that has none."""
        found, guarded = self.session.evidence, self.session.guarded
        return tuple(
            found.image([image]) if found is not None and guarded[image] else ""
            for image in range(self.layout.images)
        )

    # ------------------------------------------------------------------ texts

    def _safe(self, current: OpenCall) -> list[Entry]:
        """The prompts' entries with the safe texts of what is guarded."""
        return [self._safe_part(current, entry, part) for part, entry in enumerate(current.cond)]

    def _safe_part(self, current: OpenCall, entry: Entry, part: int) -> Entry:
        texts = []
        for image in range(self.layout.images):
            text, row = text_of(entry, image), self.layout.first[image] + part
            if image in current.call.chosen and self.conds.has_safe(row) is not False:
                safe = self.conds.safe(row, self.denoiser.step)
                text = mixed_texts(text, safe, current.call.share)
            texts.append(text)
        return with_texts(entry, texts)

    def _unsafe(self, current: OpenCall) -> list[Entry]:
        """What the safe stream is pushed away from; the prompt where an image is not pushed."""
        entry, texts = current.cond[0], []
        for image in range(self.layout.images):
            rows = [row for row in self.layout.of_image(image) if self.conds.has_unsafe(row)]
            if current.call.pushes[image] > 0 and rows:
                texts.append(self.conds.unsafe(rows[0], self.denoiser.step))
            else:
                texts.append(text_of(entry, image))
        return [{**with_texts(entry, texts), "strength": 1.0}]

    def _uncond(self, current: OpenCall) -> Sequence[Entry]:
        """The negative prompts, encoded by us where the host has left them out."""
        if current.uncond is not None:
            return current.uncond
        first, step = self.layout.cond_rows, self.denoiser.step
        texts = [self.conds.safe(first + image, step) for image in range(self.layout.images)]
        return [{**with_texts(current.cond[0], texts), "strength": 1.0}]

    def _has_safe(self, image: int) -> bool:
        rows = self.layout.of_image(image)
        return any(self.conds.has_safe(row) is not False for row in rows)

    def _evaluated(
        self, current: OpenCall, x: Tensor, kinds: dict[str, Sequence[Entry]]
    ) -> dict[str, Tensor]:
        current.own_rows += len(x) * sum(len(kind) for kind in kinds.values())
        return current.evaluation.of(x, kinds)

    def _saw(
        self,
        current: OpenCall,
        original: Tensor,
        safe: Tensor,
        uncond: Tensor | None,
        push: dict[str, Any],
    ) -> None:
        """Look at the two streams, if anybody asked for what that shows."""
        if push and (self.session.observing or self.disagreement is not None):
            strengths = torch.tensor(current.call.pushes, dtype=torch.float64, device="cpu")
            safe = pushed(safe, strength=strengths, **{"scale": 1.0, **push})
        if self.session.observing:
            self.session.observe(current.call, original, safe, uncond)
        if self.disagreement is not None:
            weight = 1.0 if self.session.independent else strength(current.cond)
            self.disagreement.add(weight * (safe - original).float())


class SharedStreams(Streams):
    """The safe rows at the sampler's own latent, blended before guidance."""

    def blend(self, current: OpenCall, cond: Tensor, uncond: Tensor | None) -> Tensor:
        """The blended cond rows ``[B, C, H, W]`` of the host's ``cond`` and ``uncond`` rows."""
        call, safe = current.call, None
        push: dict[str, Any] = {}
        if call.evaluate:
            kinds: dict[str, Sequence[Entry]] = {}
            if any(self._has_safe(image) is not False for image in current.call.chosen):
                kinds["safe"] = self._safe(current)
            if call.push:
                kinds["unsafe"] = self._unsafe(current)
                if uncond is None:
                    kinds[UNCOND] = self._uncond(current)
            found = self._evaluated(current, current.x, kinds)
            safe = cond.clone()
            for image in current.call.chosen:
                if self._has_safe(image) is not False:
                    safe[image] = found["safe"][image].to(cond)
            if call.push:
                base = found[UNCOND].to(cond) if uncond is None else uncond
                push = {
                    "unsafe": found["unsafe"].to(cond),
                    "uncond": base,
                    "scale": current.cfg * strength(current.cond),
                }
            self._saw(current, cond, safe, uncond, push)
        return self.session.combine(call, cond, safe, **push)


class IndependentStreams(Streams):
    """The safe stream at a latent of its own, blended after guidance."""

    def blend(self, current: OpenCall, original: Tensor, guide: Guide) -> Tensor:
        """The blended x0 ``[B, C, H, W]`` of the guided ``original``.

        Args:
            guide: The call's guidance.
        """
        call, safe = current.call, None
        push: dict[str, Any] = {}
        x = self.session.safe_latent(call, current.x, current.sigma).to(current.x)
        if call.evaluate:
            kinds: dict[str, Sequence[Entry]] = {"safe": self._safe(current)}
            with_uncond = current.uncond is not None and not abs(current.cfg - 1.0) < 1e-9
            if with_uncond or call.push:
                kinds[UNCOND] = self._uncond(current)
            if call.push:
                kinds["unsafe"] = self._unsafe(current)
            found = self._evaluated(current, x, kinds)
            guided = guide(found["safe"], found[UNCOND] if with_uncond else None)
            safe = original.clone()
            safe[current.call.chosen] = guided[current.call.chosen].to(safe)
            if call.push:
                push = {name: found[name].to(safe) for name in ("unsafe", UNCOND)}
            self._saw(current, original, safe, found.get(UNCOND), push)
        return self.session.combine(call, original, safe, **push)
