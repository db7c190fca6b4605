"""Score a sweep's pictures and report the trade-off.

What is there is scored: a sweep need not be complete. report.html needs no network; CSV, JSON, SVG
and PNG stand beside it. Exit status: 2 for wrong use.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safegen.cli import options
from safegen.cli.options import OK
from safegen.errors import InvalidValue


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
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
