"""What the guard costs at SD1.5's size: time, memory, and whether off is off.

    python -m safegen.lab.model.sd15.measure DIR --dtype float32 bfloat16

``DIR`` is where ``safegen demo install DIR --sd15`` put the checkpoint.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import safegen
from safegen.lab.model.sample import GUIDANCE
from safegen.lab.model.sd15.checkpoint import NAME

PROMPT, HARMLESS = "a bloody red ball on the beach", "a red ball on the beach"


def load(folder: Path, dtype: torch.dtype) -> Any:
    """The checkpoint below ``folder`` as a pipeline of diffusers."""
    from diffusers import StableDiffusionPipeline

    models = folder / "models"
    pipe = StableDiffusionPipeline.from_single_file(
        str(models / "Stable-diffusion" / f"{NAME}.safetensors"),
        config=str(models / NAME),
        torch_dtype=dtype,
        local_files_only=True,
        safety_checker=None,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def peak() -> float:
    """The process's largest resident memory so far, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def measure(folder: Path, dtype: torch.dtype, steps: int, size: int, runs: int) -> None:
    """Print a row for the plain picture, guarded, off and harmless, each as soon as it is there."""
    pipe = load(folder, dtype)

    def picture(prompt: str) -> Any:
        return pipe(
            prompt,
            num_inference_steps=steps,
            guidance_scale=GUIDANCE,
            height=size,
            width=size,
            generator=torch.Generator().manual_seed(1),
            output_type="np",
        ).images

    def guarded(prompt: str, **settings: Any) -> Callable[[], Any]:
        def make() -> Any:
            with safegen.guard(pipe, **settings):
                return picture(prompt)

        return make

    rows: dict[str, tuple[str, Callable[[], Any]]] = {
        "plain": (PROMPT, lambda: picture(PROMPT)),
        "guarded": (PROMPT, guarded(PROMPT, context="violence")),
        "off": (PROMPT, guarded(PROMPT, enabled=False)),
        "weight 0": (PROMPT, guarded(PROMPT, weight=0.0)),
        "plain, harmless": (HARMLESS, lambda: picture(HARMLESS)),
        "Auto, harmless": (HARMLESS, guarded(HARMLESS)),
    }
    print(f"{dtype}, {steps} steps, {size} x {size}; {peak():.2f} GiB after loading", flush=True)
    picture(PROMPT)  # the first one is slower
    plain: dict[str, Any] = {}
    base = 0.0
    for name, (prompt, make) in rows.items():
        times = []
        for _ in range(runs):
            start = time.process_time()
            image = make()
            times.append(time.process_time() - start)
        taken = statistics.median(times)
        base = base or taken
        same = "identical" if (image == plain.setdefault(prompt, image)).all() else "differs"
        print(
            f"{name:15} {taken:8.2f} s processor time  {taken / base:5.2f}  "
            f"peak so far {peak():6.2f} GiB  {same}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--dtype", nargs="+", choices=("float32", "bfloat16"), default=["float32"])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    for name in args.dtype:
        measure(args.folder, getattr(torch, name), args.steps, args.size, args.runs)


if __name__ == "__main__":
    main()
