"""``safegen report``: score a sweep's pictures and report the trade-off; 2 for wrong use."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from safegen.cli import options
from safegen.cli.options import OK
from safegen.errors import InvalidValue

if TYPE_CHECKING:
    from argparse import _SubParsersAction as Subparsers


def add_parser(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Add the ``report`` command."""
    parser = subparsers.add_parser(
        "report",
        help="score a sweep's pictures and report the trade-off",
        description="Score what is there (a sweep need not be complete), and write report.html, "
        "which needs no network, with CSV, JSON, SVG and PNG beside it.",
    )
    parser.set_defaults(run=lambda args: options.guarded("report", "lab", lambda: run(args)))
    parser.add_argument("dir", type=Path, nargs="?", help="a sweep's folder")
    options.add_scorers(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Run the subcommand."""
    if args.scorers == "list":
        from safegen.lab import scorers

        print(scorers.describe(options.scorer_options(args)))
        return OK
    if args.dir is None:
        raise InvalidValue("DIR", "", "a sweep's folder")
    for path in options.build_report(args, args.dir):
        print(path)
    return OK
