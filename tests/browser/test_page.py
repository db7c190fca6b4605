"""The real page in headless Chromium: ``make test-browser SD_WEBUI_DIR=…``.

Needs node, ``playwright-core`` (found through ``NODE_PATH``) and a Chromium (``CHROMIUM``, by
default ``/usr/bin/chromium``). ``SAFEGEN_SCREENSHOTS`` names a folder to keep the screenshots.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = Path(__file__).with_name("page.cjs")
sys.path.insert(0, str(ROOT / "tests" / "webui"))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A WebUI with SafeGen: one of its own, or that of ``SD_WEBUI_URL``."""
    if os.environ.get("SD_WEBUI_URL"):
        yield os.environ["SD_WEBUI_URL"]
        return
    if not os.environ.get("SD_WEBUI_DIR"):
        pytest.skip("SD_WEBUI_DIR names no WebUI")
    from server import Server

    webui = Path(os.environ["SD_WEBUI_DIR"]).resolve()
    server = Server(webui, tmp_path_factory.mktemp("webui"), (), {"safegen": ROOT})
    try:
        yield server.wait().url
    finally:
        server.stop()


@pytest.fixture(scope="module")
def seen(url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a person would have seen on the way through the page."""
    node = shutil.which("node")
    browser = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    if node is None or not Path(browser).exists():
        pytest.skip("node or Chromium is missing")
    found = subprocess.run([node, "-e", "require('playwright-core')"], capture_output=True)
    if found.returncode:
        pytest.skip("playwright-core is missing: npm install playwright-core, and set NODE_PATH")
    folder = os.environ.get("SAFEGEN_SCREENSHOTS") or str(tmp_path_factory.mktemp("screens"))
    Path(folder).mkdir(parents=True, exist_ok=True)
    done = subprocess.run([node, str(PAGE), url, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_it_starts_off_and_closed(seen: dict[str, Any]) -> None:
    assert seen["startsOff"]
    assert seen["startsClosed"]


def test_the_tick_opens_it_and_the_summary_follows(seen: dict[str, Any]) -> None:
    assert seen["opens"]
    assert "Auto" in seen["summary"]
    assert "violence" in seen["summaryOfContext"]


def test_the_guarded_picture_says_so(seen: dict[str, Any]) -> None:
    assert "SafeGen weight: 0.8" in seen["guarded"]
    assert "SafeGen context: violence" in seen["guarded"]
    assert "SafeGen" not in seen["plain"]


def test_pasting_restores_every_control(seen: dict[str, Any]) -> None:
    assert seen["pastedContext"] == "violence"
    assert float(seen["pastedWeight"]) == 0.8
    assert seen["pastedPrompt"].startswith("a bloody red ball")


def test_pasting_a_plain_picture_switches_off(seen: dict[str, Any]) -> None:
    assert "SafeGen" not in seen["off"]


def test_no_error_of_ours_on_the_page(seen: dict[str, Any]) -> None:
    # The host's page has errors of its own where its fonts can't be had.
    assert not [error for error in seen["errors"] if "safegen" in error.lower()]
