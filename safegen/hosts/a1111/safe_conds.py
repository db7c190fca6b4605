"""What the safe stream sees and is pushed away from, encoded by the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from safegen.conditioning.edits import EmbeddingEdit
from safegen.conditioning.strategies import SafeConditioning
from safegen.errors import Unsupported
from safegen.hosts.a1111.conds import tokens, with_tokens, with_vector_of


class SafeConds:
    """The safe stream's encodings for one pass, by row of the host's cond batch.

    A row may have a safe text, and an unsafe one that the safe stream is pushed away from.

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
        self._encoded: dict[str, Any] = {}
        self._edits: list[EmbeddingEdit | None] = []
        self.encode()

    def encode(self) -> None:
        """Encode every text with the model that is loaded now."""
        wanted = [conditioning for conditioning in self.conditionings if conditioning is not None]
        if self._checkpoint is not None and any(one.edit and one.anew is None for one in wanted):
            raise Unsupported(
                "an embedding that was given can't follow a change of checkpoint in the middle of "
                "a run (refiner); choose counterpart, prepend, append or context"
            )
        more = [text for one in wanted for text in (one.pooled, one.unsafe) if text]
        texts = list(dict.fromkeys([*(one.text for one in wanted if not one.own), *more]))
        checkpoint = self.host.checkpoint()
        with torch.no_grad():
            found = self.host.encode(self.p, texts, self.cache, hires=self.hires) if texts else []
        if len(found) != len(texts):
            raise RuntimeError(f"{len(texts)} safe texts gave {len(found)} encodings")
        self._encoded = dict(zip(texts, found, strict=True))
        self._edits = [
            None if one is None else one.edit if one.anew is None else one.anew()
            for one in self.conditionings
        ]
        self._checkpoint = checkpoint

    def has_safe(self, row: int) -> bool:
        """Whether the row has a safe text other than the prompt's own, whose row serves itself.

        Compare with ``is False``, so that no answer at all does not leave a row as it is.
        """
        conditioning = self.conditionings[row]
        return conditioning is not None and not conditioning.own

    def has_unsafe(self, row: int) -> bool:
        """Whether the row's safe stream is pushed away from an unsafe text."""
        conditioning = self.conditionings[row]
        return conditioning is not None and bool(conditioning.unsafe)

    def safe(self, row: int, step: int) -> Any:
        """The encoding ``[1, tokens, width]`` of the row's safe text at ``step``."""
        conditioning = self._conditioning(row)
        cond = self._at(conditioning.text, step)
        edit = self._edits[row]
        if edit is None:
            return cond
        cond = with_tokens(cond, edit(tokens(cond)))
        if not conditioning.pooled:
            return cond
        return with_vector_of(cond, self._at(conditioning.pooled, step))

    def is_own(self, row: int) -> bool:
        """Whether the row's safe text is the prompt's own."""
        conditioning = self.conditionings[row]
        return conditioning is not None and bool(conditioning.own)

    def unsafe(self, row: int, step: int) -> Any:
        """The encoding of the text that the row's safe stream is pushed away from."""
        return self._at(self._conditioning(row).unsafe, step)

    def _conditioning(self, row: int) -> SafeConditioning:
        conditioning = self.conditionings[row]
        if conditioning is None:
            raise ValueError(f"cond row {row} has no safe text")
        return conditioning

    def _at(self, text: str, step: int) -> Any:
        if self.host.checkpoint() != self._checkpoint:
            self.encode()
            if self.host.checkpoint() != self._checkpoint:
                raise RuntimeError("the safe texts' encoding is that of another checkpoint")
        return self.host.cond_at(self._encoded[text], step)
