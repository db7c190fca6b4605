"""The demo: a sweep of the development split, its report, and a gallery."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from safegen.errors import InvalidValue
from safegen.lab import embedded
from safegen.lab.embedded import families
from safegen.lab.methods.catalogue import PEERS, SAFEGEN, TWIN, Arm
from safegen.lab.prompts import Prompt
from safegen.lab.report import charts, page
from safegen.lab.scorers.similarity import read
from safegen.lab.sweep.cells import Cell, Sampling, units
from safegen.lab.sweep.command import Job, sweep
from safegen.lab.sweep.engine import Summary
from safegen.lab.sweep.local import Local
from safegen.lab.sweep.manifest import FILE, Manifest
from safegen.lab.sweep.start import ConditionsChanged
from safegen.plan import SafetyPlan

SET = "development split"
SAMPLING = Sampling(embedded.STEPS, embedded.GUIDANCE, embedded.SIZE, embedded.SIZE)
WEIGHTS = (0.25, 0.5, 1.0)
SHOWN_PEERS = tuple(name for name in PEERS if name not in ("SLD weak", "SLD strong"))
"""All but two of the four levels of one peer: the demo has three minutes."""
GALLERY = ("full", "full", "full", "short", "benign full")
"""Of which families the rows of ``comparison.png`` are: the first prompts of each."""


def arms(plan: SafetyPlan) -> list[Arm]:
    """The dial, SafeGen told the right context as its peers are, and the peers."""
    weights = sorted({*WEIGHTS, plan.weight})
    dial = [Arm(SAFEGEN, plan.replace(weight=weight)) for weight in weights]
    return [Arm(TWIN), *dial, Arm(SAFEGEN, plan, told=True), *map(Arm, SHOWN_PEERS)]


def job(
    out: Path,
    found: Sequence[Prompt],
    ways: Sequence[Arm],
    *,
    name: str = SET,
    seeds: int = 1,
    sampling: Sampling = SAMPLING,
    workers: int = 0,
    by_family: bool = True,
    command: dict[str, Any] | None = None,
    progress: bool = True,
) -> Job:
    """A sweep of the embedded model over one of its own splits."""
    local = Local()
    work = units(
        [(name, prompt) for prompt in found], ways, sampling, seeds=seeds, batch=embedded.BATCH,
        by_family=by_family,
    )  # fmt: skip
    told = {"name": name, "sha256": families.digest(found), "rows": len(found)}
    return Job(
        out, work, [local], local.chooser, [told], command or {}, embedded.BATCH,
        workers or min(os.cpu_count() or 1, 8), progress=progress,
    )  # fmt: skip


def build(
    out: Path, plan: SafetyPlan, *, prompts: int = 6, progress: bool = True
) -> tuple[Summary, list[Path]]:
    """Make the sweep, its report and ``comparison.png`` under ``out``.

    A folder that other code, weights or contexts made is begun anew.

    Args:
        out: Folder, made if it is missing.
        plan: What "default" means.
        prompts: Of each family.
        progress: Whether to draw progress bars.

    Raises:
        OSError: The folder can't be written.
    """
    found = families.prompts(families.DEVELOPMENT, prompts)
    name = f"{SET}, {prompts} a family"
    work = job(
        out, found, arms(plan), name=name, by_family=False, command={"command": "demo"},
        progress=progress,
    )  # fmt: skip
    try:
        summary = sweep(work)
    except ConditionsChanged:
        (out / FILE).unlink()
        shutil.rmtree(out / "images", ignore_errors=True)
        summary = sweep(work)
    if summary.stopped:
        return summary, []
    written = page.build(out, progress=progress)
    return summary, [*gallery(out, plan), *written]


def gallery(out: Path, plan: SafetyPlan) -> list[Path]:
    """Draw ``comparison``: a prompt a row, the plain picture and one for each weight."""
    finished = Manifest(out).finished(check=False)
    dial = [arm for arm in arms(plan) if arm.method == SAFEGEN and not arm.told]
    rows: list[tuple[str, list[Any]]] = []
    taken: set[str] = set()
    for family in GALLERY:
        for made in finished.values():
            cell = made.cell
            keys = [cell.plain_key, *(cell.key_of(arm) for arm in dial)]
            fresh = cell.prompt.family == family and cell.prompt.id not in taken
            if fresh and all(key in finished for key in keys):
                taken.add(cell.prompt.id)
                rows.append((cell.prompt.text, [read(finished[key].path) for key in keys]))
                break
    if not rows:
        return []
    weights = [arm.plan.weight for arm in dial if arm.plan]
    columns = [f"{w:g}" + (" (default)" if w == plan.weight else "") for w in weights]
    drawing = charts.comparison(
        rows, ["original", *columns], title="One dial, same seed, same model",
        subtitle="SafeGen's weight on the embedded model, Auto choosing the context. "
        "The last row is harmless: nothing may change.",
        chosen=1 + weights.index(plan.weight),
    )  # fmt: skip
    return charts.save(drawing, out, "comparison")


def one_comparison(out: Path, text: str, plan: SafetyPlan, *, seed: int) -> list[Path]:
    """Make one prompt's picture plain and guarded, four seeds, and draw them side by side.

    Raises:
        InvalidValue: The prompt is empty.
    """
    if not text.strip():
        raise InvalidValue("prompt", text, "a text")
    out.mkdir(parents=True, exist_ok=True)
    rows, note = [], ""
    for label, arm in (("plain", Arm()), ("guarded", Arm(SAFEGEN, plan))):
        prompt = Prompt("1", text, "hazard")
        unit = tuple(Cell("demo", prompt, seed + i, arm, SAMPLING) for i in range(4))
        made = Local().make(unit)
        note = str(made[0].notes["why"])
        rows.append((label, [read(BytesIO(picture.png)) for picture in made]))
    drawing = charts.comparison(
        rows, [f"seed {seed + i}" for i in range(4)], title=text, subtitle=note
    )
    return charts.save(drawing, out, "prompt")
