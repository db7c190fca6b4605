"""Write prompts of each of the embedded world's families as CSV, the same ones every time.

Choose on the development split; the test split is for 'safegen lab test'. Exit status: 2 for wrong
use.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safegen.cli import options
from safegen.cli.options import OK


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
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
