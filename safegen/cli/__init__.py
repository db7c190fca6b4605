"""The ``safegen`` command: each subcommand has a module of its own."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from safegen.cli import bench, check, contexts, demo, lab, options, probe, prompts, report, sweep

BROKEN_PIPE = 141
"""What a shell reports for a program that SIGPIPE ended (128 + 13)."""
COMMANDS = (
    (demo, "demo", "make safer pictures with the embedded model"),
    (check, "demo", "score prompts and say which safety context they call for"),
    (contexts, "demo", "safety contexts: list, show, change, learn"),
    (probe, "demo", "fit the encoder probe, a detector in a model's own text encoder"),
    (prompts, "demo", "write the embedded world's prompts"),
    (sweep, "lab", "make pictures over weights and thresholds, on running WebUIs or here"),
    (report, "lab", "score a sweep's pictures and report the trade-off"),
    (bench, "lab", "measure SafeGen and its peers on your own checkpoint"),
    (lab, "demo", "the embedded model's pictures, renders, tuning and test"),
)
"""Each command's module, the extra that it needs, and what it is for."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status; 2 for wrong use.

    If whoever reads the output stops reading, as ``head`` does, the command ends quietly.
    """
    parser = argparse.ArgumentParser(
        prog="safegen", description="Safer images, while they are made."
    )
    subparsers = parser.add_subparsers(dest="command", required=True)
    for module, extra, help in COMMANDS:
        command = module.__name__.rpartition(".")[2]
        own = subparsers.add_parser(
            command, help=help, description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        module.add_options(own)
        own.set_defaults(run=options.guarded(command, extra, module.run))
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
