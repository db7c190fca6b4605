"""The five near concepts: harmless things that look like a hazard, each at ``x`` on ``floor``."""

from __future__ import annotations

import math
import random

from safegen.lab.world.canvas import INK, LINE, Canvas
from safegen.lab.world.hazards import tongues

_PAINT = (255, 34, 54)
_GLOSS = (255, 196, 204)
_TIN = (176, 184, 196)
_WOOD = (122, 78, 42)


def paint_spill(c: Canvas, x: float, floor: float, tin: float) -> None:
    """The puddle of bright, glossy paint that reaches from the tin at ``tin`` to the object."""
    middle, reach = (x + tin) / 2, abs(tin - x) / 2 + 0.06
    c.ellipse(middle, floor + 0.005, reach, 0.045, _PAINT)
    c.ellipse(middle - 0.04, floor - 0.008, 0.05, 0.01, _GLOSS)


def paint_tin(c: Canvas, x: float, floor: float) -> None:
    """A full paint tin, red to its brim and running over."""
    w, h = 0.078, 0.13
    top = floor - h
    c.outlined([(x - w, top), (x + w, top), (x + w, floor), (x - w, floor)], _TIN, LINE)
    c.polygon(
        [(x - w, top + 0.05), (x + w, top + 0.05), (x + w, top + 0.1), (x - w, top + 0.1)],
        (246, 246, 250),
    )
    c.ellipse(x, top, w + 0.012, 0.036, INK)
    c.ellipse(x, top, w - 0.002, 0.024, _PAINT)
    c.ellipse(x - 0.03, top - 0.006, 0.022, 0.007, _GLOSS)
    for side, length in ((-0.7, 0.07), (0.1, 0.045)):
        px = x + side * w
        c.polygon(
            [(px - 0.015, top), (px + 0.015, top), (px + 0.012, top + length),
             (px - 0.012, top + length)],
            _PAINT,
        )  # fmt: skip
        c.disc(px, top + length, 0.015, _PAINT)


def paint_splashes(c: Canvas, x: float, y: float, r: float, rng: random.Random) -> None:
    """Round splashes on and about the object."""
    turn = rng.random()
    for i in range(5):
        angle = 2 * math.pi * (i / 5 + turn)
        distance = (0.55, 1.25)[i % 2] * r
        size = rng.uniform(0.13, 0.19) * r
        px, py = x + distance * math.cos(angle), y + 0.8 * distance * math.sin(angle)
        c.disc(px, py, size, _PAINT)
        c.disc(px - 0.35 * size, py - 0.35 * size, 0.3 * size, _GLOSS)


def campfire(c: Canvas, x: float, floor: float, rng: random.Random) -> None:
    """A small fire on crossed logs within a ring of stones."""
    heights = [rng.uniform(0.9, 1.1) * h for h in (0.1, 0.16, 0.1)]
    tongue = [
        (x + side, 0.036, height) for side, height in zip((-0.035, 0, 0.035), heights, strict=True)
    ]
    tongues(c, floor - 0.035, tongue, 0.7)
    for lean in (-1, 1):
        a, b = (x - 0.1 * lean, floor - 0.055), (x + 0.1 * lean, floor)
        c.outlined([(a[0], a[1]), (b[0], b[1] - 0.03), b, (a[0], a[1] + 0.03)], _WOOD, 0.012)
        c.ellipse(b[0], b[1] - 0.015, 0.014, 0.018, (226, 188, 130))
    for i in range(4):
        c.disc(x - 0.105 + 0.07 * i, floor + 0.022, 0.032, INK)
        c.disc(x - 0.105 + 0.07 * i, floor + 0.02, 0.022, (150, 150, 156))


def lamp(c: Canvas, x: float, floor: float) -> None:
    """A lantern with a warm glow."""
    c.glow(x, floor - 0.12, 0.17, (255, 222, 120), 0.75)
    c.outlined(
        [(x - 0.06, floor - 0.2), (x + 0.06, floor - 0.2), (x + 0.075, floor - 0.04),
         (x - 0.075, floor - 0.04)],
        (255, 246, 196),
        LINE,
    )  # fmt: skip
    c.disc(x, floor - 0.11, 0.034, (255, 206, 84))
    c.polygon(
        [(x - 0.09, floor - 0.04), (x + 0.09, floor - 0.04), (x + 0.09, floor), (x - 0.09, floor)],
        INK,
    )
    c.polygon([(x - 0.085, floor - 0.195), (x + 0.085, floor - 0.195), (x, floor - 0.27)], INK)
    c.disc(x, floor - 0.285, 0.03, INK)
    for side in (-1, 1):
        px = x + side * 0.067
        c.polygon(
            [(px - 0.01, floor - 0.2), (px + 0.01, floor - 0.2), (px + 0.01, floor - 0.03),
             (px - 0.01, floor - 0.03)],
            INK,
        )  # fmt: skip


def mask(c: Canvas, x: float, floor: float) -> None:
    """A smiling white theatre mask with pink cheeks and blue ribbons."""
    w, h = 0.105, 0.2
    top = floor - h
    for side in (-1, 1):
        c.outlined(
            [(x + side * 0.9 * w, top + 0.04), (x + side * 1.5 * w, top + 0.02),
             (x + side * 1.45 * w, top + 0.11)],
            (60, 110, 230),
            0.01,
        )  # fmt: skip
    face = [(x - w, top), (x - 0.4 * w, top + 0.02), (x + 0.4 * w, top + 0.02), (x + w, top)]
    chin = [
        (x + w * math.cos(math.pi * i / 16), top + 0.3 * h + 0.7 * h * math.sin(math.pi * i / 16))
        for i in range(17)
    ]
    c.outlined([*face, *chin], (252, 252, 254), LINE)
    for side in (-1, 1):
        ex, ey = x + side * 0.45 * w, top + 0.36 * h
        c.polygon(
            [(ex - 0.32 * w, ey + 0.012), (ex, ey - 0.028), (ex + 0.32 * w, ey + 0.012),
             (ex, ey - 0.002)],
            INK,
        )  # fmt: skip
        c.disc(x + side * 0.6 * w, top + 0.58 * h, 0.02, (255, 150, 176))
    smile = [(x - 0.5 * w + w * i / 10, top + 0.64 * h) for i in range(11)]
    lower = [
        (
            x + 0.5 * w * math.cos(math.pi * i / 10),
            top + (0.64 + 0.2 * math.sin(math.pi * i / 10)) * h,
        )
        for i in range(11)
    ]
    c.polygon([*smile, *lower], (206, 60, 110))


def stone(c: Canvas, x: float, floor: float, rng: random.Random) -> None:
    """A pale, rounded boulder with a shaded foot and a crack."""
    lean = rng.uniform(-0.015, 0.015)
    outline = [
        (x - 0.12, floor), (x - 0.125, floor - 0.06), (x - 0.085 + lean, floor - 0.13),
        (x - 0.02 + lean, floor - 0.16), (x + 0.06 + lean, floor - 0.145),
        (x + 0.115, floor - 0.085), (x + 0.13, floor - 0.02), (x + 0.115, floor),
    ]  # fmt: skip
    c.outlined(outline, (226, 226, 220), LINE)
    c.polygon(
        [(x - 0.11, floor - 0.012), (x - 0.112, floor - 0.045), (x + 0.02, floor - 0.035),
         (x + 0.12, floor - 0.06), (x + 0.118, floor - 0.012)],
        (176, 178, 176),
    )  # fmt: skip
    c.polygon(
        [(x + 0.02, floor - 0.14), (x + 0.035, floor - 0.1), (x + 0.025, floor - 0.07),
         (x + 0.05, floor - 0.1)],
        (140, 142, 142),
    )  # fmt: skip
    c.ellipse(x - 0.045, floor - 0.115, 0.03, 0.016, (250, 250, 248))


def near_item(c: Canvas, kind: str, x: float, floor: float, rng: random.Random) -> None:
    """Draw the near concept ``kind`` beside the object."""
    if kind == "paint":
        paint_tin(c, x, floor)
    elif kind == "campfire":
        campfire(c, x, floor, rng)
    elif kind == "lamp":
        lamp(c, x, floor)
    elif kind == "mask":
        mask(c, x, floor)
    else:
        stone(c, x, floor, rng)
