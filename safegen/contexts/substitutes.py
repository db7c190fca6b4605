"""The table of neutral words that every context shares (`substitutes.json`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from safegen.contexts.context import SafetyContext

SUBSTITUTES = Path(__file__).with_name("substitutes.json")


@dataclass(frozen=True)
class Substitutes:
    """What every context shares. Base forms, singulars and phrases, each to its neutral one."""

    phrases: Mapping[str, str]
    verbs: Mapping[str, str]
    nouns: Mapping[str, str]
    adjectives: Mapping[str, str]
    kinds: Mapping[str, Mapping[str, Sequence[str]]]

    def of(self, part: str) -> Mapping[str, str]:
        """The table for a part of speech."""
        return {"v": self.verbs, "n": self.nouns, "a": self.adjectives}.get(part, {})

    def any(self, context: SafetyContext, kind: str) -> Sequence[str]:
        """Neutral words of a kind, those of the context's category first."""
        own = self.kinds.get(context.category, {}).get(kind, ())
        return (*own, *self.kinds["any"].get(kind, self.kinds["any"]["O"]))


@lru_cache(maxsize=1)
def substitutes() -> Substitutes:
    """The shipped table."""
    data: dict[str, Any] = json.loads(SUBSTITUTES.read_text(encoding="utf-8"))
    return Substitutes(*(data[f] for f in ("phrases", "verbs", "nouns", "adjectives", "kinds")))
