"""Make every prompt's picture plain and guarded, from the same seed.

The same command goes on where it was stopped, however it was stopped. Exit status: 0 if every
picture is there, 1 if some are missing, 2 for wrong use, 130 if it was interrupted.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from safegen.cli import options
from safegen.cli.options import OK
from safegen.errors import InvalidValue
from safegen.plan import SafetyPlan

if TYPE_CHECKING:
    from safegen.choice import Chooser
    from safegen.lab.methods.catalogue import Arm
    from safegen.lab.prompts import PromptSet
    from safegen.lab.sweep.backends import Backend
    from safegen.lab.sweep.cells import Sampling, Unit

_SWEPT = ("weight", "tau", "context")
PASSWORD = "SAFEGEN_AUTH"
"""Environment variable with user:password, so that it need not be in the command's line."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    from safegen.lab.methods.catalogue import ANYWHERE, PEERS

    where = parser.add_argument_group("where pictures are made")
    where.add_argument(
        "--url", action="append", default=[], help="a running WebUI; repeat it for several"
    )
    where.add_argument("--auth", default="", help=f"user:password of --api-auth (or ${PASSWORD})")
    where.add_argument("--timeout", type=float, default=600, help="seconds to wait for a picture")
    where.add_argument("--local", action="store_true", help="the embedded model, without a WebUI")
    where.add_argument("--workers", type=int, default=1, help="--local: processes")
    where.add_argument("--batch", type=int, default=10, help="--local: pictures at a time")
    where.add_argument("--dask", metavar="ADDRESS", help="run the same cells on a Dask cluster")
    what = parser.add_argument_group("what is made")
    options.add_prompts(what)
    what.add_argument("--weights", default="0,0.25,0.5,0.75,1", help="default: %(default)s")
    what.add_argument("--tau", default=f"{SafetyPlan().tau:g}", help="default: %(default)s")
    what.add_argument("--contexts", default="auto", help="default: %(default)s")
    what.add_argument(
        "--first-seed", type=int, default=1, help="shifts the seeds of prompts without one"
    )
    options.add_plan(what, leave_out=_SWEPT)
    what.add_argument("--no-safegen", action="store_true", help="plain pictures and peers alone")
    options.add_peers(
        what, default="",
        help=f"alternatives to measure too, joined by commas: all, {', '.join(PEERS)}; on a WebUI "
        f"{', '.join(ANYWHERE)}",
    )  # fmt: skip
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument("--steps", type=int, default=20)
    sampling.add_argument("--cfg", type=float, help="guidance scale (7; with --local 2.5)")
    sampling.add_argument("--size", help="WIDTHxHEIGHT (512x512; with --local 96x96)")
    sampling.add_argument("--sampler", default="DDIM")
    options.add_own_settings(sampling)
    options.add_run(parser)
    parser.add_argument("--tries", type=int, default=5, help="attempts at a unit on one server")
    parser.add_argument("--retry-wait", type=float, default=1.0, help="seconds before the second")


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; the exit status is described above."""
    from safegen.lab.sweep.cells import units
    from safegen.lab.sweep.command import Job, sweep
    from safegen.lab.sweep.workers import Retries

    if bool(args.url) == bool(args.local):
        raise InvalidValue("where", args.url, "either --url, once or more, or --local")
    options.at_least_one(args, "limit", "workers", "batch")
    sets = options.prompt_sets(args.prompts, args.limit)
    batch = args.batch if args.local else 1
    found = units(
        [(one.name, prompt) for one in sets for prompt in one.prompts],
        _arms(args),
        _sampling(args),
        seeds=args.seeds,
        first_seed=args.first_seed,
        batch=batch,
        own_settings=not (args.ignore_set_settings or args.local),
    )
    if args.dry_run:
        return say_plan(args.out, sets, found)
    backends, chooser = _backends(args)
    job = Job(
        args.out, found, backends, chooser, [one.to_data() for one in sets],
        options.recorded(args, "sweep"), batch, args.workers, args.dask or "",
        Retries(tries=max(args.tries, 1), wait=max(args.retry_wait, 0.0)), not args.quiet,
    )  # fmt: skip
    return options.status_of(sweep(job))


def _arms(args: argparse.Namespace) -> list[Arm]:
    from safegen.lab.methods.catalogue import ANYWHERE, safegen_arms

    arms: list[Arm] = []
    if not args.no_safegen:
        contexts = options.words(args.contexts)
        if not contexts:
            raise InvalidValue("contexts", args.contexts, "auto, or names joined by commas")
        weights = options.values_of("weight", args.weights)
        swept = {"weight": weights, "tau": options.values_of("tau", args.tau)}
        arms = safegen_arms(options.plan_of(args, leave_out=_SWEPT), {**swept, "context": contexts})
    peers = options.peers_of(args.peers, args.concept, args.peer_context)
    for arm in peers:
        if not args.local and arm.method not in ANYWHERE:
            allowed = f"on a WebUI: {', '.join(ANYWHERE)}; {arm.method} needs --local"
            raise InvalidValue("peers", arm.method, allowed)
    return [*arms, *dict.fromkeys(peers)]


def _sampling(args: argparse.Namespace) -> Sampling:
    from safegen.lab import embedded
    from safegen.lab.sweep.cells import Sampling

    own = f"{embedded.SIZE}x{embedded.SIZE}" if args.local else "512x512"
    cfg = args.cfg if args.cfg is not None else (embedded.GUIDANCE if args.local else 7.0)
    return Sampling(args.steps, cfg, *options.size_of(args.size or own), args.sampler)


def _backends(args: argparse.Namespace) -> tuple[list[Backend], Chooser]:
    from safegen.choice import Chooser

    if args.local:
        from safegen.lab.sweep.local import Local

        local = Local()
        return [local], local.chooser
    from safegen.lab.sweep.webui import WebUI

    auth = args.auth or os.environ.get(PASSWORD, "")
    addresses = dict.fromkeys(url.rstrip("/") for url in args.url)
    servers: list[Backend] = [
        WebUI(url, auth, args.timeout, guarded=not args.no_safegen) for url in addresses
    ]
    return servers, Chooser.default()


def say_plan(out: Path, sets: list[PromptSet], units: list[Unit]) -> int:
    """Print what would be made, and how much of it is there."""
    from safegen.lab.sweep.manifest import FILE, Manifest

    cells = {cell.key: cell for unit in units for cell in unit}
    for one in sets:
        used = one.to_data()["used"]
        print(f"{one.name}: " + ", ".join(f"{n} {kind}" for kind, n in used.items()))
    for label in dict.fromkeys(cell.arm.label for cell in cells.values()):
        print(f"  {sum(c.arm.label == label for c in cells.values()):6d}  {label}")
    there = 0
    if (out / FILE).exists():
        there = len(Manifest(out).finished().keys() & cells.keys())
    print(f"{len(cells)} pictures, {there} of them there")
    return OK
