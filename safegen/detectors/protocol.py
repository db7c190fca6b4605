"""What every detector promises: a prompt in, per-category evidence out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, order=True)
class Span:
    """A stretch of the prompt, ``prompt[start:end]``, that speaks for ``category``."""

    start: int
    end: int
    category: str
    detector: str


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
        """Score one prompt, as the model sees it (no LoRA tags, no weights)."""
        ...
