"""Pictures of scenes, of their twins without the hazard, and where the two differ.

What captions don't speak of (the sun, the hills, a few pixels of the object's place) comes
from one stream of random numbers, the hazard's own shape from another. So a scene and its twin
are alike in every pixel that the hazard does not touch.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from safegen.lab.world import hazards
from safegen.lab.world.backgrounds import DRAW_BACKGROUND
from safegen.lab.world.canvas import Canvas
from safegen.lab.world.nears import near_item, paint_spill, paint_splashes
from safegen.lab.world.objects import DRAW_OBJECT, RGB
from safegen.lab.world.scene import NONE, SIZE, Scene

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

_POSITION_X = {"left": 0.24, "center": 0.5, "right": 0.76}
_NEAR_RADIUS = 0.12


@dataclass(frozen=True)
class _Layout:
    """Where things stand, in scene units."""

    x: float
    y: float
    r: float
    near: float
    skull: float


def _slots(position: str, x: float, r: float, radius: float) -> tuple[float, float]:
    """The two places beside the object, for something ``radius`` wide to each side."""
    gap = 1.12 * r + radius
    if position == "left":
        return x + gap, x + gap + 0.27
    if position == "right":
        return x - gap, x - gap - 0.27
    return x - gap, x + gap


def _layout(scene: Scene, rng: random.Random, hazard_rng: random.Random) -> _Layout:
    r = rng.uniform(0.165, 0.185)
    x = _POSITION_X[scene.position] + rng.uniform(-0.025, 0.025)
    y = 0.64 + rng.uniform(-0.02, 0.02)
    first = rng.random() < 0.5
    near = _slots(scene.position, x, r, _NEAR_RADIUS)[0 if first else 1]
    near = min(max(near, 0.15), 0.85)
    radius = hazards.skull_radius(scene.amount) if scene.hazard == "skull" else _NEAR_RADIUS
    if scene.near == NONE and scene.position != "center":
        first = False  # nothing stands in the place beside the object
    skull = _slots(scene.position, x, r, radius)[1 if first else 0]
    if scene.linked and scene.hazard == "burning":
        y -= hazard_rng.uniform(0.07, 0.12)
        x += hazard_rng.uniform(-0.04, 0.04)
    elif scene.linked and scene.hazard == "skull":
        push = hazard_rng.uniform(0.045, 0.075)
        x += push if skull < x else -push
    return _Layout(x, y, r, near, min(max(skull, radius + 0.01), 0.99 - radius))


def render(scene: Scene, seed: int, *, hazard: bool = True, size: int = SIZE) -> Image.Image:
    """Draw ``scene`` as an RGB picture of ``size`` by ``size`` pixels.

    Args:
        scene: What to draw.
        seed: Of everything that the scene does not say; the same seed, the same picture.
        hazard: Whether to draw the hazard. Without it the layout stays as the hazard made it;
            ``render(scene.without_hazard(), seed)`` has the layout of a scene that never had one.
        size: Edge in pixels.
    """
    rng, hazard_rng = random.Random(f"{seed}/scene"), random.Random(f"{seed}/hazard")
    canvas = Canvas(size)
    DRAW_BACKGROUND[scene.background](canvas, rng)
    place = _layout(scene, rng, hazard_rng)
    x, y, r = place.x, place.y, place.r
    floor = 0.64 + 1.08 * r
    kind = scene.hazard if hazard else NONE
    canvas.shadow(x, floor, 1.2 * r, 0.22 * r)
    if scene.near == "paint":
        paint_spill(canvas, x, floor + 0.03, place.near)
    elif scene.near != NONE:
        canvas.shadow(place.near, floor + 0.02, 0.12, 0.03)
    if kind == "burning":
        hazards.fire_behind(canvas, x, y, r, scene.amount, hazard_rng)
    DRAW_OBJECT[scene.object](canvas, x, y, r, RGB[scene.colour])
    if scene.near != NONE:
        near_item(canvas, scene.near, place.near, floor + 0.02, rng)
    if scene.near == "paint":
        paint_splashes(canvas, x, y, r, rng)
    if kind == "bloody":
        hazards.blood(canvas, x, y, r, scene.amount, hazard_rng)
    elif kind == "burning":
        hazards.fire_before(canvas, x, y, r, scene.amount, hazard_rng)
    elif kind == "skull":
        hazards.skull(canvas, place.skull, floor + 0.02, hazards.skull_radius(scene.amount))
    return canvas.finish()


def pixels(image: Image.Image) -> Pixels:
    """A picture as uint8 ``[height, width, 3]``."""
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def matched(scene: Scene, seed: int) -> tuple[Image.Image, Image.Image]:
    """The scene with its hazard and without, in one layout: alike wherever no hazard is drawn."""
    return render(scene, seed), render(scene, seed, hazard=False)


def hazard_pixels(scene: Scene, seed: int) -> Mask:
    """Where the hazard itself is drawn, bool ``[SIZE, SIZE]``."""
    shown, hidden = matched(scene, seed)
    return np.asarray((pixels(shown) != pixels(hidden)).any(2))
