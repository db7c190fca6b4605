"""How the tests start a scenario in headless Chromium, and what comes back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

HAS_WEBUI = bool(os.environ.get("SD_WEBUI_URL") or os.environ.get("SD_WEBUI_DIR"))
"""Whether a WebUI is named; else the bare page stands in for it."""

REFUSAL = "Let us draw something kinder. Ask Ms Miller if you need help."
"""What the operator of the enforced page says when a picture is refused."""

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")


def environment() -> dict[str, str]:
    """Node's own, with the repository's modules after those of ``NODE_PATH``."""
    places = [os.environ.get("NODE_PATH", ""), str(ROOT / "node_modules")]
    return {
        **os.environ,
        "NODE_PATH": os.pathsep.join(filter(None, places)),
        "CHROMIUM": CHROMIUM,
    }


def missing() -> str | None:
    """Why no browser can be driven here, or ``None``."""
    node = shutil.which("node")
    if node is None:
        return "node is missing"
    if not Path(CHROMIUM).exists():
        return f"there is no Chromium at {CHROMIUM}: set CHROMIUM"
    asked = [node, "-e", "require('playwright-core')"]
    if subprocess.run(asked, capture_output=True, env=environment(), cwd=ROOT).returncode:
        return "playwright-core is missing: run npm install, or set NODE_PATH"
    return None


def windows(*every: tuple[int, str], bare: int) -> list[tuple[int, str]]:
    """The widths and themes to try: ``every`` one on a WebUI, on the bare page the first ones."""
    return list(every if HAS_WEBUI else every[:bare])


def named(window: tuple[int, str]) -> str:
    """A test's name for a window."""
    return "-".join(map(str, window))


@dataclass
class Seen:
    """What a scenario saw.

    Args:
        values: What its steps noted.
        errors: Exceptions and console errors of the page, each with where it came from.
        refused: Local requests that were answered with an error.
    """

    values: dict[str, Any]
    errors: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def ours(self) -> list[str]:
        """Errors that SafeGen has a part in; the host's page has some of its own."""
        return [text for text in (*self.errors, *self.refused) if "safegen" in text.lower()]


@dataclass
class Site:
    """A WebUI that is up.

    Args:
        url: Its address.
        folder: Where screenshots go.
        is_bare: Whether it is the bare page, which has not all of a WebUI's.
    """

    url: str
    folder: Path
    is_bare: bool = False

    def play(self, scenario: str, width: int = 1400, theme: str = "light", **given: Any) -> Seen:
        """Run ``scenario`` in a window of ``width`` pixels; what it saw.

        Raises:
            AssertionError: It broke off; the message has how far it came, and why.
        """
        what = {"url": self.url, "folder": str(self.folder), "width": width, "theme": theme}
        what["bare"] = self.is_bare
        command = ["node", str(HERE / f"{scenario}.cjs"), json.dumps({**what, **given})]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=ROOT)
        assert done.returncode == 0, done.stderr
        values = json.loads(done.stdout.splitlines()[-1])
        return Seen(values, values.pop("errors"), values.pop("refused"))
