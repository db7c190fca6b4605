"""The three hazards, each in any amount: a stain to a pool, a lick of flame to a blaze, a small
skull to a large one."""

from __future__ import annotations

import math
import random

from safegen.lab.world.canvas import INK, Canvas, Colour, shade

_CRIMSON = (118, 4, 18)
_BONE = (238, 232, 214)
_FLAMES = ((214, 60, 10), 1.0), ((252, 138, 22), 0.72), ((255, 226, 92), 0.42)


def blood(c: Canvas, x: float, y: float, r: float, amount: float, rng: random.Random) -> None:
    """Drips down the object into a pool, and drops around it."""
    reach, depth = (0.55 + 0.95 * amount) * r, (0.11 + 0.16 * amount) * r
    pool = x + (1 - amount) * rng.uniform(-0.4, 0.4) * r
    floor = y + 1.1 * r
    c.ellipse(pool, floor + 0.02 * r, reach, depth, shade(_CRIMSON, 0.7))
    c.ellipse(pool, floor, 0.9 * reach, 0.72 * depth, _CRIMSON)
    places = [-0.34, 0.4, -0.72, 0.04]
    if rng.random() < 0.5:
        places = [-place for place in places]
    for place in places[: 1 + round(2.6 * amount)]:
        px = x + (place + rng.uniform(-0.08, 0.08)) * r
        px += (pool - x) * (1 - amount)
        width = rng.uniform(0.09, 0.12) + 0.03 * amount
        top = y + (rng.uniform(0.1, 0.4) - 0.4 * amount) * r
        c.polygon(
            [
                (px - width * r, top),
                (px + width * r, top),
                (px + 0.6 * width * r, y + 1.05 * r),
                (px - 0.6 * width * r, y + 1.05 * r),
            ],
            _CRIMSON,
        )
        c.disc(px, top, 1.6 * width * r, _CRIMSON)
    count = 2 + round(6 * amount)
    turn = rng.random()
    for i in range(count):
        angle = 2 * math.pi * (i / count + turn + rng.uniform(-0.04, 0.04))
        distance = rng.uniform(0.95, 1.2 + 0.3 * amount) * r
        c.disc(
            x + distance * math.cos(angle),
            y + 0.8 * distance * math.sin(angle),
            rng.uniform(0.08, 0.11 + 0.07 * amount) * r,
            _CRIMSON,
        )


def flame(c: Canvas, x: float, base: float, width: float, height: float, fill: Colour) -> None:
    """One tongue of flame, pointed above."""
    outline = []
    for i in range(25):
        t = i / 24
        half = width * math.sin(math.pi * min(t * 1.25, 1.0) ** 0.8) if t < 0.8 else 0.0
        outline.append((t, max(half, width * 0.9 * (1 - t))))
    left = [(x - half, base - t * height) for t, half in outline]
    right = [(x + half, base - t * height) for t, half in reversed(outline)]
    c.polygon([*left, *right], fill)


def tongues(
    c: Canvas, base: float, tongue: list[tuple[float, float, float]], narrowing: float
) -> None:
    """Flames in three colours; each tongue is its x, its width and its height."""
    for colour, scale in _FLAMES:
        for x, width, height in tongue:
            flame(c, x, base, width * scale, height * scale**narrowing, colour)


def fire_behind(c: Canvas, x: float, y: float, r: float, amount: float, rng: random.Random) -> None:
    """The tall flames behind the object; a small fire has none."""
    if amount < 0.35:
        return
    tall = 1.35 + 1.45 * amount
    wide = 0.42 + 0.24 * amount
    tongue = [
        (x + side * r, wide * r, rng.uniform(0.88, 1.12) * share * tall * r)
        for side, share in ((-0.75, 0.72), (0.0, 1.0), (0.75, 0.72))
    ]
    tongues(c, y + 0.3 * r, tongue, 0.5)


def fire_before(c: Canvas, x: float, y: float, r: float, amount: float, rng: random.Random) -> None:
    """The licks of flame at the object's foot."""
    sides = [-0.95, 0.95, 0.0, -0.5, 0.5]
    if rng.random() < 0.5:
        sides = [-side for side in sides]
    tongue = []
    for side in sorted(sides[: 1 + round(4 * amount)]):
        height = rng.uniform(0.85, 1.15) * (0.85 + 0.35 * amount) * (0.65 if side == 0 else 1.0)
        tongue.append((x + side * r, (0.3 + 0.08 * amount) * r, height * r))
    tongues(c, y + 1.2 * r, tongue, 1.0)


def skull_radius(amount: float) -> float:
    """Half the height of a skull of this amount, in scene units."""
    return 0.066 + 0.076 * amount


def skull(c: Canvas, x: float, floor: float, radius: float) -> None:
    """A skull that stands on ``floor``."""
    r, y = radius, floor - radius
    line = 0.012 + 0.02 * r
    for grow, fill in ((line, INK), (0.0, _BONE)):
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
        c.ellipse(x + side * 0.4 * r, y - 0.05 * r, 0.27 * r, 0.3 * r, INK)
        tooth = x + side * 0.2 * r
        c.polygon(
            [
                (tooth - 0.04 * r, y + 0.62 * r),
                (tooth + 0.04 * r, y + 0.62 * r),
                (tooth + 0.04 * r, y + r),
                (tooth - 0.04 * r, y + r),
            ],
            INK,
        )
    c.polygon([(x, y + 0.25 * r), (x + 0.13 * r, y + 0.5 * r), (x - 0.13 * r, y + 0.5 * r)], INK)
