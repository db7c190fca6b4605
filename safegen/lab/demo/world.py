"""The synthetic world of the embedded model: scenes, their pictures and their captions.

A scene has a background, an object, a colour, a position and, on request, one of three
*hazards* that stand in for unsafe content: ``bloody`` (crimson splatter and drips),
``burning`` (flames) and ``skull``. Nothing here is meant to shock; the point is that a
hazard is an attribute a classifier can find, beside attributes that must survive its removal.

Everything is drawn from a `random.Random`, so one seed gives one picture.
"""

# Larger than usual: the first edition goes when the second's weights are there.
from __future__ import annotations

# Larger than usual: the first edition of the world, which goes once nothing is tested with it.
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = 96
"""Edge of a picture in pixels; the latents are SIZE / 8 on a side."""

BACKGROUNDS = ("beach", "forest", "desert", "snow", "city", "night")
OBJECTS = ("ball", "box", "star", "heart", "cup", "house")
COLOURS = ("red", "blue", "green", "yellow", "purple", "white")
POSITIONS = ("left", "center", "right")
HAZARDS = ("bloody", "burning", "skull")
NO_HAZARD = "none"

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "background": BACKGROUNDS,
    "object": OBJECTS,
    "colour": COLOURS,
    "position": POSITIONS,
    "hazard": (NO_HAZARD, *HAZARDS),
}
"""What the classifier reads from a picture, and in which order of classes."""

_SUPERSAMPLE = 3
_RGB: dict[str, tuple[int, int, int]] = {
    "red": (224, 48, 48),
    "blue": (52, 104, 226),
    "green": (48, 168, 82),
    "yellow": (246, 208, 60),
    "purple": (150, 78, 204),
    "white": (246, 246, 246),
}
_CRIMSON = (118, 4, 18)
_INK = (34, 30, 44)

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Scene:
    """What a picture shows. ``hazard`` is ``"none"`` or one of `HAZARDS`."""

    background: str
    object: str
    colour: str
    position: str
    hazard: str = NO_HAZARD

    def __post_init__(self) -> None:
        for name, allowed in ATTRIBUTES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name}: {value!r} is not one of {', '.join(allowed)}")

    def labels(self) -> tuple[int, ...]:
        """The index of each attribute's value, in the order of `ATTRIBUTES`."""
        return tuple(values.index(getattr(self, name)) for name, values in ATTRIBUTES.items())

    def without_hazard(self) -> Scene:
        """The same scene with nothing unsafe in it."""
        return replace(self, hazard=NO_HAZARD)


def random_scene(rng: random.Random, hazard_rate: float = 0.5) -> Scene:
    """A scene with every attribute uniform, and a hazard with probability ``hazard_rate``."""
    return Scene(
        background=rng.choice(BACKGROUNDS),
        object=rng.choice(OBJECTS),
        colour=rng.choice(COLOURS),
        position=rng.choice(POSITIONS),
        hazard=rng.choice(HAZARDS) if rng.random() < hazard_rate else NO_HAZARD,
    )


# --------------------------------------------------------------------------- captions

_PLACES: dict[str, tuple[str, ...]] = {
    "beach": ("on the beach", "at the beach", "on a sandy beach"),
    "forest": ("in the forest", "in a forest", "in a green forest"),
    "desert": ("in the desert", "in a desert", "in the hot desert"),
    "snow": ("in the snow", "on the snow", "in a field of snow"),
    "city": ("in the city", "in a city", "on a city street"),
    "night": ("at night", "in the night", "under the night sky"),
}
_SIDES: dict[str, tuple[str, ...]] = {
    "left": ("on the left", "on the left side", "at the left"),
    "center": ("in the center", "in the middle", "at the center"),
    "right": ("on the right", "on the right side", "at the right"),
}
_HAZARD_ADJECTIVES: dict[str, tuple[str, ...]] = {
    "bloody": ("bloody", "bloody", "blood-stained", "bleeding"),
    "burning": ("burning", "burning", "flaming", "blazing"),
}
_HAZARD_PHRASES: dict[str, tuple[str, ...]] = {
    "bloody": ("covered in blood", "with blood", "dripping with blood"),
    "burning": ("on fire", "in flames", "with fire"),
    "skull": ("with a skull", "with a skull", "beside a skull", "next to a skull"),
}
_BENIGN_MOODS = ("clean", "peaceful", "safe")
_HAZARD_MOODS = ("violent", "dangerous", "scary")
_OPENINGS = ("", "", "", "a picture of ", "a drawing of ", "a photo of ", "there is ")


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def caption(scene: Scene, rng: random.Random, *, drop: float = 0.0) -> str:
    """One of the many ways to say ``scene``.

    ``drop`` is the probability with which each of colour, place and side is left unsaid; the
    object and the hazard are always named. Moods (clean, peaceful, safe; violent, dangerous,
    scary) are said sometimes, and always fit.
    """
    words: list[str] = []
    phrases: list[str] = []
    if scene.hazard == NO_HAZARD:
        if rng.random() < 0.25:
            words.append(rng.choice(_BENIGN_MOODS))
    else:
        adjectives = _HAZARD_ADJECTIVES.get(scene.hazard, ())
        if adjectives and rng.random() < 0.6:
            words.append(rng.choice(adjectives))
        else:
            phrases.append(rng.choice(_HAZARD_PHRASES[scene.hazard]))
        if rng.random() < 0.25:
            words.insert(0, rng.choice(_HAZARD_MOODS))
    if rng.random() >= drop:
        words.append(scene.colour)
    words.append(scene.object)
    places = []
    if rng.random() >= drop:
        places.append(rng.choice(_PLACES[scene.background]))
    if rng.random() >= drop:
        places.append(rng.choice(_SIDES[scene.position]))
    if rng.random() < 0.3:
        places.reverse()
    text = rng.choice(_OPENINGS) + _with_article(" ".join(words))
    for phrase in phrases:
        text += f" {phrase}"
    for place in places:
        text += f"{',' if rng.random() < 0.4 else ''} {place}"
    return text


def prompt(scene: Scene) -> str:
    """The plainest caption of ``scene``, with every attribute said: what the demo asks for."""
    adjective = _HAZARD_ADJECTIVES.get(scene.hazard, ("",))[0]
    words = " ".join(w for w in (adjective, scene.colour, scene.object) if w)
    hazard = f" {_HAZARD_PHRASES['skull'][0]}" if scene.hazard == "skull" else ""
    place, side = _PLACES[scene.background][0], _SIDES[scene.position][0]
    return f"{_with_article(words)}{hazard} {place}, {side}"


def vocabulary() -> list[str]:
    """Sentences that together hold every word of every caption, for the tokenizer's training."""
    sentences: list[str] = [*_BENIGN_MOODS, *_HAZARD_MOODS, *_OPENINGS, *ATTRIBUTES, *COLOURS]
    for table in (_PLACES, _SIDES, _HAZARD_ADJECTIVES, _HAZARD_PHRASES):
        sentences += [text for options in table.values() for text in options]
    return [*sentences, *OBJECTS, "a an and of the no not without middle , . :"]


# --------------------------------------------------------------------------- pictures


class _Canvas:
    """An RGB canvas in scene units (0 to 1 on both axes), drawn large and shrunk at the end."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.edge = size * _SUPERSAMPLE
        self.image = Image.new("RGB", (self.edge, self.edge))
        self.draw = ImageDraw.Draw(self.image)

    def points(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x * self.edge, y * self.edge) for x, y in points]

    def polygon(self, points: Sequence[tuple[float, float]], fill: Colour) -> None:
        self.draw.polygon(self.points(points), fill=fill)

    def outlined(self, points: Sequence[tuple[float, float]], fill: Colour, width: float) -> None:
        scaled = self.points(points)
        self.draw.polygon(scaled, fill=fill)
        # joint="curve" rounds the corners; closing twice rounds the first corner too.
        self.draw.line(
            [*scaled, *scaled[:2]], fill=_INK, width=round(width * self.edge), joint="curve"
        )

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        box = self.points([(x - rx, y - ry), (x + rx, y + ry)])
        self.draw.ellipse([*box[0], *box[1]], fill=fill)

    def disc(self, x: float, y: float, radius: float, fill: Colour) -> None:
        self.ellipse(x, y, radius, radius, fill)

    def gradient(self, top: float, bottom: float, start: Colour, end: Colour) -> None:
        """A vertical gradient over the band from ``top`` to ``bottom``."""
        y0, y1 = round(top * self.edge), round(bottom * self.edge)
        ramp = np.linspace(0.0, 1.0, max(y1 - y0, 1))[:, None]
        rows = np.asarray(start) * (1 - ramp) + np.asarray(end) * ramp
        band = np.repeat(rows[:, None, :], self.edge, axis=1).astype(np.uint8)
        self.image.paste(Image.fromarray(band), (0, y0))

    def finish(self) -> Image.Image:
        return self.image.resize((self.size, self.size), Image.Resampling.BOX)


def _wave(level: float, height: float, turns: float, phase: float) -> list[tuple[float, float]]:
    """A rolling horizon, closed along the lower edge."""
    line = [
        (i / 24, level + height * math.sin(2 * math.pi * (turns * i / 24 + phase)))
        for i in range(25)
    ]
    return [*line, (1.0, 1.0), (0.0, 1.0)]


def _shade(colour: Colour, factor: float) -> Colour:
    """Darker for ``factor`` < 1, towards white above."""
    if factor <= 1:
        return tuple(round(c * factor) for c in colour)  # type: ignore[return-value]
    return tuple(round(c + (255 - c) * (factor - 1)) for c in colour)  # type: ignore[return-value]


def _beach(c: _Canvas, rng: random.Random) -> None:
    c.gradient(0.0, 0.42, (104, 186, 240), (206, 236, 250))
    c.disc(rng.uniform(0.2, 0.8), 0.14, 0.07, (255, 244, 190))
    c.gradient(0.42, 0.68, (28, 112, 178), (72, 190, 206))
    c.polygon(_wave(0.66, 0.012, 2, rng.random()), (236, 250, 250))
    c.polygon(_wave(0.69, 0.012, 2, rng.random()), (240, 214, 160))


def _forest(c: _Canvas, rng: random.Random) -> None:
    c.gradient(0.0, 0.7, (186, 222, 196), (226, 240, 206))
    shift = rng.uniform(-0.03, 0.03)
    for i in range(6):
        x, top = 0.02 + 0.2 * i + shift, 0.1 + 0.05 * (i % 2)
        c.polygon(
            [(x - 0.015, 0.5), (x + 0.015, 0.5), (x + 0.02, 0.74), (x - 0.02, 0.74)], (94, 66, 46)
        )
        for step in range(3):
            y = top + 0.13 * step
            half = 0.06 + 0.025 * step
            c.polygon([(x, y), (x + half, y + 0.2), (x - half, y + 0.2)], (30, 98 - 12 * step, 62))
    c.polygon(_wave(0.7, 0.012, 1.5, rng.random()), (86, 140, 68))


def _desert(c: _Canvas, rng: random.Random) -> None:
    c.gradient(0.0, 0.6, (250, 176, 100), (254, 226, 170))
    c.disc(rng.uniform(0.2, 0.8), 0.2, 0.1, (255, 240, 206))
    c.polygon(_wave(0.52, 0.05, 1, rng.random()), (216, 148, 84))
    c.polygon(_wave(0.66, 0.03, 1.5, rng.random()), (196, 124, 66))


def _snow(c: _Canvas, rng: random.Random) -> None:
    c.gradient(0.0, 0.7, (150, 178, 206), (222, 232, 242))
    peak = rng.uniform(0.24, 0.4)
    for x, top in ((peak, 0.18), (peak + 0.4, 0.26)):
        c.polygon([(x, top), (x + 0.36, 0.72), (x - 0.36, 0.72)], (110, 128, 154))
        c.polygon(
            [(x, top), (x + 0.1, top + 0.15), (x + 0.02, top + 0.11), (x - 0.1, top + 0.15)],
            (250, 252, 255),
        )
    c.polygon(_wave(0.68, 0.02, 1, rng.random()), (236, 242, 250))


def _city(c: _Canvas, rng: random.Random) -> None:
    c.gradient(0.0, 0.7, (196, 198, 216), (240, 220, 208))
    shift = rng.uniform(-0.02, 0.02)
    heights = (0.3, 0.16, 0.36, 0.22, 0.32, 0.14, 0.28)
    for i, top in enumerate(heights):
        x = -0.06 + 0.17 * i + shift
        c.polygon(
            [(x, top), (x + 0.15, top), (x + 0.15, 0.72), (x, 0.72)],
            ((92, 96, 118), (112, 108, 128))[i % 2],
        )
        for row in range(3):
            wy = top + 0.05 + 0.13 * row
            if wy < 0.6:
                c.polygon(
                    [(x + 0.03, wy), (x + 0.12, wy), (x + 0.12, wy + 0.05), (x + 0.03, wy + 0.05)],
                    (246, 224, 150),
                )
    c.polygon([(0, 0.7), (1, 0.7), (1, 1), (0, 1)], (82, 84, 92))
    c.polygon([(0, 0.7), (1, 0.7), (1, 0.725), (0, 0.725)], (176, 176, 180))


def _night(c: _Canvas, rng: random.Random) -> None:
    c.gradient(0.0, 0.75, (12, 16, 52), (58, 54, 112))
    moon = rng.uniform(0.2, 0.8)
    c.disc(moon, 0.16, 0.08, (240, 238, 214))
    c.disc(moon + 0.035, 0.145, 0.065, (20, 24, 62))
    for i in range(9):
        c.disc((0.09 + 0.31 * i) % 1.0, 0.06 + (0.17 * i) % 0.4, 0.008, (236, 236, 255))
    c.polygon(_wave(0.68, 0.025, 1, rng.random()), (34, 44, 62))


_DRAW_BACKGROUND = {
    "beach": _beach,
    "forest": _forest,
    "desert": _desert,
    "snow": _snow,
    "city": _city,
    "night": _night,
}


def _circle(x: float, y: float, r: float, n: int = 40) -> list[tuple[float, float]]:
    return [
        (x + r * math.cos(2 * math.pi * i / n), y + r * math.sin(2 * math.pi * i / n))
        for i in range(n)
    ]


_LINE = 0.016


def _ball(c: _Canvas, x: float, y: float, r: float, colour: Colour) -> None:
    c.outlined(_circle(x, y, r), colour, _LINE)
    c.ellipse(x - 0.35 * r, y - 0.38 * r, 0.26 * r, 0.2 * r, _shade(colour, 1.6))


def _box(c: _Canvas, x: float, y: float, r: float, colour: Colour) -> None:
    d = 0.42 * r
    left, right, top, bottom = x - r, x + 0.62 * r, y - 0.52 * r, y + r
    c.outlined(
        [(left, top), (left + d, top - d), (right + d, top - d), (right, top)],
        _shade(colour, 1.35),
        _LINE,
    )
    c.outlined(
        [(right, top), (right + d, top - d), (right + d, bottom - d), (right, bottom)],
        _shade(colour, 0.68),
        _LINE,
    )
    c.outlined([(left, top), (right, top), (right, bottom), (left, bottom)], colour, _LINE)


def _star(c: _Canvas, x: float, y: float, r: float, colour: Colour) -> None:
    points = []
    for i in range(10):
        radius = 1.18 * r if i % 2 == 0 else 0.54 * r
        angle = math.pi * (i / 5 - 0.5)
        points.append((x + radius * math.cos(angle), y + 0.06 * r + radius * math.sin(angle)))
    c.outlined(points, colour, _LINE)
    c.ellipse(x - 0.12 * r, y - 0.2 * r, 0.2 * r, 0.16 * r, _shade(colour, 1.6))


def _heart(c: _Canvas, x: float, y: float, r: float, colour: Colour) -> None:
    points = []
    for i in range(48):
        t = 2 * math.pi * i / 48
        px = 16 * math.sin(t) ** 3
        py = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x + 1.1 * r * px / 16, y - 1.05 * r * (py + 2) / 15))
    c.outlined(points, colour, _LINE)
    c.ellipse(x - 0.48 * r, y - 0.42 * r, 0.24 * r, 0.18 * r, _shade(colour, 1.6))


def _cup(c: _Canvas, x: float, y: float, r: float, colour: Colour) -> None:
    c.disc(x + 0.85 * r, y, 0.5 * r, _INK)
    c.disc(x + 0.85 * r, y, 0.4 * r, colour)
    c.disc(x + 0.85 * r, y, 0.2 * r, _INK)
    c.outlined(
        [
            (x - 0.9 * r, y - 0.85 * r),
            (x + 0.7 * r, y - 0.85 * r),
            (x + 0.5 * r, y + r),
            (x - 0.7 * r, y + r),
        ],
        colour,
        _LINE,
    )
    c.ellipse(x - 0.1 * r, y - 0.85 * r, 0.86 * r, 0.26 * r, _INK)
    c.ellipse(x - 0.1 * r, y - 0.84 * r, 0.72 * r, 0.17 * r, _shade(colour, 0.6))


def _house(c: _Canvas, x: float, y: float, r: float, colour: Colour) -> None:
    c.outlined(
        [
            (x - 0.8 * r, y - 0.1 * r),
            (x + 0.8 * r, y - 0.1 * r),
            (x + 0.8 * r, y + r),
            (x - 0.8 * r, y + r),
        ],
        colour,
        _LINE,
    )
    c.outlined(
        [(x - 1.1 * r, y - 0.1 * r), (x, y - 1.15 * r), (x + 1.1 * r, y - 0.1 * r)],
        _shade(colour, 0.66),
        _LINE,
    )
    c.polygon(
        [
            (x - 0.22 * r, y + 0.3 * r),
            (x + 0.22 * r, y + 0.3 * r),
            (x + 0.22 * r, y + r),
            (x - 0.22 * r, y + r),
        ],
        _INK,
    )


_DRAW_OBJECT = {
    "ball": _ball,
    "box": _box,
    "star": _star,
    "heart": _heart,
    "cup": _cup,
    "house": _house,
}


def _blood(c: _Canvas, x: float, y: float, r: float, rng: random.Random) -> None:
    dark = _shade(_CRIMSON, 0.7)
    c.ellipse(x, y + 1.12 * r, 1.4 * r, 0.24 * r, dark)
    c.ellipse(x, y + 1.1 * r, 1.26 * r, 0.17 * r, _CRIMSON)
    for place, width in ((-0.3, 0.15), (0.42, 0.11)):
        px = x + (place + rng.uniform(-0.1, 0.1)) * r
        top = y + rng.uniform(-0.2, 0.05) * r
        c.polygon(
            [
                (px - width * r, top),
                (px + width * r, top),
                (px + 0.6 * width * r, y + 1.05 * r),
                (px - 0.6 * width * r, y + 1.05 * r),
            ],
            _CRIMSON,
        )
        c.disc(px, top, 1.7 * width * r, _CRIMSON)
    for i in range(6):
        angle = 2 * math.pi * (i / 6 + rng.uniform(-0.04, 0.04))
        distance = rng.uniform(1.1, 1.35) * r
        c.disc(
            x + distance * math.cos(angle),
            y + 0.8 * distance * math.sin(angle),
            rng.uniform(0.09, 0.15) * r,
            _CRIMSON,
        )


def _flame(c: _Canvas, x: float, base: float, width: float, height: float, fill: Colour) -> None:
    outline = []
    for i in range(25):
        t = i / 24
        half = width * math.sin(math.pi * min(t * 1.25, 1.0) ** 0.8) if t < 0.8 else 0.0
        outline.append((t, max(half, width * 0.9 * (1 - t))))
    left = [(x - half, base - t * height) for t, half in outline]
    right = [(x + half, base - t * height) for t, half in reversed(outline)]
    c.polygon([*left, *right], fill)


_FLAMES = ((214, 60, 10), 1.0), ((252, 138, 22), 0.72), ((255, 226, 92), 0.42)


def _fire_behind(c: _Canvas, x: float, y: float, r: float, rng: random.Random) -> None:
    heights = [rng.uniform(0.9, 1.1) * h for h in (1.75, 2.5, 1.75)]
    for colour, scale in _FLAMES:
        for side, height in zip((-0.75, 0.0, 0.75), heights, strict=True):
            _flame(c, x + side * r, y + 0.3 * r, 0.62 * r * scale, height * r * scale**0.5, colour)


def _fire_before(c: _Canvas, x: float, y: float, r: float, rng: random.Random) -> None:
    base = y + 1.2 * r
    heights = [rng.uniform(0.85, 1.15) * h for h in (0.95, 0.6, 0.95)]
    for colour, scale in _FLAMES:
        for side, height in zip((-0.95, 0.0, 0.95), heights, strict=True):
            _flame(c, x + side * r, base, 0.36 * r * scale, height * r * scale, colour)


def _skull(c: _Canvas, x: float, y: float, r: float) -> None:
    bone, line = (238, 232, 214), 0.13 * r
    for grow, fill in ((line, _INK), (0.0, bone)):
        c.polygon(
            [
                (x - 0.5 * r - grow, y),
                (x + 0.5 * r + grow, y),
                (x + 0.42 * r + grow, y + r + grow),
                (x - 0.42 * r - grow, y + r + grow),
            ],
            fill,
        )
        c.ellipse(x, y - 0.15 * r, 0.95 * r + grow, 0.85 * r + grow, fill)
    for side in (-1, 1):
        c.ellipse(x + side * 0.4 * r, y - 0.05 * r, 0.27 * r, 0.3 * r, _INK)
        c.polygon(
            [
                (x + side * 0.2 * r - 0.04 * r, y + 0.62 * r),
                (x + side * 0.2 * r + 0.04 * r, y + 0.62 * r),
                (x + side * 0.2 * r + 0.04 * r, y + r),
                (x + side * 0.2 * r - 0.04 * r, y + r),
            ],
            _INK,
        )
    c.polygon([(x, y + 0.25 * r), (x + 0.13 * r, y + 0.5 * r), (x - 0.13 * r, y + 0.5 * r)], _INK)


_POSITION_X = {"left": 0.24, "center": 0.5, "right": 0.76}


def render(scene: Scene, rng: random.Random, size: int = SIZE) -> Image.Image:
    """Draw ``scene`` as an RGB picture of ``size`` by ``size`` pixels.

    ``rng`` moves what captions don't speak of: the sun, the hills, a few pixels of the
    object's place and size, the shape of splatter and flames.
    """
    canvas = _Canvas(size)
    _DRAW_BACKGROUND[scene.background](canvas, rng)
    r = rng.uniform(0.165, 0.185)
    x = _POSITION_X[scene.position] + rng.uniform(-0.025, 0.025)
    y = 0.64 + rng.uniform(-0.02, 0.02)
    soft = Image.new("L", canvas.image.size)
    shadow = canvas.points([(x - 1.2 * r, y + 0.86 * r), (x + 1.2 * r, y + 1.3 * r)])
    ImageDraw.Draw(soft).ellipse([*shadow[0], *shadow[1]], fill=90)
    soft = soft.filter(ImageFilter.GaussianBlur(0.012 * canvas.edge))
    canvas.image.paste(_INK, (0, 0), soft)
    if scene.hazard == "burning":
        _fire_behind(canvas, x, y, r, rng)
    _DRAW_OBJECT[scene.object](canvas, x, y, r, _RGB[scene.colour])
    if scene.hazard == "bloody":
        _blood(canvas, x, y, r, rng)
    elif scene.hazard == "burning":
        _fire_before(canvas, x, y, r, rng)
    elif scene.hazard == "skull":
        side = -1 if scene.position == "right" else 1
        _skull(canvas, x + side * 1.95 * r, y + 0.42 * r, rng.uniform(0.6, 0.68) * r)
    return canvas.finish()


def to_array(image: Image.Image) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A picture as an autoencoder reads it: float32 ``[3, height, width]`` in [-1, 1]."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    return pixels.transpose(2, 0, 1) / 127.5 - 1.0
