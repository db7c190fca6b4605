"""The safe stream's texts, encoded by the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from safegen.conditioning.strategies import SafeConditioning
from safegen.errors import Unsupported
from safegen.hosts.a1111.conds import tokens, with_tokens, with_vector_of


class SafeConds:
    """The safe stream's encodings for one pass, by row of the host's cond batch.

    Encoded by the host's own text encoder, with its clip skip, LoRA, size and schedules; again
    whenever another checkpoint is loaded (a refiner swaps it in the middle of a run).

    Args:
        host: `safegen.webui.host`.
        p: The host's processing object.
        conditionings: What each row's safe stream sees, or ``None``.
        hires: Whether this is the second pass.
        cache: ``[None, None]``, kept for the run's passes of this kind.
    """

    def __init__(
        self,
        host: Any,
        p: Any,
        conditionings: Sequence[SafeConditioning | None],
        *,
        hires: bool,
        cache: list[Any],
    ) -> None:
        self.host, self.p, self.hires, self.cache = host, p, hires, cache
        self.conditionings = tuple(conditionings)
        self._checkpoint: Any = None
        self._schedules: dict[int, Any] = {}
        self._pooled: dict[int, Any] = {}
        self.encode()

    def encode(self) -> None:
        """Encode every text with the model that is loaded now."""
        wanted = {row: c for row, c in enumerate(self.conditionings) if c is not None}
        pooled = [c.pooled for c in wanted.values() if c.pooled]
        texts = list(dict.fromkeys([*(c.text for c in wanted.values()), *pooled]))
        swapped = self._checkpoint is not None
        if swapped and any(c.edit is not None for c in wanted.values()):
            raise Unsupported(
                "strategies direction and projection can't follow a change of checkpoint in the "
                "middle of a run (refiner); choose counterpart, prepend, append or context"
            )
        checkpoint = self.host.checkpoint()
        with torch.no_grad():
            schedules = self.host.encode(self.p, texts, self.cache, hires=self.hires)
        if len(schedules) != len(texts):
            raise RuntimeError(f"{len(texts)} safe texts gave {len(schedules)} encodings")
        by_text = dict(zip(texts, schedules, strict=True))
        self._schedules = {row: by_text[c.text] for row, c in wanted.items()}
        self._pooled = {row: by_text[c.pooled] for row, c in wanted.items() if c.pooled}
        self._checkpoint = checkpoint

    def at(self, rows: Sequence[int], step: int) -> list[Any]:
        """The encoding ``[1, tokens, width]`` of each of ``rows`` at ``step``."""
        if self.host.checkpoint() != self._checkpoint:
            self.encode()
            if self.host.checkpoint() != self._checkpoint:
                raise RuntimeError("the safe texts' encoding is that of another checkpoint")
        found = []
        for row in rows:
            cond = self.host.cond_at(self._schedules[row], step)
            conditioning = self.conditionings[row]
            if conditioning is not None and conditioning.edit is not None:
                cond = with_tokens(cond, conditioning.apply(tokens(cond)))
                if row in self._pooled:
                    cond = with_vector_of(cond, self.host.cond_at(self._pooled[row], step))
            found.append(cond)
        return found
