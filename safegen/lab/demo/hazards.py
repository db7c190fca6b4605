"""The first edition's contexts and detectors; `safegen.lab.embedded` has the same."""

from __future__ import annotations

from pathlib import Path

from safegen.choice import Chooser
from safegen.contexts.library import PRESETS, ContextLibrary
from safegen.detectors.auto import default_detectors

CONTEXTS = Path(__file__).parents[1] / "embedded" / "contexts"
WORDS = Path(__file__).parents[1] / "embedded" / "words.json"


def world_library(folder: Path | None = None) -> ContextLibrary:
    """The hazards' contexts before the presets: of equally fitting ones Auto takes the first."""
    return ContextLibrary(folder, built_in=(CONTEXTS, PRESETS))


def world_chooser() -> Chooser:
    """The shipped detectors with the world's own word list, over `world_library`."""
    return Chooser(world_library(), {d.name: d for d in default_detectors(WORDS)})
