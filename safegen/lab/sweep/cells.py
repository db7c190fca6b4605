"""Cells: the pictures that a sweep makes, each fully described by what makes it."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from safegen.errors import InvalidValue
from safegen.lab.sweep.prompts import LARGEST_SEED, Prompt
from safegen.plan import SafetyPlan

PLAIN = "plain"
SAFEGEN = "safegen"
NEGATIVE = "negative prompt"
SWAP = "prompt swap"
AND_SAFE = "AND composition"
AND_NOT = "AND NOT composition"
SLD = ("SLD weak", "SLD medium", "SLD strong", "SLD max")
SEGA = "SEGA"
ANYWHERE = (NEGATIVE, SWAP, AND_SAFE, AND_NOT)
"""Peers that any WebUI can express in its prompt boxes."""
PEERS = (*ANYWHERE, *SLD, SEGA)


@dataclass(frozen=True)
class Sampling:
    """How a picture is sampled, whatever guards it.

    Args:
        steps: Sampling steps.
        guidance: Classifier-free guidance scale.
        width, height: Size in pixels.
        sampler: The host's name for its sampler; the local model has DDIM alone.
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
class Arm:
    """One way of making a picture: a method, with its plan or the concept it avoids.

    Args:
        method: `PLAIN`, `SAFEGEN` or one of `PEERS`.
        plan: The plan, for `SAFEGEN`.
        concept: What a peer is told to avoid, in words.
        context: The safety context whose words a peer uses, where it uses any.
    """

    method: str = PLAIN
    plan: SafetyPlan | None = None
    concept: str = ""
    context: str = ""

    def __post_init__(self) -> None:
        if self.method not in (PLAIN, SAFEGEN, *PEERS):
            raise InvalidValue("method", self.method, ", ".join((PLAIN, SAFEGEN, *PEERS)))
        if (self.plan is not None) != (self.method == SAFEGEN):
            raise InvalidValue("plan", self.plan, "a plan for safegen, none for other methods")

    @property
    def label(self) -> str:
        """What tells this arm from others, for people: what is not the default is said."""
        if self.plan is None:
            return self.method
        plan, default = self.plan.to_dict(), SafetyPlan().to_dict()
        shown = ("weight", "tau", "context")
        rest = [
            f"{k} {v}" for k, v in plan.items() if k not in (*shown, "enabled") and v != default[k]
        ]
        return ", ".join(
            [f"SafeGen w {self.plan.weight:g}, τ {self.plan.tau:g}, {self.plan.context}", *rest]
        )

    def to_data(self) -> dict[str, Any]:
        """The arm in JSON types."""
        data: dict[str, Any] = {"method": self.method}
        if self.plan is not None:
            data["plan"] = self.plan.to_dict()
        if self.concept:
            data["concept"] = self.concept
        if self.context:
            data["context"] = self.context
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Arm:
        """Read what `to_data` wrote."""
        plan = SafetyPlan.from_dict(data["plan"]) if "plan" in data else None
        return cls(data["method"], plan, data.get("concept", ""), data.get("context", ""))


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
        return _digest([self.set_name, self.prompt.id, self._shared(), self.arm.to_data()])

    @functools.cached_property
    def twin_key(self) -> str:
        """The key of the plain picture of the same prompt and seed."""
        return _digest([self.set_name, self.prompt.id, self._shared(), Arm().to_data()])

    def _shared(self) -> list[Any]:
        return [self.prompt.text, self.seed, asdict(self.sampling)]

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


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


Unit = tuple[Cell, ...]
"""Cells that are made together and finished together: one arm, one sampling."""


def safegen_arms(
    base: SafetyPlan,
    weights: Sequence[float],
    taus: Sequence[float],
    contexts: Sequence[str],
) -> list[Arm]:
    """An arm for each weight, threshold and context; weight 0 is the plain picture, made anyway."""
    arms = [
        Arm(SAFEGEN, base.replace(weight=weight, tau=tau, context=context))
        for weight, tau, context in itertools.product(weights, taus, contexts)
        if weight > 0
    ]
    return list(dict.fromkeys(arms))


def units(
    prompts: Iterable[tuple[str, Prompt]],
    arms: Sequence[Arm],
    sampling: Sampling,
    *,
    seeds: int = 1,
    first_seed: int = 1,
    batch: int = 1,
    own_settings: bool = True,
) -> list[Unit]:
    """Everything a sweep makes, in the order in which it is made.

    All arms of a prompt follow one another, the plain one first, so that a sweep that is stopped
    early has whole comparisons. The list depends on the arguments alone: the batches of a
    resumed sweep are those it began with.

    Args:
        prompts: (name of the set, prompt).
        arms: What to make beside the plain picture.
        sampling: The settings that a prompt's set does not name.
        seeds: Pictures per prompt and arm.
        first_seed: Shifts the seeds of prompts whose set names none; they depend on set and
            prompt alone, not on what else is drawn.
        batch: Cells in a unit.
        own_settings: Whether guidance and size of the set's own are used.
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
    made: list[Unit] = []
    for own, same in itertools.groupby(jobs, key=lambda job: job[0]):
        group = list(same)
        for i in range(0, len(group), batch):
            for arm in (Arm(), *arms):
                made.append(
                    tuple(Cell(n, p, seed, arm, own) for _, n, p, seed in group[i : i + batch])
                )
    return made
