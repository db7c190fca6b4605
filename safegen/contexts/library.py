"""All contexts at hand: the built-in ones, which nobody can change, and the user's own.

Each of the user's contexts is one JSON file in a folder of theirs. A file that cannot be read is
left alone and reported in `ContextLibrary.problems`; the others still work.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from safegen.contexts.context import SCHEMA_VERSION, SafetyContext
from safegen.errors import InvalidValue, SafeGenError
from safegen.files import write_atomically

PRESETS = Path(__file__).with_name("presets")
LARGEST_FILE = 1_000_000
"""Bytes a context file may have."""
LONGEST_NAME = 64
LEARNED = "learned"
"""The folder beside a user's contexts that holds what was learned for them."""
RESERVED = frozenset({"auto", "custom", "none"})
"""Names that mean something else where a context is chosen."""

_WINDOWS_DEVICE = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)")
_NUMBERS = ("weight", "tau")


class ContextError(SafeGenError):
    """A context that cannot be read, written, found or changed; says which and why."""


@dataclass(frozen=True)
class Problem:
    """A file of the user's folder that was skipped, and why."""

    file: Path
    message: str


def clean_name(text: str) -> str:
    """A name that is safe as a file name on every system: ``Größer / als`` is ``grosser-als``.

    Raises:
        InvalidValue: if no letter or digit is left, or the name is reserved.
    """
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    name = re.sub(r"[^a-z0-9]+", "-", plain)[:LONGEST_NAME].strip("-")
    if not name:
        raise InvalidValue("context name", text, "a name with letters a to z or digits in it")
    if name in RESERVED or _WINDOWS_DEVICE.fullmatch(name):
        raise InvalidValue("context name", text, f"any name but {name}, which is reserved")
    return name


def default_folder() -> Path:
    """Where the command line keeps a user's own contexts, unless it is told otherwise.

    ``$SAFEGEN_CONTEXTS``, or ``.safegen/contexts`` in the user's home. (A WebUI has a folder of
    its own in its data directory.)
    """
    return Path(os.environ.get("SAFEGEN_CONTEXTS") or Path.home() / ".safegen" / "contexts")


def learned_folder(folder: Path, name: str) -> Path:
    """Where what was learned for the context ``name`` lies; never outside ``folder``."""
    return folder / LEARNED / clean_name(name)


# ------------------------------------------------------------------ files


def _from_unversioned(data: dict[str, Any]) -> dict[str, Any]:
    """Version 0, written by hand before there was a version: ``replacements``, no ``label``."""
    data = dict(data)
    if "replacements" in data:
        data["neutral"] = data.pop("replacements")
    data.setdefault("label", str(data.get("name", "")).replace("-", " ").capitalize())
    return {"category": "", "description": "", "unsafe_text": "", **data}


_MIGRATIONS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {0: _from_unversioned}
"""Version to the step that makes it the next version."""


def from_data(data: Any) -> SafetyContext:
    """The context that a file's data describes, brought up to the current schema.

    Raises:
        ContextError: if it is no context, or one of a newer version.
        InvalidValue: if a value is not allowed.
    """
    if not isinstance(data, dict):
        raise ContextError("a context file holds one table of names and values")
    version = data.get("schema", 0)
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise InvalidValue("context schema", version, f"a version up to {SCHEMA_VERSION}")
    if version > SCHEMA_VERSION:
        raise ContextError(f"made by a newer version (schema {version}); update the extension")
    data = {key: value for key, value in data.items() if key != "schema"}
    for step in range(version, SCHEMA_VERSION):
        data = _MIGRATIONS[step](data)

    known = {field.name for field in fields(SafetyContext)}
    if unknown := set(data) - known:
        raise ContextError(f"unknown entries: {', '.join(sorted(unknown))}")
    for key in ("name", "label", "category", "description", "safe_text", "unsafe_text"):
        if not isinstance(data.get(key), str):
            raise InvalidValue(f"context {key}", data.get(key), "a text")
    if not isinstance(data.get("fallback", ""), str):
        raise InvalidValue("context fallback", data["fallback"], "a text")
    neutral = data.get("neutral", {})
    if not isinstance(neutral, dict) or not all(isinstance(v, str) for v in neutral.values()):
        raise InvalidValue("context neutral", neutral, "a table of words and their replacements")
    return SafetyContext(**{**data, "name": clean_name(data["name"])})


def to_data(context: SafetyContext) -> dict[str, Any]:
    """What a file of ``context`` holds; `from_data` gives the context back."""
    values = {field.name: getattr(context, field.name) for field in fields(context)}
    values["neutral"] = dict(sorted(context.neutral.items()))
    for key in _NUMBERS:
        if values[key] is None:
            del values[key]
    return {"schema": SCHEMA_VERSION, **values}


def to_text(context: SafetyContext) -> str:
    """A context as the text of its file."""
    return json.dumps(to_data(context), ensure_ascii=False, indent=1) + "\n"


def read(file: Path) -> SafetyContext:
    """The context in one file.

    Raises:
        ContextError: if the file cannot be read or holds no context; names the file.
    """
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise ContextError(f"larger than {LARGEST_FILE:,} bytes")
        return from_data(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, SafeGenError) as error:
        raise ContextError(f"{file.name}: {error}") from error


# ------------------------------------------------------------------ the library


def presets(folder: Path = PRESETS) -> dict[str, SafetyContext]:
    """The built-in contexts by name: the seven categories first, then the combinations."""
    found = [read(file) for file in sorted(folder.glob("*.json"))]
    found.sort(key=lambda context: (not context.category, context.name))
    return {context.name: context for context in found}


class ContextLibrary:
    """The built-in contexts and those in the user's ``folder``, if there is one.

    A name means one context only: neither a file nor `add` can replace a built-in context.

    Args:
        folder: The user's; it need not exist yet.
        built_in: Folders of contexts that nobody can change, in the order in which Auto prefers
            them.
    """

    def __init__(self, folder: Path | None = None, built_in: Sequence[Path] = (PRESETS,)) -> None:
        self.folder = folder
        self.problems: list[Problem] = []
        self._presets: dict[str, SafetyContext] = {}
        for source in built_in:
            for name, context in presets(source).items():
                self._presets.setdefault(name, context)
        # Replaced as a whole, never changed: a generation may be reading it in another thread.
        self._own: Mapping[str, tuple[SafetyContext, Path]] = {}
        self._gone: dict[str, str] = {}
        self.reload()

    def reload(self) -> None:
        """Read the user's folder again; files that cannot be used end up in ``problems``."""
        own: dict[str, tuple[SafetyContext, Path]] = {}
        problems = []
        files = self.folder.glob("*.json") if self.folder and self.folder.is_dir() else ()
        for file in sorted(files):
            try:
                context = read(file)
                self._refuse_taken(context.name, own)
            except SafeGenError as error:
                problems.append(Problem(file, str(error)))
            else:
                own[context.name] = context, file
        self._own, self.problems = own, problems

    def __iter__(self) -> Iterator[SafetyContext]:
        own = self._own
        yield from self._presets.values()
        for name in sorted(own):
            yield own[name][0]

    def __contains__(self, name: object) -> bool:
        return name in self._presets or name in self._own

    def names(self) -> list[str]:
        """Every name, the built-in ones first."""
        return [context.name for context in self]

    def get(self, name: str) -> SafetyContext:
        """The context called ``name``.

        Raises:
            ContextError: if there is none; lists those there are.
        """
        if name in self._presets:
            return self._presets[name]
        own = self._own.get(name)
        if own is not None:
            return own[0]
        raise ContextError(f"no context {name!r}; there are: {', '.join(self.names())}")

    def is_built_in(self, name: str) -> bool:
        """Whether ``name`` came with the extension and cannot be changed."""
        return name in self._presets

    def successor(self, name: str) -> str | None:
        """What has become of a context that was renamed or deleted here: its name now, empty if
        it has none; ``None`` if that is not known.
        """
        found = self._gone.get(name)
        while found and found not in self:
            found = self._gone.get(found, "")
        return None if name in self else found

    def add(self, context: SafetyContext, *, replace_own: bool = False) -> SafetyContext:
        """Keep a new context; its name is made safe first. With ``replace_own`` also over one
        of the user's.

        Raises:
            ContextError: if the name is taken or there is no folder.
            InvalidValue: if the name cannot be used.
        """
        context = replace(context, name=clean_name(context.name))
        if replace_own and context.name in self._own:
            self._keep(context, self._own[context.name][1])
            return context
        self._refuse_taken(context.name)
        self._keep(context, self._file(context.name))
        return context

    def edit(self, name: str, /, **changes: Any) -> SafetyContext:
        """Change some fields of one of the user's contexts, its name among them.

        Raises:
            ContextError: if ``name`` is built in or unknown, or the new name is taken.
            InvalidValue: if a value is not allowed; nothing is changed then.
        """
        _, file = self._own_entry(name)
        context = from_data({**to_data(self.get(name)), **changes})
        if context.name == name:
            self._keep(context, file)
        else:
            self._refuse_taken(context.name)
            self._keep(context, self._file(context.name))
            self._copy_learned(name, context.name)
            self.delete(name)
            self._gone[name] = context.name
        return context

    def duplicate(self, name: str, new_name: str) -> SafetyContext:
        """A copy of any context under ``new_name``, which also becomes its label.

        What was learned for it is copied too.
        """
        copy = self.add(replace(self.get(name), name=new_name, label=new_name))
        self._copy_learned(name, copy.name)
        return copy

    def import_file(self, file: Path, *, replace_own: bool = False) -> SafetyContext:
        """Keep the context in ``file``; with ``replace_own`` also over one of the user's.

        Raises:
            ContextError: if the file holds no context or its name is taken.
        """
        return self.add(read(file), replace_own=replace_own)

    def export_file(self, name: str, file: Path) -> None:
        """Write the context ``name`` to ``file``, for `import_file` elsewhere."""
        write_atomically(file, to_text(self.get(name)))

    def delete(self, name: str) -> None:
        """Remove one of the user's contexts, its file and what was learned for it.

        Raises:
            ContextError: if ``name`` is built in or unknown.
        """
        _, file = self._own_entry(name)
        file.unlink(missing_ok=True)
        self._own = {key: entry for key, entry in self._own.items() if key != name}
        self._gone[name] = ""
        assert self.folder is not None
        shutil.rmtree(learned_folder(self.folder, name), ignore_errors=True)

    def _copy_learned(self, name: str, new_name: str) -> None:
        assert self.folder is not None
        source = learned_folder(self.folder, name)
        if source.is_dir():
            shutil.copytree(source, learned_folder(self.folder, new_name), dirs_exist_ok=True)

    def _own_entry(self, name: str) -> tuple[SafetyContext, Path]:
        if name in self._presets:
            raise ContextError(
                f"{name} is built in and stays as it is; duplicate it and change that"
            )
        self.get(name)
        return self._own[name]

    def _refuse_taken(
        self, name: str, own: Mapping[str, tuple[SafetyContext, Path]] | None = None
    ) -> None:
        if name in self._presets or name in (self._own if own is None else own):
            kind = "a built-in context" if name in self._presets else "one of your contexts"
            raise ContextError(f"the name {name} is taken by {kind}")

    def _file(self, name: str) -> Path:
        """A file for a new context: never one that is there, whoever it belongs to."""
        if self.folder is None:
            raise ContextError("there is no folder for contexts of your own")
        file = self.folder / f"{name}.json"
        number = 2
        while file.exists():
            file = self.folder / f"{name}-{number}.json"
            number += 1
        return file

    def _keep(self, context: SafetyContext, file: Path) -> None:
        write_atomically(file, to_text(context))
        self._own = {**self._own, context.name: (context, file)}
        self._gone.pop(context.name, None)
