"""On a host that has not what SafeGen needs: one line in the log, and nothing goes by."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "safegen.py"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A host with scripts and pictures, and with nothing else that SafeGen knows."""
    package = ModuleType("modules")
    package.__path__ = []
    found: dict[str, Any] = {
        "scripts": SimpleNamespace(Script=object, AlwaysVisible=object()),
        "processing": SimpleNamespace(process_images_inner=lambda _p: "a picture"),
        "shared": SimpleNamespace(
            cmd_opts=SimpleNamespace(safegen_enforce=None), opts=SimpleNamespace(data={})
        ),
    }
    for name, value in found.items():
        module = ModuleType(f"modules.{name}")
        vars(module).update(vars(value))
        monkeypatch.setitem(sys.modules, f"modules.{name}", module)
        setattr(package, name, module)
    monkeypatch.setitem(sys.modules, "modules", package)
    monkeypatch.delitem(sys.modules, "modules.ui_components", raising=False)
    return package


def test_it_says_that_it_guards_nothing(elsewhere: Any, capsys: pytest.CaptureFixture[str]) -> None:
    names = runpy.run_path(str(SCRIPT))
    assert "SafeGenScript" not in names
    assert capsys.readouterr().out.startswith("SafeGen: guards nothing here")
    assert elsewhere.processing.process_images_inner(None) == "a picture"


@pytest.mark.parametrize("where", ["flag", "setting"])
@pytest.mark.parametrize("is_api", [True, False])
def test_where_it_is_enforced_nothing_is_generated(
    elsewhere: Any, where: str, is_api: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if where == "flag":
        elsewhere.shared.cmd_opts.safegen_enforce = "strict"
    else:
        elsewhere.shared.opts.data["safegen_enforce"] = "strict"
    names = runpy.run_path(str(SCRIPT))
    assert "SafeGenScript" not in names
    assert "nothing is generated" in capsys.readouterr().out
    with pytest.raises(Exception, match=r"enforced here \(level strict\)"):
        elsewhere.processing.process_images_inner(SimpleNamespace(is_api=is_api))
