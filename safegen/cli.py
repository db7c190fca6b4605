"""The ``safegen`` command: each subcommand lives in the package it is about."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from safegen.contexts import cli as contexts
from safegen.demo import cli as demo
from safegen.detectors import cli as check
from safegen.evaluation import cli as evaluation


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status; 2 for wrong use."""
    parser = argparse.ArgumentParser(
        prog="safegen", description="Safer images, while they are made."
    )
    subparsers = parser.add_subparsers(dest="command", required=True)
    for module in (demo, check, contexts, evaluation):
        module.add_parser(subparsers)
    args = parser.parse_args(argv)
    run: Callable[[argparse.Namespace], int] = args.run
    return run(args)
