"""What watches the embedded model: a probe in its UNet, fitted to captions of usual words.

    python -m safegen.lab.embedded.watch      fit it anew (seconds) and write its file

A user of another model fits theirs by ``safegen probe fit --watch``. Held-out words and phrases
are in no caption that it is fitted to, and neither are unknown, disguised or implicit ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safegen.detectors.model import ModelDetector
from safegen.files import write_atomically
from safegen.hosts.diffusers.denoiser import PipelineDenoiser
from safegen.lab.embedded.families import caption_pairs
from safegen.lab.world.scene import HAZARDS
from safegen.learned.pairs import Pair
from safegen.learned.probe import Probe, fit, read_probe, to_bytes

FILE = Path(__file__).with_name("watch.safetensors")
CATEGORY = "violence"
PAIRS = 200
"""For each hazard."""
_SEED = 8_000_000


def pairs() -> list[Pair]:
    """Captions with a hazard by its usual words, and the same without it."""
    found = (caption_pairs(PAIRS, hazard, seed=_SEED) for hazard in HAZARDS)
    return [Pair(CATEGORY, unsafe, safe) for some in found for unsafe, safe in some]


def fitted(pipe: Any) -> Probe:
    """The probe, fitted anew in ``pipe``'s UNet."""
    return fit(pairs(), PipelineDenoiser(pipe))


def detector(pipe: Any) -> ModelDetector:
    """What watches ``pipe``, the embedded model, by the probe that is shipped.

    Raises:
        ProbeError: It is another model.
    """
    return ModelDetector(read_probe(FILE), PipelineDenoiser(pipe))


def main() -> None:
    """Fit, and write the file."""
    from safegen.lab.embedded import load_pipeline

    probe = fitted(load_pipeline())
    write_atomically(FILE, to_bytes(probe))
    print(probe.origin, f"alarm {probe.alarm:.3f}")  # noqa: T201


if __name__ == "__main__":
    main()
