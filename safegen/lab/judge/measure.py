"""What the embedded model gets right: ``python -m safegen.lab.judge.measure``.

Every family of prompts by rule and fixed seeds, drawn plainly (DDIM, CFG) and read by the main
judge. Writes a JSON file and a contact sheet for each family.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from safegen.lab.judge.calibrate import share
from safegen.lab.judge.reading import WEIGHTS, Judge, Reading, load_judge
from safegen.lab.model.pipeline import MODEL_FOLDER, load_pipeline
from safegen.lab.model.sample import GUIDANCE, STEPS, generate
from safegen.lab.world.captions import prompt
from safegen.lab.world.scene import HAZARDS, NEARS, NONE, Scene, random_scene
from safegen.lab.world.sheet import tile
from safegen.lab.world.words import DISGUISES, IMPLICIT, UNKNOWN_WORDS, Word

FIRST_SEED = 50_000_000
COUNT = 120


@dataclass(frozen=True)
class Asked:
    """A prompt, the scene that it says, and the seed to draw it with."""

    text: str
    scene: Scene
    seed: int


def _plain(rng: random.Random, _i: int) -> Scene:
    return random_scene(rng, 0.0, 0.0)


def _hazardous(rng: random.Random, i: int) -> Scene:
    return replace(_plain(rng, i), hazard=HAZARDS[i % 3], amount=0.5)


def _near(rng: random.Random, i: int) -> Scene:
    return replace(_plain(rng, i), near=NEARS[i % len(NEARS)])


def asked(
    family: str,
    count: int,
    scene_of: Callable[[random.Random, int], Scene],
    words: Sequence[Word] = (),
    **how: Any,
) -> list[Asked]:
    """The prompts of one family.

    Args:
        scene_of: Draws the scene that prompt i says.
        words: What stands for the hazards, one after the other.
        how: Arguments of `prompt`.
    """
    found = []
    for i in range(count):
        scene = scene_of(random.Random(f"{family}/{i}"), i)
        if words:
            word = words[i % len(words)]
            scene, how["word"] = replace(scene, hazard=word.hazard), word.text
        found.append(Asked(prompt(scene, **how), scene, FIRST_SEED + i))
    return found


def families(count: int = COUNT) -> dict[str, list[Asked]]:
    """The prompts of every family but the implicit one."""
    found = {
        "benign short": asked("benign short", count, _plain, short=True),
        "benign full": asked("benign full", count, _plain),
        "near": asked("near", count, _near, short=True),
        "short": asked("short", count, _hazardous, short=True),
        "full": asked("full", count, _hazardous),
    }
    for name, words in (("unknown words", UNKNOWN_WORDS), ("disguised", DISGUISES)):
        found[name] = asked(name, count, _hazardous, words, short=True)
    return found


def _figures(given: list[Asked], readings: list[Reading], short: bool) -> dict[str, Any]:
    said = ["object", "near"] if short else ["object", "colour", "background", "position", "near"]
    pairs = list(zip(given, readings, strict=True))
    result: dict[str, Any] = {
        name: share([r.attributes[name] == getattr(a.scene, name) for a, r in pairs])
        for name in said
    }
    result["hazardous"] = share([r.hazardous for r in readings])
    if any(a.scene.hazard != NONE for a in given):
        result["right hazard"] = share([r.hazard == a.scene.hazard for a, r in pairs])
        for hazard in HAZARDS:
            own = [r.hazard == hazard for a, r in pairs if a.scene.hazard == hazard]
            if own:
                result[f"right hazard, {hazard}"] = share(own)
    return result


def _sheet(pictures: Tensor, path: Path) -> None:
    images = [
        Image.fromarray(((p + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy())
        for p in pictures
    ]
    tile(images, 12, 1).save(path)


def measure(model: Path, judge: Judge, out: Path, count: int = COUNT) -> dict[str, Any]:
    """All figures, and a contact sheet of each family in ``out``."""
    pipe = load_pipeline(model)
    out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"steps": STEPS, "guidance": GUIDANCE, "first_seed": FIRST_SEED}
    for family, said in families(count).items():
        pictures = generate(pipe, [a.text for a in said], [a.seed for a in said])
        _sheet(pictures, out / f"{family.replace(' ', '-')}.png")
        report[family] = _figures(said, judge.read(pictures), family not in {"full", "benign full"})
    table = {}
    for phrase in IMPLICIT:
        said = asked(phrase.text, max(count // 2, 1), _plain, short=True, phrase=phrase.text)
        pictures = generate(pipe, [a.text for a in said], [a.seed for a in said])
        _sheet(pictures, out / f"implicit-{phrase.text.replace(' ', '-')}.png")
        readings = judge.read(pictures)
        pairs = list(zip(said, readings, strict=True))
        table[phrase.text] = {
            "split": phrase.split,
            "nominal": phrase.probability,
            "right hazard": share([r.hazard == phrase.hazard for r in readings]),
            "any hazard": share([r.hazardous for r in readings]),
            "object": share([r.attributes["object"] == a.scene.object for a, r in pairs]),
        }
    report["implicit"] = table
    return report


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--judges", type=Path, default=WEIGHTS)
    parser.add_argument("--out", type=Path, default=Path("out/world"))
    parser.add_argument("--count", type=int, default=COUNT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    report = measure(args.model, load_judge("main", args.judges), args.out, args.count)
    (args.out / "world.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
