"""The dial on the text: the safe stream sees what lies between the prompt and the safe text."""

from __future__ import annotations

from typing import Any

import pytest
from common import CLOSE, HAZARD, HIRES, KNOWN, LONG, SAFE
from server import Server, difference
from test_control import CONTROL
from test_families import close, load
from test_generation import all_guarded, same

pytestmark = pytest.mark.usefixtures("other_families")

TEXT = {**KNOWN, "dial": "conditioning"}
PATHS: dict[str, dict[str, Any]] = {
    "Euler a": {},
    "DDIM": {"sampler_name": "DDIM"},
    "long prompt": {"prompt": f"{HAZARD}, {LONG}"},
    "hires fix": HIRES,
    "SDXL": {"checkpoint": "world-xl"},
    "beside an extension's hooks": CONTROL,
}


@pytest.mark.parametrize("path", PATHS)
def test_path(server: Server, path: str) -> None:
    """Path: at weight 1 the safe picture, halfway another one that repeats itself, at 0 plain."""
    fields = dict(PATHS[path])
    load(server, fields.pop("checkpoint", "safegen-world"))
    prompt = fields.pop("prompt", HAZARD)
    plain, safe = server.txt2img(prompt, **fields), server.txt2img(SAFE, **fields)
    close(server.txt2img(prompt, TEXT, **fields), safe)
    half = server.txt2img(prompt, {**TEXT, "weight": 0.5}, **fields)
    all_guarded(plain, half)
    assert difference(half.image, safe.image) > CLOSE
    same(half, server.txt2img(prompt, {**TEXT, "weight": 0.5}, **fields))
    same(plain, server.txt2img(prompt, {**TEXT, "weight": 0.0}, **fields))
