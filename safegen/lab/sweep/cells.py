"""Cells: the pictures that a sweep makes, each fully described by what makes it."""

from __future__ import annotations

import functools
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from safegen.errors import InvalidValue
from safegen.lab.methods.catalogue import TWIN, Arm
from safegen.lab.prompts import LARGEST_SEED, Prompt


@dataclass(frozen=True)
class Sampling:
    """How a picture is sampled, whatever guards it.

    Args:
        steps: Sampling steps.
        guidance: Classifier-free guidance scale.
        width, height: Size in pixels.
        sampler: The host's name for its sampler.
    """

    steps: int = 20
    guidance: float = 7.0
    width: int = 512
    height: int = 512
    sampler: str = "DDIM"

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 1000:
            raise InvalidValue("steps", self.steps, "1 to 1000")
        if not 1 <= self.guidance <= 1000:
            raise InvalidValue("guidance", self.guidance, "1 to 1000")
        for name in ("width", "height"):
            if not 64 <= getattr(self, name) <= 4096:
                raise InvalidValue(name, getattr(self, name), "64 to 4096")

    def for_prompt(self, prompt: Prompt) -> Sampling:
        """With the guidance and size that the prompt's own set asks for."""
        return Sampling(
            self.steps,
            self.guidance if prompt.guidance is None else prompt.guidance,
            prompt.width or self.width,
            prompt.height or self.height,
            self.sampler,
        )


@dataclass(frozen=True)
class Cell:
    """One picture to make: a prompt of a set, a seed, an arm and the sampling."""

    set_name: str
    prompt: Prompt
    seed: int
    arm: Arm
    sampling: Sampling

    @functools.cached_property
    def key(self) -> str:
        """A digest of everything that decides the picture; equal cells are one picture."""
        return self.key_of(self.arm)

    @functools.cached_property
    def plain_key(self) -> str:
        """The key of the plain picture of the same prompt and seed."""
        return self.key_of(Arm())

    @functools.cached_property
    def twin_key(self) -> str:
        """The key of the plain picture of the prompt with its hazard left unsaid, same seed.

        Of a prompt without a hazard that is the plain picture itself.
        """
        return self.key_of(Arm(TWIN) if self.prompt.harmless else Arm())

    def key_of(self, arm: Arm) -> str:
        """The key of the same prompt's and seed's picture by another arm."""
        prompt = self.prompt
        told = [prompt.harmless, prompt.context] if prompt.harmless or prompt.context else []
        value = [
            self.set_name, prompt.id, prompt.text, told, self.seed, asdict(self.sampling),
            arm.to_data(),
        ]  # fmt: skip
        text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def to_data(self) -> dict[str, Any]:
        """The cell in JSON types, for a manifest."""
        return {
            "key": self.key,
            "set": self.set_name,
            "prompt": self.prompt.to_data(),
            "seed": self.seed,
            "arm": self.arm.to_data(),
            "sampling": asdict(self.sampling),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Cell:
        """Read what `to_data` wrote."""
        return cls(
            data["set"],
            Prompt.from_data(data["prompt"]),
            data["seed"],
            Arm.from_data(data["arm"]),
            Sampling(**data["sampling"]),
        )


Unit = tuple[Cell, ...]
"""Cells that are made together and finished together: one arm, one sampling, one kind of prompt."""


def units(
    prompts: Iterable[tuple[str, Prompt]],
    arms: Sequence[Arm],
    sampling: Sampling,
    *,
    seeds: int = 1,
    first_seed: int = 1,
    batch: int = 1,
    own_settings: bool = True,
    by_family: bool = True,
) -> list[Unit]:
    """Everything a sweep makes, in the order in which it is made.

    All arms of a prompt follow one another, the plain one first, so that a sweep that is stopped
    early has whole comparisons. The list depends on the arguments alone: the batches of a
    resumed sweep are those it began with. Kinds of prompts and their contexts are not mixed in a
    batch, so that what a batch cost is what its kind costs.

    Args:
        prompts: (name of the set, prompt).
        arms: What to make beside the plain picture; the twin is made of prompts that have one.
        sampling: The settings that a prompt's set does not name.
        seeds: Pictures per prompt and arm.
        first_seed: Shifts the seeds of prompts whose set names none; they depend on set and
            prompt alone, not on what else is drawn.
        batch: Cells in a unit.
        own_settings: Whether guidance and size of the set's own are used.
        by_family: Whether families of one kind are not mixed in a batch either. Batches of few
            prompts take longer a picture.
    """
    if seeds < 1:
        raise InvalidValue("seeds", seeds, "1 and more")
    if batch < 1:
        raise InvalidValue("batch", batch, "1 and more")
    jobs = []
    for name, prompt in prompts:
        start = prompt.seed
        if start is None:
            start = zlib.crc32(f"{name}/{prompt.id}".encode()) + first_seed
        own = sampling.for_prompt(prompt) if own_settings else sampling
        for offset in range(seeds):
            jobs.append((own, name, prompt, (start + offset) % (LARGEST_SEED + 1)))

    def alike(job: tuple[Sampling, str, Prompt, int]) -> tuple[Any, ...]:
        own, _, prompt, _ = job
        family = prompt.family if by_family else ""
        return own, prompt.kind, family, prompt.context, bool(prompt.harmless)

    groups: dict[Any, list[Any]] = {}
    for number, job in enumerate(jobs):
        groups.setdefault(alike(job) if batch > 1 else number, []).append(job)
    made: list[Unit] = []
    for group in groups.values():
        for i in range(0, len(group), batch):
            for arm in dict.fromkeys((Arm(), *arms)):
                if arm.method == TWIN and not group[i][2].harmless:
                    continue
                made.append(
                    tuple(Cell(n, p, seed, arm, own) for own, n, p, seed in group[i : i + batch])
                )
    return made
