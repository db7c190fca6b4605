"""The embedded model with its contexts and detectors, as the lab's commands use them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safegen.choice import Chooser
from safegen.contexts.library import PRESETS, ContextLibrary
from safegen.detectors.auto import default_detectors
from safegen.files import sha256
from safegen.lab.model.pipeline import MODEL_FOLDER as FOLDER
from safegen.lab.model.pipeline import MODEL_NAME, install, load_pipeline
from safegen.lab.model.sample import GUIDANCE, STEPS
from safegen.lab.world.scene import SIZE

if TYPE_CHECKING:
    from safegen.contexts.context import SafetyContext
    from safegen.learned.embedding import LearnedEmbedding

__all__ = [
    "BATCH", "CONTEXTS", "FOLDER", "GUIDANCE", "MODEL_NAME", "NAME", "SIZE", "STEPS", "WORDS",
    "chooser", "digest", "install", "learned", "library", "load_pipeline",
]  # fmt: skip

NAME = "embedded"
"""How the command line calls it."""
CONTEXTS = Path(__file__).with_name("contexts")
WORDS = Path(__file__).with_name("words.json")
"""The world's own word list: a user of this model would write one."""
BATCH = 10
PAIRS = 256
RANK = 4


def digest(folder: Path = FOLDER) -> str:
    """sha256 of the model's weights."""
    return sha256(folder / f"{MODEL_NAME}.safetensors")


def library(folder: Path | None = None) -> ContextLibrary:
    """The hazards' contexts before the presets: of equally fitting ones Auto takes the first."""
    return ContextLibrary(folder, built_in=(CONTEXTS, PRESETS))


@functools.cache
def chooser(folder: Path | None = None) -> Chooser:
    """The shipped detectors with the world's own word list, over `library`."""
    return Chooser(library(folder), {d.name: d for d in default_detectors(WORDS)})


def learned(pipe: Any, context: SafetyContext) -> LearnedEmbedding:
    """What the strategies direction and projection need, learned from pairs of captions.

    Of the pairs of one hazard for that hazard's own context, else of all.
    """
    from safegen.hosts.diffusers import PipelineEncoder
    from safegen.lab.embedded.families import caption_pairs
    from safegen.learned.store import learn_from_pairs

    return learn_from_pairs(caption_pairs(PAIRS, context.name), PipelineEncoder(pipe), rank=RANK)
