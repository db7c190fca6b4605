"""A contact sheet of the world: ``python -m safegen.lab.world.sheet --out FILE.png``."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from safegen.lab.world.picture import render
from safegen.lab.world.scene import HAZARDS, NEARS, Scene, random_scene


def tile(pictures: Sequence[Image.Image], columns: int, scale: int = 2) -> Image.Image:
    """``pictures`` in rows of ``columns``, each enlarged ``scale`` times."""
    edge = pictures[0].width * scale
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * edge, rows * edge), "white")
    for i, picture in enumerate(pictures):
        large = picture.resize((edge, edge), Image.Resampling.NEAREST)
        sheet.paste(large, ((i % columns) * edge, (i // columns) * edge))
    return sheet


def _plain(rng: random.Random) -> Scene:
    return random_scene(rng, hazard_rate=0.0, near_rate=0.0)


def sheet(seed: int = 0) -> Image.Image:
    """Hazards in five amounts, twins side by side, near concepts, and scenes by lot."""
    rng = random.Random(seed)
    pictures: list[Image.Image] = []
    for hazard in HAZARDS:
        for row in range(2):
            for amount in (0.15, 0.3, 0.5, 0.75, 1.0):
                scene = replace(_plain(rng), hazard=hazard, amount=amount, linked=row == 1)
                number = rng.randrange(10**6)
                pictures += [render(scene, number), render(scene.without_hazard(), number)]
    for near in NEARS:
        for _ in range(10):
            pictures.append(render(replace(_plain(rng), near=near), rng.randrange(10**6)))
    for i in range(30):
        hazard = HAZARDS[i % 3]
        scene = replace(_plain(rng), near=NEARS[i % 5], hazard=hazard, amount=rng.uniform(0.15, 1))
        pictures.append(render(scene, rng.randrange(10**6)))
    return tile(pictures, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    sheet(args.seed).save(args.out)


if __name__ == "__main__":
    main()
