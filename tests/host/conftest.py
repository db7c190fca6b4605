"""The host that the facts and the pages are tested on: the stand-in, with SafeGen's script in it.

The same facts run on the real host in ``tests/webui`` (``make test-webui SD_WEBUI_DIR=…``), where
``probe/`` puts them into its process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the stand-in's page needs gradio: pip install '.[webui]'")

sys.path.insert(0, str(Path(__file__).parent))

import standin

standin.install()


@pytest.fixture(scope="session")
def host() -> Any:
    """The stand-in's modules, with SafeGen loaded."""
    from driver import Host

    standin.load_scripts()
    standin.build_tabs()
    return Host()


@pytest.fixture(autouse=True)
def _tidy() -> Iterator[None]:
    """No test leaves a setting, a flag or a model behind."""
    yield
    standin.reset()


@pytest.fixture(scope="session")
def demo(host: Any) -> Any:
    """The accordions and SafeGen's tab in one page."""
    import gradio as gr

    standin.scripting.fire("before_ui")
    interfaces = standin.build_tabs()
    (((page, label, elem_id),),) = standin.scripting.fire("ui_tabs")
    assert (label, elem_id) == ("SafeGen", "safegen")
    with gr.Blocks(analytics_enabled=False) as whole:
        for interface in (*interfaces, page):
            interface.render()
    return whole.queue()


@pytest.fixture
def own_folder(host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of contexts for this test, a library that reads it, and nothing on record."""
    from safegen.webui import deciding, record

    folder = tmp_path / "contexts"
    host.shared.opts.data["safegen_contexts_folder"] = str(folder)
    monkeypatch.setattr(deciding, "_library", None)
    monkeypatch.setattr(deciding, "_chooser", None)
    record.clear()
    return folder


@pytest.fixture
def window(demo: Any, own_folder: Path) -> Any:
    """A browser that has just loaded the page."""
    from window import Window

    return Window(demo, str(own_folder))


@pytest.fixture
def enforced(host: Any) -> None:
    """An operator enforces SafeGen, level basic."""
    host.shared.cmd_opts.safegen_enforce = "basic"
