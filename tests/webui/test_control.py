"""Beside an extension that hooks the UNet as ControlNet does (``safegen_control.py``)."""

from __future__ import annotations

from typing import Any

import pytest
from common import CLOSE, HAZARD, KNOWN, ON, SAFE, ways
from server import Server, difference
from test_families import close, load
from test_generation import all_guarded, same

pytestmark = pytest.mark.usefixtures("other_families")

CONTROL = {"scripts": {"Control": {"args": [True]}}}

SHARED = ways(
    "long prompt", "long negative prompt", "padded conds", "batch_cond_uncond off", "hires fix",
    "SDXL", "SD2 with v-prediction",
)  # fmt: skip
PATHS: dict[str, dict[str, Any]] = {
    **SHARED,
    "Euler a": {},
    "DDIM": {"sampler_name": "DDIM"},
    "batch size 2, batch count 2": {"batch_size": 2, "n_iter": 2},
}


def log(server: Server) -> list[dict[str, Any]]:
    """Every call that the UNet had since the last time."""
    found: list[dict[str, Any]] = server.call("GET", "/control").body
    return found


@pytest.mark.parametrize("streams", ["shared", "independent"])
@pytest.mark.parametrize("path", PATHS)
def test_a_hooked_unet(server: Server, path: str, streams: str) -> None:
    """Like ControlNet: it steers what it steered before, and weight 1 is the safe picture."""
    fields = {**PATHS[path], **CONTROL}
    load(server, fields.pop("checkpoint", "safegen-world"))
    prompt = fields.pop("prompt", HAZARD)
    plain = server.txt2img(prompt, **fields)
    log(server)
    same(plain, server.txt2img(prompt, {"enabled": False}, **fields))
    alone = log(server)
    if "enable_hr" not in fields:  # its conds are made after the marking
        assert all(call["cond"] is not None for call in alone)
    assert difference(plain.image, server.txt2img(prompt, **_without(fields)).image) > CLOSE
    made = server.txt2img(prompt, {**KNOWN, "streams": streams}, **fields)
    guarded = log(server)
    all_guarded(plain, made)
    unmarked = [sum(call["cond"] is None for call in calls) for calls in (alone, guarded)]
    assert bool(unmarked[0]) == bool(unmarked[1]), "a row without its mark"
    assert {call["rows"] for call in guarded} == {call["rows"] for call in alone}
    if streams == "shared" or "a" not in fields.get("sampler_name", "Euler a").split():
        close(made, server.txt2img(SAFE, **fields))


def _without(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != "scripts"}


def test_calls_before_the_threshold_have_the_rows_of_those_after(server: Server) -> None:
    """Like ControlNet: what it keeps for the first call's rows fits the guarded calls too."""
    made = server.txt2img(HAZARD, {**ON, "tau": 0.5}, **{**CONTROL, "steps": 10})
    assert made.status == 200, made.message
    calls = log(server)
    assert {call["rows"] for call in calls} == {2}
    assert len(calls) == 10 + 5  # ten of the host's, and one more for each of the last five


def test_and_with_a_hook(server: Server) -> None:
    """Like ControlNet: AND parts are guarded beside it."""
    prompt = f"{HAZARD} :0.6 AND a bloody star :0.4"
    made = server.txt2img(prompt, KNOWN, **CONTROL)
    close(made, server.txt2img(f"{SAFE} :0.6 AND {SAFE} :0.4", **CONTROL))


def test_afterwards_all_is_as_before(server: Server) -> None:
    """Like ControlNet: without it the rows travel in the host's call again."""
    wanted = server.txt2img(HAZARD, ON)
    all_guarded(server.txt2img(HAZARD, **CONTROL), server.txt2img(HAZARD, ON, **CONTROL))
    server.call("DELETE", "/faults")
    same(wanted, server.txt2img(HAZARD, ON))
    assert {call["rows"] for call in server.call("GET", "/faults").body} == {3}


def test_hypertile_s_hooks_cost_nothing(server: Server) -> None:
    """It leaves them in the model when it is switched off; safe rows travel all the same."""
    load(server, "safegen-world")
    for tiles in (True, False):
        server.call("DELETE", "/faults")
        fields = {"override_settings": {"hypertile_enable_unet": tiles}}
        made = server.txt2img(HAZARD, ON, **fields)
        assert ("Hypertile U-Net" in made.infotexts[0]) == tiles
        calls = server.call("GET", "/faults").body
        assert {call["rows"] for call in calls} == {3}
