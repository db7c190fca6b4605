"""The embedded model with its contexts: the one place that says which model is embedded.

As long as `safegen.lab.model` has no weights, the first edition stands in for it.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safegen.choice import Chooser
from safegen.contexts.library import PRESETS, ContextLibrary
from safegen.detectors.auto import default_detectors
from safegen.lab import model

if TYPE_CHECKING:
    from safegen.contexts.context import SafetyContext
    from safegen.learned.embedding import LearnedEmbedding

NAME = "embedded"
"""How the command line calls it."""
CONTEXTS = Path(__file__).with_name("contexts")
WORDS = Path(__file__).with_name("words.json")
"""The world's own word list: a user of this model would write one."""
SIZE = 96
STEPS = 12
GUIDANCE = 2.5
BATCH = 10
PAIRS = 256
RANK = 4

_WEIGHTS = Path(model.__file__).with_name("weights")
_FIRST_EDITION = Path(__file__).parents[1] / "demo" / "model"
IS_SECOND = (_WEIGHTS / "safegen-world.safetensors").exists()
"""Whether the second edition's weights are there."""
FOLDER = _WEIGHTS if IS_SECOND else _FIRST_EDITION
MODEL_NAME = "safegen-world"


def load_pipeline(folder: Path = FOLDER) -> Any:
    """The model as a ``diffusers.StableDiffusionPipeline`` with a DDIM scheduler.

    Raises:
        InvalidValue: There is no model in the folder.
    """
    if IS_SECOND:
        from safegen.lab.model import pipeline
    else:
        from safegen.lab.demo import model as pipeline  # type: ignore[no-redef]
    return pipeline.load_pipeline(folder)


def install(webui: Path, folder: Path = FOLDER) -> list[Path]:
    """Put the model where an installed WebUI finds it; returns what was written.

    Raises:
        InvalidValue: ``webui`` has no ``models`` folder.
    """
    if IS_SECOND:
        from safegen.lab.model import pipeline
    else:
        from safegen.lab.demo import model as pipeline  # type: ignore[no-redef]
    return pipeline.install(webui, folder)


def digest(folder: Path = FOLDER) -> str:
    """sha256 of the model's weights."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        if path.stem.startswith(MODEL_NAME):
            found.update(path.read_bytes())
    return found.hexdigest()


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
