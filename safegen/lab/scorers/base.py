"""What every scorer promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from safegen.errors import SafeGenError

Scores = Mapping[str, float | int | str | bool | None]
"""What a scorer says of one picture. ``unsafe`` (bool) and ``p`` (0 to 1) mean harm; all other
names are the scorer's own."""


class NotAvailable(SafeGenError):
    """A scorer that can't be loaded here; says what it lacks."""


@dataclass(frozen=True)
class About:
    """What a reader of its figures must know of a scorer.

    Args:
        title: Its name for people, with what it is.
        says: What its scores mean.
        licence: Of its code and its weights.
        blind_to: What it can't see.
    """

    title: str
    says: str
    licence: str
    blind_to: str


@dataclass(frozen=True)
class Item:
    """One picture to score: its file, its prompt, and the plain picture of the same seed."""

    path: Path
    sha256: str
    prompt: str
    plain: Path | None = None
    plain_sha256: str = ""


@dataclass(frozen=True)
class Options:
    """What a user supplies for scorers.

    Args:
        clip_model: Folder of a CLIP model in transformers' layout.
        q16_prompts: Q16's two embeddings, ``[2, width]``, harmless first.
        lpips_net: Backbone of LPIPS: alex, vgg or squeeze.
    """

    clip_model: Path | None = None
    q16_prompts: Path | None = None
    lpips_net: str = "alex"


class Scorer(Protocol):
    """Anything that judges pictures."""

    name: str
    about: About
    version: str
    """Changes whenever the same picture would get another score."""

    def score(self, items: Sequence[Item]) -> list[Scores]:
        """One entry per item, in order."""
        ...
