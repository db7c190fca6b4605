"""What the two ways to carry a safe stream have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from safegen.hosts.a1111.conds import marked, mixed_texts, rows_of, unmarked
from safegen.hosts.a1111.evaluation import OwnCalls
from safegen.hosts.a1111.guidance import Guidance
from safegen.hosts.a1111.noise import NoiseLevels
from safegen.hosts.a1111.rows import ExtraRow, HostCall, RowLayout
from safegen.hosts.a1111.safe_conds import SafeConds
from safegen.method.evidence import Disagreement
from safegen.method.session import Call, Session


@dataclass
class OpenCall:
    """The denoiser call that is under way.

    Args:
        call: What the session wants of it.
        given: What the host gave the model.
        hooked: Whether another extension has hooks in the UNet.
        extra: The rows that SafeGen needs beside the host's own, at the same latents.
        inserted: Those of them that travel in the host's own call.
        without_uncond: Whether the host left the uncond rows out.
        own_rows: Rows that the model evaluated for the guard.
        uncond_before: What stood in the uncond rows' place, where the guard overwrote it.
        rows: What the model predicted, once the guard has blended it.
        blended: Whether the guard has done its part.
    """

    call: Call
    given: HostCall
    hooked: bool = False
    extra: list[ExtraRow] = field(default_factory=list)
    inserted: list[ExtraRow] = field(default_factory=list)
    own_rows: int = 0
    without_uncond: bool = False
    uncond_before: Tensor | None = None
    rows: Tensor | None = None
    blended: bool = False


class Streams(ABC):
    """The original and the safe stream of a pass: how they are evaluated and blended.

    Args:
        session: The pass's session.
        layout: The rows of its calls.
        conds: The safe texts.
        denoiser: The pass's CFG denoiser.
        maps: Whether to keep where the streams disagree.
    """

    by_image: ClassVar[bool] = False
    """Whether the session blends images, and not cond rows."""

    def __init__(
        self, session: Session, layout: RowLayout, conds: SafeConds, denoiser: Any, *, maps: bool
    ) -> None:
        self.session, self.layout, self.conds = session, layout, conds
        self.denoiser = denoiser
        self.levels = NoiseLevels(denoiser)
        self.disagreement = Disagreement() if maps else None

    @abstractmethod
    def extra(self, current: OpenCall) -> list[ExtraRow]:
        """The rows that are needed at the host's own latents."""

    @abstractmethod
    def blend(self, current: OpenCall, rows: Tensor, calls: OwnCalls) -> None:
        """Blend what the host predicted, ``rows``, in place.

        Args:
            rows: ``[rows, C, H, W]``; after the cond rows lie those that were inserted.
            calls: For rows that are still to be evaluated.
        """

    @abstractmethod
    def session_rows(self, image: int) -> Sequence[int]:
        """What stands for ``image`` in the session."""

    def safe_texts(self, current: OpenCall, rows: Sequence[int]) -> list[Any]:
        """What the safe stream sees in place of the texts of cond ``rows``."""
        given, step, share = current.given, self.denoiser.step, current.call.share
        prompts = [unmarked(rows_of(given.text_cond, [row])) for row in rows]
        found = [
            mixed_texts(prompt, self.conds.safe(row, step), share)
            for row, prompt in zip(rows, prompts, strict=True)
        ]
        return marked(found, given.text_cond)

    def unsafe_texts(self, current: OpenCall, rows: Sequence[int]) -> list[Any]:
        """What the safe stream is pushed away from at cond ``rows``."""
        found = [self.conds.unsafe(row, self.denoiser.step) for row in rows]
        return marked(found, current.given.text_cond)

    def evidence(self) -> tuple[str, ...]:
        """The image-time check of each image; ``""`` for one that has none."""
        found, guarded = self.session.evidence, self.session.guarded
        lines = []
        for image in range(self.layout.images):
            rows = [row for row in self.session_rows(image) if guarded[row]]
            lines.append(found.image(rows) if found is not None and rows else "")
        return tuple(lines)

    def guidance(self, current: OpenCall) -> Guidance:
        """The host's guidance of ``current``."""
        return Guidance.of(self.denoiser, self.layout, without_uncond=current.without_uncond)
