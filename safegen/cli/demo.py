"""``safegen demo``: the method on the embedded model."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from safegen.errors import SafeGenError
from safegen.plan import SETTINGS, SafetyPlan

if TYPE_CHECKING:
    from argparse import _SubParsersAction as Subparsers

_NEEDS = "safegen demo needs the demo extra: pip install 'safegen[demo]' (or: make demo)"


def add_parser(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Add the ``demo`` subcommand."""
    parser = subparsers.add_parser(
        "demo",
        help="make safer pictures with the embedded model",
        description="Without --prompt: sample the whole comparison, draw it and report it.",
    )
    parser.add_argument(
        "action", nargs="?", default="run", choices=("run", "install", "search"),
        help="run (the default); install the model in a WebUI; search the settings",
    )  # fmt: skip
    parser.add_argument("dir", nargs="?", type=Path, help="install: the WebUI's folder")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for results")
    parser.add_argument("--prompt", help="make one comparison of this prompt instead")
    parser.add_argument("--seed", type=int, default=1, help="first seed of --prompt")
    parser.add_argument("--prompts", type=int, default=120, help="hazard prompts, and benign ones")
    parser.add_argument("--cell-prompts", type=int, default=30, help="prompts per swept setting")
    for name in ("context", "weight", "tau", "curve", "streams", "strategy", "region", "refresh"):
        setting = SETTINGS[name]
        parser.add_argument(
            f"--{name}", help=f"{setting.help} Allowed: {setting.allowed}.".replace("%", "%%")
        )
    parser.set_defaults(run=run)


def _plan(args: argparse.Namespace) -> SafetyPlan:
    given = {
        name: SETTINGS[name].parse(text)
        for name in SETTINGS
        if (text := getattr(args, name, None)) is not None
    }
    return SafetyPlan(**given)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; 2 for wrong use, 1 for what could not be done."""
    try:
        plan = _plan(args)
        if args.action == "install":
            return _install(args.dir)
        try:
            from safegen.lab.demo import report
        except ImportError as error:
            print(f"{_NEEDS}\n({error})", file=sys.stderr)
            return 1
        if args.prompt is not None:
            print(report.one_comparison(args.out, args.prompt, plan, seed=args.seed))
        elif args.action == "search":
            print(_search_table(report.search(args.out)))
        else:
            measured = report.build(
                args.out, plan, prompts=args.prompts, cell_prompts=args.cell_prompts
            )
            keys = ("default", "plain", "guarded", "benign", "proximal")
            print(json.dumps({key: measured[key] for key in keys}, indent=2))
            for name in ("comparison.png", "tradeoff.png", "report.json"):
                print(args.out / name)
    except SafeGenError as error:
        print(f"safegen demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _install(webui: Path | None) -> int:
    from safegen.lab.demo.model import install

    if webui is None:
        print("usage: safegen demo install DIR (a WebUI's folder)", file=sys.stderr)
        return 2
    for path in install(webui):
        print(path)
    return 0


def _search_table(rows: Sequence[dict[str, object]]) -> str:
    lines = []
    for row in rows:
        shown = {k: v for k, v in row.items() if k not in ("settings", "n")}
        lines.append(json.dumps(shown))
    return "\n".join(lines)
