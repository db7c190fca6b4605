"""No text that the WebUI's own parser makes of a prompt is unread, whatever the start."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import parsing
import pytest
from server import python_of


@pytest.mark.parametrize("start", range(5))
def test_every_text_of_prompts_at_random_is_read(start: int) -> None:
    webui = Path(os.environ["SD_WEBUI_DIR"]).resolve()
    command = [python_of(webui), parsing.__file__, str(webui), "300", str(start)]
    environment = {**os.environ, "PYTHONHASHSEED": str(start)}
    found = json.loads(subprocess.check_output(command, env=environment))
    assert not found["unread"], found["unread"][:5]
    assert found["read"] >= 270
