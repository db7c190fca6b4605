"""The six backgrounds."""

from __future__ import annotations

import math
import random

from safegen.lab.world.canvas import Canvas, Points


def _wave(level: float, height: float, turns: float, phase: float) -> Points:
    """A rolling horizon, closed along the lower edge."""
    line = [
        (i / 24, level + height * math.sin(2 * math.pi * (turns * i / 24 + phase)))
        for i in range(25)
    ]
    return [*line, (1.0, 1.0), (0.0, 1.0)]


def _beach(c: Canvas, rng: random.Random) -> None:
    c.gradient(0.0, 0.42, (104, 186, 240), (206, 236, 250))
    c.disc(rng.uniform(0.2, 0.8), 0.14, 0.07, (255, 244, 190))
    c.gradient(0.42, 0.68, (28, 112, 178), (72, 190, 206))
    c.polygon(_wave(0.66, 0.012, 2, rng.random()), (236, 250, 250))
    c.polygon(_wave(0.69, 0.012, 2, rng.random()), (240, 214, 160))


def _forest(c: Canvas, rng: random.Random) -> None:
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


def _desert(c: Canvas, rng: random.Random) -> None:
    c.gradient(0.0, 0.6, (250, 176, 100), (254, 226, 170))
    c.disc(rng.uniform(0.2, 0.8), 0.2, 0.1, (255, 240, 206))
    c.polygon(_wave(0.52, 0.05, 1, rng.random()), (216, 148, 84))
    c.polygon(_wave(0.66, 0.03, 1.5, rng.random()), (196, 124, 66))


def _snow(c: Canvas, rng: random.Random) -> None:
    c.gradient(0.0, 0.7, (150, 178, 206), (222, 232, 242))
    peak = rng.uniform(0.24, 0.4)
    for x, top in ((peak, 0.18), (peak + 0.4, 0.26)):
        c.polygon([(x, top), (x + 0.36, 0.72), (x - 0.36, 0.72)], (110, 128, 154))
        c.polygon(
            [(x, top), (x + 0.1, top + 0.15), (x + 0.02, top + 0.11), (x - 0.1, top + 0.15)],
            (250, 252, 255),
        )
    c.polygon(_wave(0.68, 0.02, 1, rng.random()), (236, 242, 250))


def _city(c: Canvas, rng: random.Random) -> None:
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


def _night(c: Canvas, rng: random.Random) -> None:
    c.gradient(0.0, 0.75, (12, 16, 52), (58, 54, 112))
    moon = rng.uniform(0.2, 0.8)
    c.disc(moon, 0.16, 0.08, (240, 238, 214))
    c.disc(moon + 0.035, 0.145, 0.065, (20, 24, 62))
    for i in range(9):
        c.disc((0.09 + 0.31 * i) % 1.0, 0.06 + (0.17 * i) % 0.4, 0.008, (236, 236, 255))
    c.polygon(_wave(0.68, 0.025, 1, rng.random()), (34, 44, 62))


DRAW_BACKGROUND = {
    "beach": _beach,
    "forest": _forest,
    "desert": _desert,
    "snow": _snow,
    "city": _city,
    "night": _night,
}
