"""A canvas in scene units, and the shapes that all drawings share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

_SUPERSAMPLE = 3
INK = (34, 30, 44)
LINE = 0.016
"""Width of an outline."""

Colour = tuple[int, int, int]
Points = list[tuple[float, float]]


class Canvas:
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
            [*scaled, *scaled[:2]], fill=INK, width=round(width * self.edge), joint="curve"
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

    def glow(self, x: float, y: float, radius: float, fill: Colour, strength: float) -> None:
        """A soft disc of light, ``strength`` (0 to 1) at its middle."""
        soft = Image.new("L", self.image.size)
        box = self.points([(x - radius, y - radius), (x + radius, y + radius)])
        ImageDraw.Draw(soft).ellipse([*box[0], *box[1]], fill=round(255 * strength))
        soft = soft.filter(ImageFilter.GaussianBlur(0.45 * radius * self.edge))
        self.image.paste(fill, (0, 0), soft)

    def shadow(self, x: float, y: float, rx: float, ry: float) -> None:
        """A soft shadow on the ground."""
        soft = Image.new("L", self.image.size)
        box = self.points([(x - rx, y - ry), (x + rx, y + ry)])
        ImageDraw.Draw(soft).ellipse([*box[0], *box[1]], fill=90)
        soft = soft.filter(ImageFilter.GaussianBlur(0.012 * self.edge))
        self.image.paste(INK, (0, 0), soft)

    def finish(self) -> Image.Image:
        return self.image.resize((self.size, self.size), Image.Resampling.BOX)


def circle(x: float, y: float, r: float, n: int = 40) -> Points:
    """A circle as a polygon."""
    return [
        (x + r * math.cos(2 * math.pi * i / n), y + r * math.sin(2 * math.pi * i / n))
        for i in range(n)
    ]


def shade(colour: Colour, factor: float) -> Colour:
    """Darker for ``factor`` < 1, towards white above."""
    if factor <= 1:
        return tuple(round(c * factor) for c in colour)  # type: ignore[return-value]
    return tuple(round(c + (255 - c) * (factor - 1)) for c in colour)  # type: ignore[return-value]
