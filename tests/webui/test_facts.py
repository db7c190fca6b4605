"""The contract's facts, and SafeGen's, within the real host's process."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from server import ROOT, Server


def _names(module: str) -> list[str]:
    """The facts in a file, told by their decorator; importing it needs a host."""
    tree = ast.parse((ROOT / "tests" / "host" / f"{module}.py").read_text(encoding="utf-8"))
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(d, ast.Name) and d.id == "fact" for d in node.decorator_list)
    ]


@pytest.mark.parametrize("name", _names("facts"))
def test_host_fact(server: Server, name: str) -> None:
    """Fact about the host."""
    error = server.call("POST", f"/contract/facts/{name}").body["error"]
    assert not error, error


@pytest.mark.parametrize("name", _names("product"))
def test_safegen_fact(server: Server, name: str) -> None:
    """Fact about SafeGen on the host."""
    error = server.call("POST", f"/contract/product/{name}").body["error"]
    assert not error, error


def test_the_log_has_no_error_of_ours(server: Server) -> None:
    """Nothing of SafeGen's failed while loading or building the UI."""
    text = Path(server.log).read_text(errors="replace")
    for words in ("Error loading script", "Error creating UI", "Error calling", "ImportError"):
        for line in text.splitlines():
            assert not (words in line and "safegen" in line.lower()), line
