"""What SafeGen costs in a model of real shapes: time, memory, and whether off is off.

    safegen demo install DIR --sd15
    python -m safegen.lab.studies.cost \\
        DIR/models/Stable-diffusion/safegen-world-sd15.safetensors \\
        --config DIR/models/safegen-world-sd15 --dtype bfloat16

Each row is a process of its own, in which the model is already loaded. Plain pictures and that
row's are made in turn, and each pair gives one ratio of processor times. Memory is what the process
needed at most while it made pictures, the model included. On Linux only.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

import safegen
from safegen.choice import Chooser
from safegen.detectors.model import ModelDetector
from safegen.detectors.protocol import MODEL
from safegen.hosts.diffusers.denoiser import PipelineDenoiser
from safegen.lab.embedded import GUIDANCE, watch
from safegen.lab.sweep.local import load
from safegen.learned.probe import fit
from safegen.plan import WATCH, WORDS

PROMPT, HARMLESS = "a bloody red ball on the beach", "a red ball on the beach"
WAYS: dict[str, tuple[str, dict[str, Any] | None]] = {
    "plain": (PROMPT, None),
    "weight 0": (PROMPT, {"weight": 0.0}),
    "Auto, guarded": (PROMPT, {"mode": WORDS}),
    "Watch, guarded": (PROMPT, {"mode": WATCH}),
    "Watch, harmless": (HARMLESS, {"mode": WATCH}),
}
"""What is asked for, and SafeGen's settings; ``None`` is the pipeline alone."""
PAIRS = 20
"""As many pairs of captions as the probe is fitted to: it has to be there, not to be good."""


@dataclass(frozen=True)
class Model:
    """What each process loads, and the pictures that it makes."""

    weights: str
    config: str
    dtype: str
    steps: int
    size: int


@dataclass(frozen=True)
class Cost:
    """What one way took."""

    ratios: tuple[float, ...]
    """Processor time of each picture beside the plain one that was made with it."""
    seconds: float
    """The plain picture's processor time, median."""
    peak: float
    """GiB at most while pictures were made."""
    largest: float
    """The largest difference to the plain picture, of 255."""


@cache
def loaded(model: Model) -> Any:
    """The pipeline."""
    pipe = load(model.weights, "cpu", half=False, config=model.config)
    return pipe.to(dtype=getattr(torch, model.dtype))


def measure(way: str, model: Model, runs: int) -> Cost:
    """One way's cost, in this process."""
    torch.set_num_threads(1)
    pipe = loaded(model)
    prompt, settings = WAYS[way]
    denoiser = PipelineDenoiser(pipe)
    every = watch.pairs()
    watches = settings is not None and settings.get("mode") == WATCH
    probe = fit(every[:: len(every) // PAIRS], denoiser) if watches else None
    words = Chooser.default()

    def chooser() -> Chooser:
        """As for a prompt that was not read before: what the model was asked is forgotten."""
        if probe is None:
            return words
        detector = ModelDetector(probe, PipelineDenoiser(pipe))
        return Chooser(words.library, {**words.detectors, MODEL: detector})

    def picture(guarded: bool, steps: int = model.steps) -> tuple[float, Any]:
        start = time.process_time()
        with (
            safegen.guard(pipe, chooser=chooser(), **settings)
            if guarded and settings is not None
            else nullcontext()
        ):
            made = pipe(
                prompt,
                num_inference_steps=steps,
                guidance_scale=GUIDANCE,
                height=model.size,
                width=model.size,
                generator=torch.Generator().manual_seed(1),
                output_type="np",
            )
        return time.process_time() - start, made.images[0]

    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    picture(guarded=False, steps=1)  # the first one is slower
    pairs = []
    for run in range(runs):
        first = bool(run % 2)
        made = {guarded: picture(guarded) for guarded in (first, not first)}
        pairs.append((made[False], made[True]))
    return Cost(
        tuple(own[0] / plain[0] for plain, own in pairs),
        statistics.median(plain[0] for plain, _ in pairs),
        peak(),
        max(float(abs(plain[1] - own[1]).max()) for plain, own in pairs) * 255,
    )


def peak() -> float:
    """The largest resident memory since the peak began anew, in GiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise OSError("/proc/self/status does not say VmHWM")
    return int(found[1]) / 2**20


def table(costs: dict[str, Cost]) -> str:
    """The rows in Markdown."""
    lines = [
        "| | time of plain, median (least to most) | peak memory | differs from plain by |",
        "| --- | --- | --- | --- |",
    ]
    for way, cost in costs.items():
        low, middle, high = min(cost.ratios), statistics.median(cost.ratios), max(cost.ratios)
        apart = f"{cost.largest:.0f} of 255" if cost.largest else "nothing"
        lines.append(
            f"| {way} | {middle:.2f} ({low:.2f} to {high:.2f}) | {cost.peak:.2f} GiB | {apart} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a .safetensors checkpoint, a diffusers folder or 'embedded'")
    parser.add_argument("--config", default="", help="a checkpoint's configurations")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=list(WAYS))
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--size", type=int, default=96, help="pixels of each edge")
    parser.add_argument("--runs", type=int, default=3, help="pairs of pictures")
    args = parser.parse_args(arguments)
    model = Model(args.model, args.config, args.dtype, args.steps, args.size)
    torch.set_num_threads(1)
    loaded(model)
    costs = {}
    for way in args.ways:
        with ProcessPoolExecutor(1, get_context("fork")) as own:
            costs[way] = own.submit(measure, way, model, args.runs).result()
        print(f"{way}: {costs[way]}", flush=True)
    plain = statistics.median(cost.seconds for cost in costs.values())
    print(f"\n{model.dtype}: a plain picture took {plain:.1f} s\n\n{table(costs)}")


if __name__ == "__main__":
    main()
