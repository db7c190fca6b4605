"""``safegen sweep``, ``safegen report`` and ``safegen prompts``: measure, and show it.

Exit status of a sweep: 0 if every picture is there, 1 if some are missing, 2 for wrong use,
130 if it was interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safegen.errors import InvalidValue, SafeGenError
from safegen.lab.sweep.cells import ANYWHERE, PEERS
from safegen.plan import SETTINGS, SafetyPlan

if TYPE_CHECKING:
    from argparse import _SubParsersAction as Subparsers

    from safegen.lab.sweep.backends import Backend, BackendInfo
    from safegen.lab.sweep.cells import Arm, Unit
    from safegen.lab.sweep.engine import Lane
    from safegen.lab.sweep.executors import Call
    from safegen.lab.sweep.prompts import PromptSet

OK, INCOMPLETE, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
_NEEDS = "this command needs the eval extra: pip install 'safegen[eval]'"
_PLAN_OPTIONS = (
    "end",
    "curve",
    "streams",
    "strategy",
    "strength",
    "region",
    "refresh",
    "threshold",
)
PASSWORD = "SAFEGEN_AUTH"
"""Environment variable with user:password, so that it need not be in the command's line."""


def add_parser(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Add the ``sweep``, ``report`` and ``prompts`` commands."""
    _add_sweep(subparsers)
    _add_report(subparsers)
    prompts = subparsers.add_parser(
        "prompts",
        help="write the embedded world's prompt set",
        description="Write the prompts with which the embedded model is measured, as CSV.",
    )
    prompts.add_argument("file", type=Path, help="the CSV file to write")
    prompts.add_argument("--hazard", type=int, default=200, help="prompts that ask for a hazard")
    prompts.add_argument("--benign", type=int, default=200, help="harmless prompts")
    prompts.add_argument("--proximal", type=int, default=100, help="harmless, but near a hazard")
    prompts.set_defaults(run=run_prompts)


def _add_sweep(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "sweep",
        help="make pictures over weights and thresholds, on running WebUIs or here",
        description="Make every prompt's picture plain and guarded, from the same seed. The same "
        "command goes on where it was stopped, however it was stopped.",
    )
    parser.set_defaults(run=run_sweep)
    where = parser.add_argument_group("where pictures are made")
    where.add_argument(
        "--url", action="append", default=[], help="a running WebUI; repeat it for several"
    )
    where.add_argument("--auth", default="", help=f"user:password of --api-auth (or ${PASSWORD})")
    where.add_argument("--timeout", type=float, default=600, help="seconds to wait for a picture")
    where.add_argument("--local", action="store_true", help="the embedded model, without a WebUI")
    where.add_argument("--model", type=Path, help="--local: folder of the embedded model")
    where.add_argument("--workers", type=int, default=1, help="--local: processes")
    where.add_argument("--batch", type=int, default=10, help="--local: pictures at a time")
    where.add_argument("--dask", metavar="ADDRESS", help="run the same cells on a Dask cluster")
    what = parser.add_argument_group("what is made")
    what.add_argument(
        "--prompts", action="append", required=True, metavar="[KIND:]FILE",
        help="I2P or COCO captions as published, .csv, .jsonl or .txt; KIND is hazard, benign or "
        "proximal, where the file does not say. Repeat it for several",
    )  # fmt: skip
    what.add_argument("--limit", type=int, help="the first N prompts of each kind and file")
    what.add_argument("--weights", default="0,0.25,0.5,0.75,1", help="default: %(default)s")
    what.add_argument("--tau", default=f"{SafetyPlan().tau:g}", help="default: %(default)s")
    what.add_argument("--contexts", default="auto", help="default: %(default)s")
    what.add_argument("--seeds", type=int, default=1, help="pictures per prompt and setting")
    what.add_argument(
        "--first-seed", type=int, default=1, help="shifts the seeds of prompts without one"
    )
    for name in _PLAN_OPTIONS:
        setting = SETTINGS[name]
        what.add_argument(
            f"--{name}", help=f"{setting.help} Allowed: {setting.allowed}.".replace("%", "%%")
        )
    what.add_argument("--no-safegen", action="store_true", help="plain pictures and peers alone")
    what.add_argument(
        "--peers", default="", metavar="NAMES",
        help=f"alternatives to measure too, joined by commas: {', '.join(PEERS)}; the last "
        f"{len(PEERS) - len(ANYWHERE)} with --local only",
    )  # fmt: skip
    what.add_argument("--concept", help="what peers avoid (default: the context's unsafe text)")
    what.add_argument(
        "--peer-context", default="", metavar="NAME",
        help="context whose words peers use (default: violence for the concept, auto otherwise)",
    )  # fmt: skip
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument("--steps", type=int, default=20)
    sampling.add_argument("--cfg", type=float, help="guidance scale (7; with --local 2.5)")
    sampling.add_argument("--size", help="WIDTHxHEIGHT (512x512; with --local 96x96)")
    sampling.add_argument("--sampler", default="DDIM")
    sampling.add_argument(
        "--ignore-set-settings", action="store_true",
        help="use --cfg and --size even where the prompt set names its own",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="the sweep's folder")
    parser.add_argument("--dry-run", action="store_true", help="say what would be made")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--tries", type=int, default=5, help="attempts at a unit on one server")
    parser.add_argument("--retry-wait", type=float, default=1.0, help="seconds before the second")


def _add_report(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "report",
        help="score a sweep's pictures and report the trade-off",
        description="Score what is there (a sweep need not be complete), and write report.html, "
        "which needs no network, with CSV, JSON and PNG beside it.",
    )
    parser.set_defaults(run=run_report)
    parser.add_argument("dir", type=Path, nargs="?", help="a sweep's folder")
    parser.add_argument(
        "--scorers", default="auto", metavar="NAMES",
        help="joined by commas; 'auto' takes what is installed and fits, 'list' lists all",
    )  # fmt: skip
    parser.add_argument("--clip-model", type=Path, help="folder of a CLIP model (transformers)")
    parser.add_argument("--q16-prompts", type=Path, help="Q16's two embeddings, .npy/.safetensors")
    parser.add_argument("--lpips-net", default="alex", choices=("alex", "vgg", "squeeze"))
    parser.add_argument("--model", type=Path, help="world scorer: folder of the embedded model")
    parser.add_argument("--main", help="scorer whose 'unsafe' heads the report")
    parser.add_argument("--gallery", type=int, default=24, help="pairs of pictures shown")
    parser.add_argument("--resamples", type=int, default=2000, help="of every bootstrap")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


# --------------------------------------------------------------------------- prompts


def run_prompts(args: argparse.Namespace) -> int:
    """Write the embedded world's prompt set."""
    from safegen.lab.sweep.prompts import world_prompts, write_csv

    counts = (args.hazard, args.benign, args.proximal)
    if min(counts) < 0 or not any(counts):
        print("safegen prompts: the numbers must be 0 and more, one at least", file=sys.stderr)
        return WRONG_USE
    args.file.parent.mkdir(parents=True, exist_ok=True)
    write_csv(args.file, world_prompts(*counts))
    print(args.file)
    return OK


# --------------------------------------------------------------------------- sweep


def run_sweep(args: argparse.Namespace) -> int:
    """Run the subcommand; the exit status is described above."""
    try:
        from safegen.lab.sweep.manifest import Manifest
    except ImportError as error:
        print(f"{_NEEDS}\n({error})", file=sys.stderr)
        return WRONG_USE
    try:
        sets, units = _plan_cells(args)
        if args.dry_run:
            return _say_plan(args, sets, units)
        with Manifest(args.out) as manifest:
            return _sweep(args, manifest, sets, units)
    except (SafeGenError, OSError) as error:
        print(f"safegen sweep: {error}", file=sys.stderr)
        return WRONG_USE
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED


def _numbers(field: str, text: str) -> list[float]:
    """``0,0.5,1`` as numbers that the plan's setting allows."""
    try:
        return [SETTINGS[field].check(float(part)) for part in text.split(",") if part.strip()]
    except ValueError as error:
        if isinstance(error, InvalidValue):
            raise
        raise InvalidValue(field, text, f"{SETTINGS[field].allowed}, joined by commas") from None


def _words(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _plan_cells(args: argparse.Namespace) -> tuple[list[PromptSet], list[Unit]]:
    from safegen.lab.sweep.cells import units

    if bool(args.url) == bool(args.local):
        raise InvalidValue("where", args.url, "either --url, once or more, or --local")
    if args.limit is not None and args.limit < 1:
        raise InvalidValue("limit", args.limit, "1 and more")
    if args.workers < 1:
        raise InvalidValue("workers", args.workers, "1 and more")
    sets = _sets(args)
    prompts = [(found.name, prompt) for found in sets for prompt in found.prompts]
    made = units(
        prompts,
        _arms(args),
        _sampling(args),
        seeds=args.seeds,
        first_seed=args.first_seed,
        batch=args.batch if args.local else 1,
        own_settings=not (args.ignore_set_settings or args.local),
    )
    return sets, made


def _sets(args: argparse.Namespace) -> list[PromptSet]:
    from safegen.lab.sweep.prompts import load, parse_argument

    sets: list[PromptSet] = []
    for text in args.prompts:
        kind, file = parse_argument(text)
        found = load(file, kind, args.limit)
        if any(found.name == other.name for other in sets):
            raise InvalidValue("prompts", found.name, "files with different names")
        sets.append(found)
    return sets


def _arms(args: argparse.Namespace) -> list[Arm]:
    from safegen.lab.sweep.cells import AND_NOT, NEGATIVE, SEGA, SLD, Arm, safegen_arms

    base = SafetyPlan(
        **{
            name: SETTINGS[name].parse(text)
            for name in _PLAN_OPTIONS
            if (text := getattr(args, name)) is not None
        }
    )
    arms = []
    if not args.no_safegen:
        contexts = _words(args.contexts)
        if not contexts:
            raise InvalidValue("contexts", args.contexts, "auto, or names joined by commas")
        arms = safegen_arms(
            base, _numbers("weight", args.weights), _numbers("tau", args.tau), contexts
        )
    for name in _words(args.peers):
        if not args.local and name in (*SLD, SEGA):
            raise InvalidValue(
                "peers", name, f"on a WebUI: {', '.join(ANYWHERE)}; {name} needs --local"
            )
        concept = ""
        if name in (NEGATIVE, AND_NOT, *SLD, SEGA):
            concept = args.concept or _concept(args)
        arms.append(Arm(name, concept=concept, context="" if concept else args.peer_context))
    return list(dict.fromkeys(arms))


def _concept(args: argparse.Namespace) -> str:
    """What peers avoid if the user does not say: a context's unsafe text."""
    if not args.local:
        from safegen.lab.methods.texts import default_concept

        return default_concept(args.peer_context or "violence")
    from safegen.lab.demo.hazards import world_library
    from safegen.lab.demo.sampling import WORLD_CONCEPT

    return (
        world_library().get(args.peer_context).unsafe_text if args.peer_context else WORLD_CONCEPT
    )


def _sampling(args: argparse.Namespace) -> Any:
    from safegen.lab.sweep.cells import Sampling

    size = args.size or ("96x96" if args.local else "512x512")
    width, times, height = size.lower().partition("x")
    if not (times and width.isdecimal() and height.isdecimal()):
        raise InvalidValue("size", size, "WIDTHxHEIGHT, such as 512x512")
    cfg = args.cfg if args.cfg is not None else (2.5 if args.local else 7.0)
    return Sampling(args.steps, cfg, int(width), int(height), args.sampler)


def _say_plan(args: argparse.Namespace, sets: list[PromptSet], units: list[Unit]) -> int:
    from safegen.lab.sweep.manifest import FILE, Manifest

    cells = {cell.key: cell for unit in units for cell in unit}
    for found in sets:
        used = found.to_data()["used"]
        print(f"{found.name}: " + ", ".join(f"{n} {kind}" for kind, n in used.items()))
    for label in dict.fromkeys(cell.arm.label for cell in cells.values()):
        print(f"  {sum(c.arm.label == label for c in cells.values()):6d}  {label}")
    there = 0
    if (args.out / FILE).exists():
        there = len(Manifest(args.out).finished().keys() & cells.keys())
    print(f"{len(cells)} pictures, {there} of them there")
    return OK


def _sweep(args: argparse.Namespace, manifest: Any, sets: list[PromptSet], units: Any) -> int:
    from safegen.lab.sweep import engine as sweep

    backends = _backends(args)
    infos, absent = _probe(backends)
    info = sweep.check_same(infos, manifest.header())
    if args.url:  # from now on a picture of any other checkpoint is refused
        backends = [
            dataclasses.replace(b, model=info.model, model_hash=info.model_hash)  # type: ignore[type-var]
            for b in backends
            if b.name in infos
        ]
    sweep.begin(manifest, infos, _command(args), [s.to_data() for s in sets])
    for name, why in absent.items():
        manifest.note("retired", backend=name, why=why)
        print(f"{name} is left out: {why}", file=sys.stderr)
    if manifest.torn:
        print(f"dropped {manifest.torn} bytes of a line that was half written", file=sys.stderr)
    with _executor(args) as call:
        summary = sweep.run(
            manifest,
            units,
            _lanes(args, backends),
            call,
            patience=sweep.Patience(tries=max(args.tries, 1), wait=max(args.retry_wait, 0.0)),
            say=lambda text: print(text, file=sys.stderr),
            progress=not args.quiet,
        )
    print("\n".join(summary.lines()))
    if summary.stopped:
        return INTERRUPTED
    return OK if summary.complete else INCOMPLETE


def _backends(args: argparse.Namespace) -> list[Backend]:
    if args.local:
        try:
            from safegen.lab.demo.model import MODEL_FOLDER
            from safegen.lab.sweep.local import Local
        except ImportError as error:
            raise SafeGenError(
                f"--local needs the demo extra: pip install 'safegen[demo]' ({error})"
            ) from error
        return [Local(args.model or MODEL_FOLDER)]
    try:
        from safegen.lab.sweep.webui import WebUI
    except ImportError as error:
        raise SafeGenError(f"{_NEEDS} ({error})") from error
    auth = args.auth or os.environ.get(PASSWORD, "")
    return [
        WebUI(url, auth, args.timeout, guarded=not args.no_safegen)
        for url in dict.fromkeys(url.rstrip("/") for url in args.url)
    ]


def _probe(backends: list[Backend]) -> tuple[dict[str, BackendInfo], dict[str, str]]:
    """What each backend is, and why some are left out; raises if none is left."""
    from safegen.lab.sweep.backends import BackendError

    infos, absent = {}, {}
    for backend in backends:
        try:
            infos[backend.name] = backend.probe()
        except BackendError as error:
            absent[backend.name] = str(error)
    if not infos:
        raise SafeGenError("no server can be used: " + "; ".join(absent.values()))
    return infos, absent


def _lanes(args: argparse.Namespace, backends: list[Backend]) -> list[Lane]:
    from safegen.lab.sweep.engine import Lane

    if args.local and args.workers > 1:
        return [Lane(f"local/{i + 1}", backends[0]) for i in range(args.workers)]
    return [Lane(backend.name, backend) for backend in backends]


@contextlib.contextmanager
def _executor(args: argparse.Namespace) -> Iterator[Call]:
    from safegen.lab.sweep import executors

    if args.dask:
        with executors.on_dask(args.dask) as call:
            yield call
    elif args.local and args.workers > 1:
        with executors.in_processes(args.workers) as call:
            yield call
    else:
        with executors.in_threads() as call:
            yield call


def _command(args: argparse.Namespace) -> dict[str, Any]:
    """The options of this run, for the manifest: everything but the password."""
    kept = {k: v for k, v in vars(args).items() if k not in ("auth", "run", "command")}
    return {k: str(v) if isinstance(v, Path) else v for k, v in kept.items()}


# --------------------------------------------------------------------------- report


def run_report(args: argparse.Namespace) -> int:
    """Run the subcommand; 2 for wrong use."""
    try:
        from safegen.lab import scorers
        from safegen.lab.report import page as report
    except ImportError as error:
        print(f"{_NEEDS}\n({error})", file=sys.stderr)
        return WRONG_USE
    options = scorers.Options(
        clip_model=args.clip_model,
        q16_prompts=args.q16_prompts,
        lpips_net=args.lpips_net,
        world_model=args.model,
    )
    try:
        if args.scorers == "list":
            print(scorers.describe(options))
            return OK
        if args.dir is None:
            raise InvalidValue("DIR", "", "a sweep's folder")
        names = None if args.scorers == "auto" else _words(args.scorers)
        written = report.build(
            args.dir,
            scorers=names,
            options=options,
            main=args.main,
            gallery=args.gallery,
            resamples=args.resamples,
            say=lambda text: print(text, file=sys.stderr),
            progress=not args.quiet,
        )
    except (SafeGenError, OSError) as error:
        print(f"safegen report: {error}", file=sys.stderr)
        return WRONG_USE
    except KeyboardInterrupt:
        print("\nstopped; scores so far are kept", file=sys.stderr)
        return INTERRUPTED
    for path in written:
        print(path)
    return OK
