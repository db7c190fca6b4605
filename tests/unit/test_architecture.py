"""The house as docs/architecture.md draws it: imports point inward, and rooms stay small."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import safegen

PACKAGE = Path(safegen.__file__).parent
ROOT = PACKAGE.parent
FLOORS = (
    ("errors", "files", "sentence"),
    ("setting",),
    ("plan",),
    ("method", "text"),
    ("contexts",),
    ("learned",),
    ("detectors",),
    ("conditioning",),
    ("choice",),
    ("hosts",),
    ("webui", "lab"),
    ("cli",),
)
"""From the innermost room outwards: a room imports only from floors before its own."""
LONGEST_FILE = 400
MOST_ATTRIBUTES = 12
REASON = "# Larger than usual: "
"""A comment that says why a long file, or a class of many attributes, is the simpler house."""


def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(file.read_text(encoding="utf-8"))
    return found


MODULES = modules()


def imported(tree: ast.Module) -> Iterator[str]:
    """The dotted names of all modules that ``tree`` imports, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


def room(module: str) -> str:
    """The room that a module is in: hosts and the lab have several."""
    parts = module.split(".")[1:]
    return ".".join(parts[:2] if parts[0] in ("hosts", "lab") else parts[:1])


def inner_imports() -> dict[str, set[str]]:
    """Which rooms each room imports from, itself left out."""
    edges: dict[str, set[str]] = defaultdict(set)
    for name, tree in MODULES.items():
        if name == "safegen" or name == "safegen.__main__":
            continue  # the public names, and the command
        for other in imported(tree):
            if other.startswith("safegen.") and room(other) != room(name):
                edges[room(name)].add(room(other))
    return edges


EDGES = inner_imports()


def test_no_import_runs_up() -> None:
    floor = {name: i for i, names in enumerate(FLOORS) for name in names}
    unknown = {r for r in EDGES if r.split(".")[0] not in floor}
    assert not unknown, f"rooms without a floor: {unknown}"
    climbs = [
        f"{one} imports {other}"
        for one, others in EDGES.items()
        for other in others
        if floor[other.split(".")[0]] > floor[one.split(".")[0]]
    ]
    assert not climbs


def test_no_two_rooms_import_each_other() -> None:
    mutual = {tuple(sorted((a, b))) for a in EDGES for b in EDGES[a] if a in EDGES.get(b, ())}
    assert not mutual


def test_what_a_webui_loads_never_imports_the_lab() -> None:
    assert not [r for r in EDGES if r != "cli" and not r.startswith("lab") and _lab(EDGES[r])]


def _lab(rooms: set[str]) -> bool:
    return any(name.startswith("lab") for name in rooms)


def test_one_file_alone_imports_the_webui() -> None:
    importers = [
        name
        for name, tree in MODULES.items()
        if any(other.split(".")[0] == "modules" for other in imported(tree))
    ]
    assert importers == ["safegen.webui.host"]


@pytest.mark.parametrize("top", ["diffusers", "transformers", "gradio", "matplotlib", "scipy"])
def test_the_core_needs_torch_and_numpy_alone(top: str) -> None:
    core = {name for names in FLOORS[:8] for name in names}
    users = [
        name
        for name, tree in MODULES.items()
        if name != "safegen"
        and room(name) in core
        and any(other.split(".")[0] == top for other in imported(tree))
    ]
    assert not users


def test_files_are_small() -> None:
    long = []
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if len(text.splitlines()) > LONGEST_FILE and REASON not in text:
            long.append(f"{file.relative_to(ROOT)}: {len(text.splitlines())} lines")
    assert not long


def attributes(node: ast.ClassDef) -> set[str]:
    """The names that a class's body annotates or that its methods set on ``self``."""
    names = {
        item.target.id
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }
    for item in ast.walk(node):
        written = isinstance(item, ast.Attribute) and isinstance(item.ctx, ast.Store)
        if written and isinstance(item.value, ast.Name) and item.value.id == "self":
            names.add(item.attr)
    return names


def test_classes_are_small() -> None:
    large = []
    for name, tree in MODULES.items():
        source = (ROOT / Path(*name.split("."))).with_suffix(".py")
        source = source if source.exists() else source.with_suffix("") / "__init__.py"
        lines = source.read_text(encoding="utf-8").splitlines()
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef) or len(attributes(node)) <= MOST_ATTRIBUTES:
                continue
            if not any(REASON in line for line in lines[node.lineno - 1 : node.end_lineno]):
                large.append(f"{name}.{node.name}: {len(attributes(node))} attributes")
    assert not large


def test_no_two_test_files_have_one_name() -> None:
    """pytest imports them by their bare names, and would stop at the second one."""
    names = Counter(file.name for file in (ROOT / "tests").rglob("*.py"))
    assert {name for name, count in names.items() if count > 1} <= {"conftest.py"}
