"""The six objects, each drawn around ``(x, y)`` with radius ``r``."""

from __future__ import annotations

import math

from safegen.lab.world.canvas import INK, LINE, Canvas, Colour, circle, shade

RGB: dict[str, Colour] = {
    "red": (224, 48, 48),
    "blue": (52, 104, 226),
    "green": (48, 168, 82),
    "yellow": (246, 208, 60),
    "purple": (150, 78, 204),
    "white": (246, 246, 246),
}


def _ball(c: Canvas, x: float, y: float, r: float, colour: Colour) -> None:
    c.outlined(circle(x, y, r), colour, LINE)
    c.ellipse(x - 0.35 * r, y - 0.38 * r, 0.26 * r, 0.2 * r, shade(colour, 1.6))


def _box(c: Canvas, x: float, y: float, r: float, colour: Colour) -> None:
    d = 0.42 * r
    left, right, top, bottom = x - r, x + 0.62 * r, y - 0.52 * r, y + r
    c.outlined(
        [(left, top), (left + d, top - d), (right + d, top - d), (right, top)],
        shade(colour, 1.35),
        LINE,
    )
    c.outlined(
        [(right, top), (right + d, top - d), (right + d, bottom - d), (right, bottom)],
        shade(colour, 0.68),
        LINE,
    )
    c.outlined([(left, top), (right, top), (right, bottom), (left, bottom)], colour, LINE)


def _star(c: Canvas, x: float, y: float, r: float, colour: Colour) -> None:
    points = []
    for i in range(10):
        radius = 1.18 * r if i % 2 == 0 else 0.54 * r
        angle = math.pi * (i / 5 - 0.5)
        points.append((x + radius * math.cos(angle), y + 0.06 * r + radius * math.sin(angle)))
    c.outlined(points, colour, LINE)
    c.ellipse(x - 0.12 * r, y - 0.2 * r, 0.2 * r, 0.16 * r, shade(colour, 1.6))


def _heart(c: Canvas, x: float, y: float, r: float, colour: Colour) -> None:
    points = []
    for i in range(48):
        t = 2 * math.pi * i / 48
        px = 16 * math.sin(t) ** 3
        py = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x + 1.1 * r * px / 16, y - 1.05 * r * (py + 2) / 15))
    c.outlined(points, colour, LINE)
    c.ellipse(x - 0.48 * r, y - 0.42 * r, 0.24 * r, 0.18 * r, shade(colour, 1.6))


def _cup(c: Canvas, x: float, y: float, r: float, colour: Colour) -> None:
    c.disc(x + 0.85 * r, y, 0.5 * r, INK)
    c.disc(x + 0.85 * r, y, 0.4 * r, colour)
    c.disc(x + 0.85 * r, y, 0.2 * r, INK)
    c.outlined(
        [
            (x - 0.9 * r, y - 0.85 * r),
            (x + 0.7 * r, y - 0.85 * r),
            (x + 0.5 * r, y + r),
            (x - 0.7 * r, y + r),
        ],
        colour,
        LINE,
    )
    c.ellipse(x - 0.1 * r, y - 0.85 * r, 0.86 * r, 0.26 * r, INK)
    c.ellipse(x - 0.1 * r, y - 0.84 * r, 0.72 * r, 0.17 * r, shade(colour, 0.6))


def _house(c: Canvas, x: float, y: float, r: float, colour: Colour) -> None:
    c.outlined(
        [
            (x - 0.8 * r, y - 0.1 * r),
            (x + 0.8 * r, y - 0.1 * r),
            (x + 0.8 * r, y + r),
            (x - 0.8 * r, y + r),
        ],
        colour,
        LINE,
    )
    c.outlined(
        [(x - 1.1 * r, y - 0.1 * r), (x, y - 1.15 * r), (x + 1.1 * r, y - 0.1 * r)],
        shade(colour, 0.66),
        LINE,
    )
    c.polygon(
        [
            (x - 0.22 * r, y + 0.3 * r),
            (x + 0.22 * r, y + 0.3 * r),
            (x + 0.22 * r, y + r),
            (x - 0.22 * r, y + r),
        ],
        INK,
    )


DRAW_OBJECT = {
    "ball": _ball,
    "box": _box,
    "star": _star,
    "heart": _heart,
    "cup": _cup,
    "house": _house,
}
