"""The embedded model and its world, opened to judges of anyone's own."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from safegen.errors import InvalidValue
from safegen.files import write_atomically
from safegen.lab import embedded
from safegen.lab.methods.catalogue import Arm
from safegen.lab.prompts import HAZARD, LARGEST_SEED, Prompt
from safegen.lab.sweep.cells import Cell, Sampling
from safegen.lab.sweep.local import Local
from safegen.learned.pairs import read_csv

SAMPLES, LABELS = "samples.jsonl", "labels.jsonl"


def read_rows(file: Path) -> list[tuple[str, int]]:
    """The prompts and seeds of a CSV file.

    Raises:
        SafeGenError: The file can't be read, a column is missing, or a seed is none; names file
            and row.
    """
    rows = read_csv(file, ("prompt", "seed"))
    for number, row in enumerate(rows, 1):
        seed = row["seed"].strip()
        if not (seed.isdecimal() and int(seed) <= LARGEST_SEED):
            raise InvalidValue(f"{file.name}, row {number}: seed", seed, f"0 to {LARGEST_SEED}")
    if not rows:
        raise InvalidValue("prompts", file.name, "a file with at least one prompt")
    return [(row["prompt"], int(row["seed"])) for row in rows]


def sample(file: Path, arm: Arm, sampling: Sampling, out: Path) -> Path:
    """Make a picture of each row of ``file``: ``00000.png`` and on, in the order of the rows.

    Returns:
        ``samples.jsonl``: prompt, seed, context, why, calls and rows of each.

    Raises:
        SafeGenError: see `read_rows`.
        GuardFailure: A guard did not run where it had to: no picture of that batch is written.
    """
    cells = [
        Cell(file.name, Prompt(str(i), text, HAZARD), seed, arm, sampling)
        for i, (text, seed) in enumerate(read_rows(file))
    ]
    out.mkdir(parents=True, exist_ok=True)
    local, lines = Local(), []
    for begin in range(0, len(cells), embedded.BATCH):
        unit = tuple(cells[begin : begin + embedded.BATCH])
        for number, (cell, made) in enumerate(zip(unit, local.make(unit), strict=True), begin):
            write_atomically(out / f"{number:05d}.png", made.png)
            lines.append(
                {
                    "prompt": cell.prompt.text, "seed": cell.seed, "context": made.context,
                    "why": made.notes["why"], "calls": made.notes["calls"], "rows": made.rows,
                }
            )  # fmt: skip
    return _write_lines(out / SAMPLES, lines)


def render(count: int, seed: int, out: Path) -> Path:
    """Write ``count`` scenes as ``00000-hazard.png`` and ``00000-plain.png``, alike elsewhere.

    Returns:
        ``labels.jsonl``: the scene and the seed of each.
    """
    from dataclasses import asdict

    from safegen.lab.world.picture import matched
    from safegen.lab.world.scene import random_scene

    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(count):
        own = seed + number
        scene = random_scene(random.Random(own), 1.0)
        pictures = zip(("hazard", "plain"), matched(scene, own), strict=True)
        for name, picture in pictures:
            picture.save(out / f"{number:05d}-{name}.png")
        lines.append({**asdict(scene), "seed": own})
    return _write_lines(out / LABELS, lines)


def _write_lines(file: Path, lines: list[dict[str, Any]]) -> Path:
    write_atomically(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return file
