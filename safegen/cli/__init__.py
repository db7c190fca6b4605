"""The ``safegen`` command: each subcommand has a module of its own."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from safegen.cli import bench, check, contexts, demo, lab, probe, prompts, report, sweep

BROKEN_PIPE = 141
"""What a shell reports for a program that SIGPIPE ended (128 + 13)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status; 2 for wrong use.

    If whoever reads the output stops reading, as ``head`` does, the command ends quietly.
    """
    parser = argparse.ArgumentParser(
        prog="safegen", description="Safer images, while they are made."
    )
    subparsers = parser.add_subparsers(dest="command", required=True)
    for module in (demo, check, contexts, probe, prompts, sweep, report, bench, lab):
        module.add_parser(subparsers)
    args = parser.parse_args(argv)
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        status = run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered would fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return status
