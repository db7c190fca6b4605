"""The hosts that the contract is tested on: the double, and the real one where it is named.

``SD_WEBUI_URL`` is a running WebUI with ``tests/host/probe`` among its extensions; the tests in
``tests/webui`` start one (``make test-webui SD_WEBUI_DIR=…``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

pytest.importorskip("gradio", reason="the double builds its UI with gradio: pip install '.[webui]'")

for folder in (HERE, HERE / "double"):
    sys.path.insert(0, str(folder))


def load_double() -> None:
    """Load SafeGen's script and the X/Y/Z plot into the double, and build both tabs."""
    import gradio as gr
    from modules import script_callbacks, scripts

    scripts.load_scripts(
        [
            (HERE / "double", HERE / "double" / "scripts" / "xyz_grid.py"),
            (ROOT, ROOT / "scripts" / "safegen.py"),
        ]
    )
    script_callbacks.call("before_ui")
    script_callbacks.call("ui_settings")
    with gr.Blocks():
        for runner, is_img2img in (
            (scripts.scripts_txt2img, False),
            (scripts.scripts_img2img, True),
        ):
            runner.initialize_scripts(is_img2img)
            runner.prepare_ui()
            runner.setup_ui()


@pytest.fixture(scope="session")
def double() -> Any:
    """The double, with SafeGen's script in it."""
    from driver import Host

    load_double()
    return Host()


@pytest.fixture
def reload_double(double: Any) -> Callable[[], None]:
    """What "Reload UI" does."""
    from modules import script_callbacks

    def reload() -> None:
        script_callbacks.call("script_unloaded")
        load_double()

    return reload


@pytest.fixture(autouse=True)
def _tidy(request: pytest.FixtureRequest) -> Any:
    """No test leaves a setting, a flag or a model behind."""
    from modules import sd_models, shared

    yield
    shared.opts.data.clear()
    shared.cmd_opts.safegen_enforce = None
    shared.sd_model = sd_models.ToyModel(sd_models.checkpoints["toy-world"])
