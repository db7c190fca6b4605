"""Nothing here is the WebUI's own: see docs/decisions.md for how that is measured."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import likeness
import pytest
from server import ROOT


@pytest.mark.skipif(not os.environ.get("SD_WEBUI_DIR"), reason="SD_WEBUI_DIR names no WebUI")
def test_no_function_is_the_hosts(record_property: Callable[[str, Any], None]) -> None:
    """No function stands out by its likeness to one of the WebUI's."""
    webui = Path(os.environ["SD_WEBUI_DIR"]).resolve()
    theirs = likeness.units([webui])
    wanted = f"{webui.name}/modules/processing.py:process_images_inner"
    assert wanted in {unit.name for unit in theirs}
    rows = likeness.nearest(likeness.units([ROOT]), theirs)
    highest = {row.measure: row.share for row in reversed(rows)}
    record_property("result", ", ".join(f"{name} {share:.2f}" for name, share in highest.items()))
    assert [row for row in rows if likeness.stands_out(row)] == []
