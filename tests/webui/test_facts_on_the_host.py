"""The facts of ``tests/host`` within the real host's process."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from server import ROOT, Server


def _names() -> list[str]:
    """``module/fact`` of every fact, told by its decorator; importing one needs a host."""
    found = []
    folder = ROOT / "tests" / "host"
    for file in (*sorted(folder.glob("facts_*.py")), folder / "faults.py", folder / "soak.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            decorators = getattr(node, "decorator_list", [])
            if any(isinstance(d, ast.Name) and d.id == "fact" for d in decorators):
                found.append(f"{file.stem}/{node.name}")
    return found


@pytest.mark.parametrize("name", _names())
def test_fact(server: Server, name: str) -> None:
    """Fact about the host, or about SafeGen on it."""
    error = server.call("POST", f"/contract/{name}").body["error"]
    assert not error, error


def test_the_log_has_no_error_of_ours(server: Server) -> None:
    """Nothing of SafeGen's failed while loading or building the UI."""
    text = Path(server.log).read_text(errors="replace")
    for words in ("Error loading script", "Error creating UI", "Error calling", "ImportError"):
        for line in text.splitlines():
            assert not (words in line and "safegen" in line.lower()), line
