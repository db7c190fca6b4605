"""The embedded world's own contexts, one for each hazard, and Auto among them."""

from __future__ import annotations

from pathlib import Path

from safegen.choice import Chooser
from safegen.contexts.library import PRESETS, ContextLibrary
from safegen.detectors.auto import default_detectors

CONTEXTS = Path(__file__).with_name("contexts")


def world_library(folder: Path | None = None) -> ContextLibrary:
    """The hazards' contexts before the presets: of equally fitting ones Auto takes the first."""
    return ContextLibrary(folder, built_in=(CONTEXTS, PRESETS))


def world_chooser() -> Chooser:
    """The shipped detectors, as they are, over `world_library`."""
    return Chooser(world_library(), {detector.name: detector for detector in default_detectors()})
