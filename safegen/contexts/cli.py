"""``safegen contexts list`` and ``safegen contexts show NAME``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from safegen.contexts.library import ContextLibrary, to_text
from safegen.errors import SafeGenError

Subparsers = argparse._SubParsersAction  # argparse has no public name for it


def add_parser(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Add the ``contexts`` command."""
    parser = subparsers.add_parser("contexts", help="list and show safety contexts")
    parser.set_defaults(run=run)
    parser.add_argument("--folder", type=Path, help="folder with contexts of your own")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="names and what they are for")
    show = actions.add_parser("show", help="one context in full, as its file")
    show.add_argument("name")


def run(args: argparse.Namespace) -> int:
    """0 if all went well, 2 if the context does not exist."""
    library = ContextLibrary(args.folder)
    for problem in library.problems:
        print(f"skipped: {problem.message}", file=sys.stderr)
    if args.action == "show":
        try:
            print(to_text(library.get(args.name)), end="")
        except SafeGenError as error:
            print(error, file=sys.stderr)
            return 2
        return 0
    width = max(len(name) for name in library.names())
    for context in library:
        print(f"{context.name:{width}}  {context.description}")
    return 0
