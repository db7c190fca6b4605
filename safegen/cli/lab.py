"""The embedded model's pictures and renders for anyone, tuning and the test.

sample   the embedded model's pictures of your prompts, for judges of your own
render   pictures of the world's renderer, each with its hazard and without
tune     choose settings on the development split, SafeGen's and its peers', by the same budget
test     the test split, once for each change of method or default
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from safegen.cli import options
from safegen.cli.options import OK
from safegen.errors import InvalidValue
from safegen.plan import MODES, SETTINGS, SafetyPlan

VARIED = ("weight=0.85,1", "tau=0,0.1")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    actions = parser.add_subparsers(dest="action", required=True)
    sample = actions.add_parser("sample", help="pictures of your prompts by the embedded model")
    sample.add_argument("--prompts", type=Path, required=True, help="CSV: prompt, seed")
    sample.add_argument("--plan", default="null", help="the plan as JSON; null: plain pictures")
    sample.add_argument("--method", help="a peer instead of SafeGen")
    sample.add_argument("--steps", type=int, help="default: the demo's")
    sample.add_argument("--cfg", type=float, help="guidance scale (default: the demo's)")
    render = actions.add_parser("render", help="matched renders: with the hazard and without")
    render.add_argument("--count", type=int, required=True)
    render.add_argument("--seed", type=int, required=True)
    tune = actions.add_parser("tune", help="choose settings on the development split")
    tune.add_argument("--trials", type=int, default=6, help="settings tried for each method")
    tune.add_argument(
        "--vary", action="append", metavar="SETTING=VALUES",
        help="what else SafeGen is tried at, values joined by commas; repeat it for several "
        f"(default: {' and '.join(VARIED)})",
    )  # fmt: skip
    test = actions.add_parser("test", help="measure on the test split")
    test.add_argument("--steps", type=int, help="default: the demo's")
    test.add_argument("--tuned", type=Path, help="what 'lab tune' wrote: the peers' settings")
    test.add_argument("--ways", default=",".join(MODES), help="when SafeGen acts (%(default)s)")
    for one, count in ((tune, 24), (test, 200)):
        one.add_argument("--count", type=int, default=count, help="prompts a family")
        one.add_argument("--skip", type=int, default=0, help="prompts a family to leave out first")
        one.add_argument("--families", help="names joined by commas (default: all)")
        one.add_argument("--seeds", type=int, default=1 if one is tune else 3)
        one.add_argument("--methods", default="all", help="SafeGen and peers, joined by commas")
        one.add_argument("--workers", type=int, default=0, help="processes (default: the cores)")
        one.add_argument("--quiet", action="store_true", help="no progress bar")
    for one in (sample, render, tune, test):
        one.add_argument("--out", type=Path, required=True, help="folder for results")
    for one in (tune, test):
        options.add_plan(one)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand."""
    work = {"sample": _sample, "render": _render, "tune": _tune, "test": _test}
    return work[args.action](args)


def _plan(text: str) -> SafetyPlan | None:
    """A plan from JSON, ``None`` for null."""
    try:
        data = json.loads(text)
    except ValueError:
        raise InvalidValue("plan", text, "null, or the plan's settings as JSON") from None
    if data is None:
        return None
    if not isinstance(data, dict):
        raise InvalidValue("plan", text, "null, or the plan's settings as JSON")
    return SafetyPlan.from_dict(data)


def _sample(args: argparse.Namespace) -> int:
    from safegen.lab.methods.catalogue import PEERS, PLAIN, SAFEGEN, Arm
    from safegen.lab.studies import demo, opened
    from safegen.lab.sweep.cells import Sampling

    plan = _plan(args.plan)
    if args.method is not None:
        if plan is not None:
            raise InvalidValue("method", args.method, "with --plan null; a peer takes no plan")
        if args.method not in (PLAIN, *PEERS):
            raise InvalidValue("method", args.method, ", ".join((PLAIN, *PEERS)))
        arm = Arm(args.method)
    else:
        arm = Arm() if plan is None else Arm(SAFEGEN, plan)
    own = demo.SAMPLING
    sampling = Sampling(
        own.steps if args.steps is None else args.steps,
        own.guidance if args.cfg is None else args.cfg,
        own.width, own.height,
    )  # fmt: skip
    print(opened.sample(args.prompts, arm, sampling, args.out))
    return OK


def _render(args: argparse.Namespace) -> int:
    from safegen.lab.studies import opened

    options.at_least_one(args, "count")
    print(opened.render(args.count, args.seed, args.out))
    return OK


def _split(args: argparse.Namespace, split: str) -> Any:
    from safegen.lab.embedded import families

    options.at_least_one(args, "count", "seeds")
    names = families.NAMES if args.families is None else options.words(args.families)
    if args.skip < 0:
        raise InvalidValue("skip", args.skip, "0 or more")
    found = (families.prompts(split, args.skip + args.count, [name]) for name in names)
    return [prompt for of_family in found for prompt in of_family[args.skip :]]


def _varied(given: list[str] | None) -> dict[str, list[Any]]:
    """``weight=0.5,1`` and the like as values that the settings allow."""
    found = {}
    for text in given or VARIED:
        name, equals, values = text.partition("=")
        if name not in SETTINGS or not equals:
            raise InvalidValue("vary", text, f"SETTING=VALUES with one of {', '.join(SETTINGS)}")
        found[name] = options.values_of(name, values)
    return found


def _tune(args: argparse.Namespace) -> int:
    from safegen.lab.studies import measured

    options.at_least_one(args, "trials")
    found = _split(args, "development")
    plan, methods = options.plan_of(args), options.words(args.methods)
    summary, chosen = measured.tune(
        args.out, found, plan, methods, args.trials, _varied(args.vary), seeds=args.seeds,
        workers=args.workers, command=options.recorded(args, "lab tune"), progress=not args.quiet,
    )  # fmt: skip
    status = options.status_of(summary)
    print(json.dumps(chosen, indent=2))
    return status


def _test(args: argparse.Namespace) -> int:
    from safegen.lab.studies import measured
    from safegen.lab.studies.demo import SAMPLING

    found = _split(args, "test")
    plan, methods = options.plan_of(args), options.words(args.methods)
    summary, written = measured.test(
        args.out, found, plan, methods, args.tuned, ways=options.words(args.ways),
        seeds=args.seeds, workers=args.workers,
        command=options.recorded(args, "lab test"), progress=not args.quiet,
        steps=SAMPLING.steps if args.steps is None else args.steps,
    )  # fmt: skip
    status = options.status_of(summary)
    for path in written:
        print(path)
    return status
