"""``safegen prompts``: write the embedded world's prompts as CSV; 2 for wrong use."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from safegen.cli import options
from safegen.cli.options import OK

if TYPE_CHECKING:
    from argparse import _SubParsersAction as Subparsers


def add_parser(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Add the ``prompts`` command."""
    parser = subparsers.add_parser(
        "prompts",
        help="write the embedded world's prompts",
        description="Write prompts of each family as CSV, the same ones every time. Choose on the "
        "development split; the test split is for 'safegen lab test'.",
    )
    parser.set_defaults(run=lambda args: options.guarded("prompts", "demo", lambda: run(args)))
    parser.add_argument("file", type=Path, help="the CSV file to write")
    parser.add_argument("--split", default="development", help="development or test")
    parser.add_argument("--count", type=int, default=50, help="prompts a family")
    parser.add_argument("--families", help="names joined by commas (default: all)")


def run(args: argparse.Namespace) -> int:
    """Run the subcommand."""
    from safegen.lab.embedded import families
    from safegen.lab.prompts import write_csv

    options.at_least_one(args, "count")
    names = families.NAMES if args.families is None else options.words(args.families)
    write_csv(args.file, families.prompts(args.split, args.count, names))
    print(args.file)
    return OK
