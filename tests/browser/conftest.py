"""A page in headless Chromium: ``make test-browser SD_WEBUI_DIR=…``.

Each feature has a scenario of its own, ``NAME.cjs``, which uses the page as a person does and
prints what it saw; the tests assert that. Needs node, ``playwright-core`` (in the repository's
``node_modules``: ``npm install``, or found through ``NODE_PATH``) and a Chromium (``CHROMIUM``,
by default ``/usr/bin/chromium``); without them the tests are skipped and say what is missing.

``SD_WEBUI_DIR`` names an installed WebUI, which is started with SafeGen alone; ``SD_WEBUI_URL``
one that runs already. ``SAFEGEN_SCREENSHOTS`` names a folder to keep the screenshots.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import ROOT, Site, missing

sys.path.insert(0, str(ROOT / "tests" / "webui"))


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for screenshots."""
    named = os.environ.get("SAFEGEN_SCREENSHOTS")
    folder = Path(named).resolve() if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def start(
    tmp_path_factory: pytest.TempPathFactory, screenshots: Path
) -> Iterator[Callable[..., Site]]:
    """Starts a WebUI with these flags and SafeGen; all are stopped at the end."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    running = []

    def begin(*flags: str, **more: Any) -> Site:
        if not os.environ.get("SD_WEBUI_DIR"):
            pytest.skip("SD_WEBUI_DIR names no WebUI")
        from server import Server

        webui = Path(os.environ["SD_WEBUI_DIR"]).resolve()
        data = tmp_path_factory.mktemp("webui")
        server = Server(webui, data, flags, {"safegen": ROOT}, **more)
        running.append(server)
        return Site(server.wait().url, screenshots)

    yield begin
    for server in running:
        server.stop()


@pytest.fixture(scope="session")
def site(start: Callable[..., Site], screenshots: Path) -> Site:
    """The session's WebUI: one of its own, or that of ``SD_WEBUI_URL``."""
    if os.environ.get("SD_WEBUI_URL"):
        return Site(os.environ["SD_WEBUI_URL"].rstrip("/"), screenshots)
    return start()


@pytest.fixture(scope="session")
def enforced_site(start: Callable[..., Site]) -> Site:
    """A WebUI whose operator enforces SafeGen, level basic."""
    return start("--safegen-enforce", "basic")
