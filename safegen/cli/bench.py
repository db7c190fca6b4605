"""Measure SafeGen and its peers on your own checkpoint and prompts, by your own judges.

Runs on any diffusers folder or .safetensors checkpoint of SD1, SD2 or SDXL, and prints the table
that papers of this field print. Exit status as of ``safegen sweep``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from safegen.cli import options
from safegen.cli.sweep import say_plan
from safegen.errors import Unsupported

if TYPE_CHECKING:
    from safegen.lab.methods.catalogue import Arm


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "--model", required=True,
        help="a diffusers folder, a .safetensors checkpoint, or 'embedded'",
    )  # fmt: skip
    parser.add_argument("--config", default="", help="a single file's configurations and "
                        "tokenizers, a diffusers folder (default: fetched once)")  # fmt: skip
    options.add_prompts(parser)
    options.add_peers(
        parser, default="all",
        help="default: %(default)s, those that the model allows; 'none' for SafeGen alone",
    )  # fmt: skip
    options.add_plan(parser)
    parser.add_argument("--own-contexts", type=Path, help="folder with contexts of your own")
    parser.add_argument("--device", default="cpu", help="as torch names it, such as cuda")
    parser.add_argument("--half", action="store_true", help="float16 instead of float32")
    parser.add_argument("--batch", type=int, default=4, help="pictures at a time")
    parser.add_argument("--workers", type=int, default=1, help="processes on this machine")
    parser.add_argument("--dask", metavar="ADDRESS", help="run on a Dask cluster instead")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--cfg", type=float, default=7.5, help="guidance scale")
    parser.add_argument("--size", default="512x512", help="WIDTHxHEIGHT (default: %(default)s)")
    parser.add_argument("--sampler", default="DDIM", help="default: %(default)s")
    options.add_own_settings(parser)
    options.add_scorers(parser)
    options.add_run(parser)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand."""
    from safegen.lab.sweep.cells import Sampling, units
    from safegen.lab.sweep.command import Job, sweep
    from safegen.lab.sweep.local import Local

    options.at_least_one(args, "limit", "batch", "workers")
    sets = options.prompt_sets(args.prompts, args.limit)
    contexts = str(args.own_contexts) if args.own_contexts else ""
    local = Local(args.model, args.device, args.half, contexts, args.config)
    found = units(
        [(one.name, prompt) for one in sets for prompt in one.prompts],
        _arms(args, local),
        Sampling(args.steps, args.cfg, *options.size_of(args.size), args.sampler),
        seeds=args.seeds,
        batch=args.batch,
        own_settings=not args.ignore_set_settings,
    )
    if args.dry_run:
        return say_plan(args.out, sets, found)
    summary = sweep(Job(
        args.out, found, [local], local.chooser, [one.to_data() for one in sets],
        options.recorded(args, "bench"), args.batch, args.workers, args.dask or "",
        progress=not args.quiet,
    ))  # fmt: skip
    status = options.status_of(summary)
    if summary.stopped:
        return status
    options.build_report(args, args.out)
    print((args.out / "report.md").read_text())
    return status


def _arms(args: argparse.Namespace, local: object) -> list[Arm]:
    """SafeGen by Auto, and every peer that the model allows; others are named and left out."""
    from safegen.lab.methods.apply import check_allowed
    from safegen.lab.methods.catalogue import SAFEGEN, TWIN, Arm
    from safegen.lab.sweep.local import Local

    assert isinstance(local, Local)
    arms = [Arm(TWIN), Arm(SAFEGEN, options.plan_of(args))]
    names = "" if args.peers.strip() == "none" else args.peers
    for arm in options.peers_of(names, args.concept, args.peer_context):
        try:
            check_allowed(arm, local.pipeline)
        except Unsupported as error:
            print(f"left out: {error}", file=sys.stderr)
        else:
            arms.append(arm)
    return arms
