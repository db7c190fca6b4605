"""A page in headless Chromium: ``make test-browser SD_WEBUI_DIR=…``.

Each feature has a scenario of its own, ``NAME.cjs``, which uses the page as a person does and
prints what it saw; the tests assert that. Needs node, ``playwright-core`` (in the repository's
``node_modules``: ``npm install``, or found through ``NODE_PATH``) and a Chromium (``CHROMIUM``,
by default ``/usr/bin/chromium``); without them the tests are skipped and say what is missing.

``SD_WEBUI_DIR`` names an installed WebUI, which is started with SafeGen alone; ``SD_WEBUI_URL``
one that runs already. With neither, the scenarios run on a bare page of our own (``bare.py``), and
what needs the WebUI's page is skipped and says so: its linked tick and accordion, its elements and
themes, "Reload UI". ``SAFEGEN_SCREENSHOTS`` names a folder to keep the screenshots.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import HERE, REFUSAL, ROOT, Site, missing

sys.path.insert(0, str(ROOT / "tests" / "webui"))

START_SECONDS = 300.0
"""The bare page is up in seconds on a desktop."""


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for screenshots."""
    named = os.environ.get("SAFEGEN_SCREENSHOTS")
    folder = Path(named).resolve() if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class BarePage:
    """The bare page, served by a process of its own."""

    def __init__(
        self, folder: Path, flags: tuple[str, ...], config: dict[str, Any] | None = None
    ) -> None:
        (folder / "config.json").write_text(json.dumps(config or {}))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "log.txt"
        environment = {
            **os.environ,
            "GRADIO_ANALYTICS_ENABLED": "False",
            "no_proxy": "127.0.0.1,localhost",
        }
        command = [sys.executable, str(HERE / "bare.py"), str(port), str(folder), *flags]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> BarePage:
        """Until its page can be had."""
        deadline = time.monotonic() + START_SECONDS
        while "Running on http" not in self.log.read_text(errors="replace"):
            text = self.log.read_text(errors="replace")
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the bare page did not start:\n{text[-3000:]}")
            time.sleep(0.5)
        return self

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(15)


@pytest.fixture(scope="session")
def start(
    tmp_path_factory: pytest.TempPathFactory, screenshots: Path
) -> Iterator[Callable[..., Site]]:
    """Starts a WebUI, or else the bare page, with these flags; all are stopped at the end."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    running: list[Any] = []

    def begin(*flags: str, **more: Any) -> Site:
        folder = tmp_path_factory.mktemp("webui")
        named = os.environ.get("SD_WEBUI_DIR")
        if not named:
            if importlib.util.find_spec("gradio") is None:
                pytest.skip("SD_WEBUI_DIR names no WebUI, and the bare page needs gradio")
            running.append(BarePage(folder, flags, **more))
        else:
            from server import Server

            webui = Path(named).resolve()
            running.append(Server(webui, folder, flags, {"safegen": ROOT}, **more))
        return Site(running[-1].wait().url, screenshots, is_bare=not named)

    yield begin
    for server in running:
        server.stop()


@pytest.fixture(scope="session")
def site(start: Callable[..., Site], screenshots: Path) -> Site:
    """The session's page: that of ``SD_WEBUI_URL``, of ``SD_WEBUI_DIR``, or the bare one."""
    if os.environ.get("SD_WEBUI_URL"):
        return Site(os.environ["SD_WEBUI_URL"].rstrip("/"), screenshots)
    return start()


@pytest.fixture(scope="session")
def enforced_site(start: Callable[..., Site]) -> Site:
    """A page whose operator enforces SafeGen, level basic, and has a sentence of their own."""
    return start("--safegen-enforce", "basic", config={"safegen_refusal": REFUSAL})
