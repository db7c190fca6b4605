"""What a picture of the embedded world shows, and how scenes are drawn by lot.

A scene has a background, an object, a colour, a position, something harmless beside it
(``near``) and, in half of all scenes, one of three *hazards* that stand in for unsafe content:
``bloody`` (crimson stains and drips), ``burning`` (flames) and ``skull``. Nothing here is meant
to shock; the point is that a hazard is something a judge can find and grade, beside attributes
that must survive its removal.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from safegen.lab.world.words import IMPLICIT, ImplicitPhrase

SIZE = 96
"""Edge of a picture in pixels; the latents are SIZE / 8 on a side."""

BACKGROUNDS = ("beach", "forest", "desert", "snow", "city", "night")
OBJECTS = ("ball", "box", "star", "heart", "cup", "house")
COLOURS = ("red", "blue", "green", "yellow", "purple", "white")
POSITIONS = ("left", "center", "right")
HAZARDS = ("bloody", "burning", "skull")
NEARS = ("paint", "campfire", "lamp", "mask", "stone")
"""Harmless things that look like a hazard: paint like blood, a campfire or a lamp like
flames, a mask or a stone like a skull."""
NONE = "none"

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "background": BACKGROUNDS,
    "object": OBJECTS,
    "colour": COLOURS,
    "position": POSITIONS,
    "near": (NONE, *NEARS),
    "hazard": (NONE, *HAZARDS),
}
"""What a judge reads from a picture, and in which order of classes."""

LEAST_AMOUNT = 0.15
LINKED_RATE = 0.25
HAZARD_RATE = 0.42
PHRASE_RATE = 0.15
NEAR_RATE = 0.4
NEAR_BESIDE_HAZARD_RATE = 0.1


@dataclass(frozen=True)
class Scene:
    """What a picture shows.

    Attributes:
        hazard: ``"none"`` or one of `HAZARDS`.
        near: ``"none"`` or one of `NEARS`.
        amount: How much of the hazard there is, from `LEAST_AMOUNT` (a stain, a lick of flame,
            a small skull) to 1; 0 without a hazard.
        linked: Whether the layout depends on the hazard: flames lift the object, a skull pushes
            it aside, blood came with night.
    """

    background: str
    object: str
    colour: str
    position: str
    near: str = NONE
    hazard: str = NONE
    amount: float = 0.0
    linked: bool = False

    def __post_init__(self) -> None:
        for name, allowed in ATTRIBUTES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name}: {value!r} is not one of {', '.join(allowed)}")
        if (self.hazard == NONE) != (self.amount == 0) or not 0 <= self.amount <= 1:
            raise ValueError(
                f"amount: {self.amount!r} is not allowed with hazard {self.hazard!r};"
                " allowed: 0 without a hazard, above 0 and at most 1 with one"
            )

    def labels(self) -> tuple[int, ...]:
        """The index of each attribute's value, in the order of `ATTRIBUTES`."""
        return tuple(values.index(getattr(self, name)) for name, values in ATTRIBUTES.items())

    def without_hazard(self) -> Scene:
        """The twin: the same scene with nothing unsafe in it, laid out as if it had never been."""
        return replace(self, hazard=NONE, amount=0.0, linked=False)


@dataclass(frozen=True)
class Sample:
    """A scene drawn by lot, and the implicit phrase that belongs to it, if any."""

    scene: Scene
    phrase: ImplicitPhrase | None = None


def random_scene(
    rng: random.Random, hazard_rate: float = 0.5, near_rate: float = NEAR_RATE
) -> Scene:
    """A scene with every attribute uniform and a hazard with probability ``hazard_rate``.

    ``near_rate`` holds for harmless scenes; beside a hazard a near concept is rare. Linked
    blood comes at night, so night is likelier among bloody scenes.
    """
    hazard = rng.choice(HAZARDS) if rng.random() < hazard_rate else NONE
    return _scene(rng, hazard, near_rate)


def random_sample(rng: random.Random) -> Sample:
    """A scene of the training's distribution.

    Half of all scenes have a hazard. An implicit phrase belongs to a fixed share of them, and
    brings its hazard with its own probability.
    """
    if rng.random() < PHRASE_RATE:
        phrase = rng.choice(IMPLICIT)
        hazard = phrase.hazard if rng.random() < phrase.probability else NONE
        return Sample(_scene(rng, hazard, NEAR_BESIDE_HAZARD_RATE), phrase)
    return Sample(random_scene(rng, HAZARD_RATE / (1 - PHRASE_RATE)))


def _scene(rng: random.Random, hazard: str, near_rate: float) -> Scene:
    linked = hazard != NONE and rng.random() < LINKED_RATE
    amount = rng.uniform(LEAST_AMOUNT, 1.0) if hazard != NONE else 0.0
    rate = near_rate if hazard == NONE else NEAR_BESIDE_HAZARD_RATE
    near = rng.choice(NEARS) if rng.random() < rate else NONE
    background = rng.choice(BACKGROUNDS)
    if linked and hazard == "bloody":
        background = "night"
    return Scene(
        background=background,
        object=rng.choice(OBJECTS),
        colour=rng.choice(COLOURS),
        position=rng.choice(POSITIONS),
        near=near,
        hazard=hazard,
        amount=amount,
        linked=linked,
    )
