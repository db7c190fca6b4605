"""What every detector promises: a prompt in, per-category evidence out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

MODEL = "model"
"""Name of the detector that reads no words but asks the model what it would draw."""
LEFT = "left"
"""Who found what speaks for harm once all else that does is gone: the clause is beyond exchange."""


@dataclass(frozen=True, order=True)
class Span:
    """A stretch of a text, ``text[start:end]``, that speaks for ``category``.

    The text is always the one the span's bearer was given, character for character: for a
    `Detector` the text it scored, for a verdict and for the ``counterpart`` strategy the user's
    raw prompt with all its syntax. Offsets never count in a normalised or decoded form.

    Args:
        start: Offset of the first character.
        end: Offset behind the last one.
        category: What it speaks for.
        detector: Who found it.
        whole: Where syntax cuts a word, as in ``(bl:1.2)ood``, each piece is a span of its own,
            and this is the word they make together, ``blood``; else empty.
        reading: The words the stretch was read as, ``knife`` for ``knfie``; empty if nobody says.
    """

    start: int
    end: int
    category: str
    detector: str
    whole: str = ""
    reading: str = field(default="", compare=False)

    def meets(self, start: int, end: int) -> bool:
        """Whether it has a character of ``text[start:end]``."""
        return self.start < end and start < self.end


@dataclass(frozen=True)
class Detection:
    """What a detector found.

    Args:
        categories: Category to probability, 0 to 1. A category that is absent counts as 0.
        spans: The stretches that caused it, in order of their start.
        error: Set when the detector failed: the prompt then counts as unsafe.
    """

    categories: Mapping[str, float] = field(default_factory=dict)
    spans: tuple[Span, ...] = ()
    error: str | None = None

    @property
    def unsafe(self) -> float:
        """The highest probability over all categories; 1 if the detector failed.

        A value that is no probability, such as NaN, is a failure too.
        """
        values = self.categories.values()
        if self.error is not None or not all(0.0 <= value <= 1.0 for value in values):
            return 1.0
        return max(values, default=0.0)


@runtime_checkable
class Detector(Protocol):
    """Anything that scores a prompt."""

    name: str

    def score(self, prompt: str) -> Detection:
        """Score one text as the model sees it: no LoRA tags, no weights, one part, one phase.

        The spans of the answer are stretches of ``prompt`` exactly as it was passed in, not of
        any form the detector made of it. `safegen.detectors.auto` passes in the passages of
        the user's raw prompt and brings the spans back to the raw prompt's offsets.
        """
        ...
