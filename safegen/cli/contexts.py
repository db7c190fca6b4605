"""List, show, add, edit, duplicate, import, export and delete safety contexts; learn embeddings.

The built-in contexts cannot be changed; duplicate one and edit the copy. Your own lie in one
folder, which --folder or the environment variable SAFEGEN_CONTEXTS names, else
~/.safegen/contexts. Exit status: 0 if all went well, 2 if not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safegen.cli import options
from safegen.cli.options import OK
from safegen.contexts.context import SafetyContext
from safegen.contexts.library import ContextLibrary, default_folder, to_text
from safegen.errors import InvalidValue

AUTO_LINE = "Reads the prompt and picks the one context it calls for, or none."
_TEXTS = {
    "label": "what a list shows",
    "category": "the detector category that makes Auto pick it; none: only chosen by hand",
    "description": "one sentence on what it is for",
    "safe_text": "what the picture should be like, said positively",
    "unsafe_text": "what it should move away from",
    "fallback": "replacement of a risky word that --neutral does not list",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--folder", type=Path, help="folder with contexts of your own")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="names and what they are for")
    show = actions.add_parser("show", help="one context in full, as its file")
    add = actions.add_parser("add", help="a new context of your own")
    edit = actions.add_parser("edit", help="change some fields of one of your own")
    duplicate = actions.add_parser("duplicate", help="copy any context under a new name")
    imported = actions.add_parser("import", help="keep the context in a file")
    export = actions.add_parser("export", help="write a context to a file")
    delete = actions.add_parser("delete", help="remove one of your own")
    learn = actions.add_parser(
        "learn", help="learn a context's embedding in a model's own text encoder"
    )
    for action in (show, add, edit, duplicate, export, delete, learn):
        action.add_argument("name")
    duplicate.add_argument("new_name")
    export.add_argument("file", type=Path)
    imported.add_argument("file", type=Path)
    imported.add_argument("--replace", action="store_true", help="also over one of your own")
    edit.add_argument("--name", dest="new_name", help="a new name")
    for action in (add, edit):
        for field, text in _TEXTS.items():
            action.add_argument(f"--{field.replace('_', '-')}", help=text)
        action.add_argument("--weight", type=float, help="suggested weight, 0 to 1")
        action.add_argument("--tau", type=float, help="suggested threshold, 0 to 0.95")
        action.add_argument(
            "--neutral",
            action="append",
            default=[],
            metavar="WORD=NEUTRAL",
            help="a risky word and what replaces it (nothing drops it); can be repeated",
        )
    edit.add_argument(
        "--forget", action="append", default=[], metavar="WORD", help="no longer replace this word"
    )
    learn.add_argument(
        "--pairs",
        type=Path,
        help="CSV with columns unsafe and safe; without it the pairs that were kept the last "
        "time, or else pairs made of the context's own words",
    )
    options.add_encoder(learn)
    learn.add_argument("--rank", type=int, help="greatest dimension of the unsafe subspace")


def run(args: argparse.Namespace) -> int:
    """Do what is asked; the exit status is described above."""
    library = ContextLibrary(args.folder or default_folder())
    for problem in library.problems:
        print(f"skipped: {problem.message}", file=sys.stderr)
    _ACTIONS[args.action](library, args)
    return OK


def _list(library: ContextLibrary, _args: argparse.Namespace) -> None:
    width = max(len(name) for name in library.names())
    print(f"{'auto':{width}}  {AUTO_LINE}")
    for context in library:
        own = "" if library.is_built_in(context.name) else " (yours)"
        print(f"{context.name:{width}}  {context.description}{own}")


def _show(library: ContextLibrary, args: argparse.Namespace) -> None:
    if args.name == "auto":
        print(AUTO_LINE)
        return
    print(to_text(library.get(args.name)), end="")


def _given(args: argparse.Namespace) -> dict[str, Any]:
    names = (*_TEXTS, "weight", "tau")
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def _table(entries: list[str]) -> dict[str, str]:
    table = {}
    for entry in entries:
        word, equals, neutral = entry.partition("=")
        if not equals or not word.strip():
            raise InvalidValue("neutral", entry, "WORD=NEUTRAL, or WORD= to drop the word")
        table[word.strip()] = neutral.strip()
    return table


def _add(library: ContextLibrary, args: argparse.Namespace) -> None:
    empty = {"label": args.name, "category": "", "description": "", "safe_text": "",
             "unsafe_text": ""}  # fmt: skip
    given = {**empty, **_given(args)}
    context = library.add(SafetyContext(name=args.name, neutral=_table(args.neutral), **given))
    print(f"added {context.name}")


def _edit(library: ContextLibrary, args: argparse.Namespace) -> None:
    changes = _given(args)
    neutral = dict(library.get(args.name).neutral)
    for word in args.forget:
        if neutral.pop(" ".join(word.lower().split()), None) is None:
            raise InvalidValue("forget", word, "a word that the context replaces")
    neutral.update({" ".join(w.lower().split()): n for w, n in _table(args.neutral).items()})
    if args.new_name is not None:
        changes["name"] = args.new_name
    context = library.edit(args.name, **changes, neutral=neutral)
    print(f"changed {context.name}")


def _duplicate(library: ContextLibrary, args: argparse.Namespace) -> None:
    print(f"added {library.duplicate(args.name, args.new_name).name}")


def _import(library: ContextLibrary, args: argparse.Namespace) -> None:
    print(f"added {library.import_file(args.file, replace_own=args.replace).name}")


def _export(library: ContextLibrary, args: argparse.Namespace) -> None:
    library.export_file(args.name, args.file)
    print(args.file)


def _delete(library: ContextLibrary, args: argparse.Namespace) -> None:
    library.delete(args.name)
    print(f"deleted {args.name}")


def _learn(library: ContextLibrary, args: argparse.Namespace) -> None:
    from safegen.cli.models import load_encoder
    from safegen.learned.store import RANK, LearnedStore, read_pairs

    context = library.get(args.name)
    pairs = read_pairs(args.pairs) if args.pairs else None
    encoder = load_encoder(args.model, args.clip_skip)
    assert library.folder is not None
    found = LearnedStore(library.folder).learn(
        context, encoder, pairs, rank=RANK if args.rank is None else args.rank,
        progress=options.progress_bar("learning"),
    )  # fmt: skip
    print(f"learned {context.name} from {found.pairs} pairs, rank {found.rank}, in {found.encoder}")


_ACTIONS: dict[str, Callable[[ContextLibrary, argparse.Namespace], None]] = {
    "list": _list,
    "show": _show,
    "add": _add,
    "edit": _edit,
    "duplicate": _duplicate,
    "import": _import,
    "export": _export,
    "delete": _delete,
    "learn": _learn,
}
