"""The safe stream pushed away from the unsafe text, by what the host itself makes with AND.

At weight 1 the guarded result is û + s·(ĉ_safe - û) - r·(ĉ_unsafe - û): the host's own picture of
``safe AND unsafe :-r/s``.
"""

from __future__ import annotations

from typing import Any

import pytest
from common import BENIGN, CLOSE, HAZARD, KNOWN, LONG, MASK, REPEATABLE, SAFE, ways
from server import Server, difference, png
from test_control import CONTROL
from test_families import close, load
from test_generation import all_guarded, same

pytestmark = pytest.mark.usefixtures("other_families")

ALWAYS = {"push": 2.0, "pushed": "always"}
PUSHED = {**KNOWN, **ALWAYS}
AWAY = {**PUSHED, "strategy": "away"}
UNSAFE = str(KNOWN["unsafe_text"])


def beside(prompt: str, cfg_scale: float = 4.0, push: float = 2.0) -> str:
    """The prompt of which the host's own picture is ``prompt``'s, pushed away."""
    return f"{prompt} AND {UNSAFE} :{-push / cfg_scale:g}"


def rows(server: Server) -> set[int]:
    """Rows of the host's own calls since the last time."""
    found = {call["rows"] for call in server.call("GET", "/faults").body}
    server.call("DELETE", "/faults")
    return found


@pytest.mark.parametrize(
    "sampler", ["Euler a", "DPM++ 2M", "Heun", "DDIM", "DDIM CFG++", "PLMS", "UniPC"]
)
def test_sampler(server: Server, sampler: str) -> None:
    """Sampler: four rows with a safe text of its own, three with the prompt's."""
    load(server, "safegen-world")
    fields = {"sampler_name": sampler, "negative_prompt": "a yellow cup"}
    plain = server.txt2img(HAZARD, **fields)
    server.call("DELETE", "/faults")
    made = server.txt2img(HAZARD, PUSHED, **fields)
    all_guarded(plain, made)
    assert rows(server) == {4}
    close(made, server.txt2img(beside(SAFE), **fields))
    server.call("DELETE", "/faults")
    made = server.txt2img(HAZARD, AWAY, **fields)
    assert rows(server) == {3}
    close(made, server.txt2img(beside(HAZARD), **fields))
    same(plain, server.txt2img(HAZARD, {**PUSHED, "weight": 0.0}, **fields))


SHARED = ways(
    "batch size 3", "batch count 2", "long prompt", "long negative prompt", "padded conds",
    "batch_cond_uncond off", "CFG 1", "hires fix", "hires fix, DDIM in the second pass",
    "hires fix, checkpoint of its own", "refiner", "inpainting checkpoint", "SDXL",
    "SD2 with v-prediction",
)  # fmt: skip
PATHS: dict[str, dict[str, Any]] = {
    **SHARED,
    "CFG 0.5": {"cfg_scale": 0.5, "push": 0.5},
    "SDXL, long prompt": {"checkpoint": "world-xl", "prompt": f"{HAZARD}, {LONG}"},
    "independent streams": {"streams": "independent", "sampler_name": "Euler"},
    "independent streams, DDIM": {"streams": "independent", "sampler_name": "DDIM"},
    "beside an extension's hooks": CONTROL,
    "beside an extension's hooks, DDIM": {**CONTROL, "sampler_name": "DDIM"},
}


@pytest.mark.parametrize("path", PATHS)
def test_path(server: Server, path: str) -> None:
    """Path: what the host makes of the safe text with the unsafe one beside it."""
    fields = {"negative_prompt": "a yellow cup", **PATHS[path]}
    load(server, fields.pop("checkpoint", "safegen-world"))
    prompt, push = fields.pop("prompt", HAZARD), fields.pop("push", 2.0)
    plan = {**PUSHED, "push": push, "streams": fields.pop("streams", "shared")}
    made = server.txt2img(prompt, plan, **fields)
    wanted = server.txt2img(beside(SAFE, fields.get("cfg_scale", 4.0), push), **fields)
    close(made, wanted)
    assert difference(made.image, server.txt2img(SAFE, **fields).image) > CLOSE


def test_and(server: Server) -> None:
    """AND: the picture is pushed once, whatever its parts and their weights."""
    load(server, "safegen-world")
    prompt = f"{BENIGN} :0.4 AND {HAZARD} :0.8"
    close(server.txt2img(prompt, AWAY), server.txt2img(beside(prompt)))


@pytest.mark.parametrize("masked", [False, True])
def test_img2img(server: Server, masked: bool) -> None:
    """Image to image and inpainting: the same."""
    load(server, "safegen-world")
    image = server.txt2img(BENIGN, steps=2).image
    fields: dict[str, Any] = {"denoising_strength": 0.8, "scripts": REPEATABLE}
    if masked:
        fields.update(mask=png(MASK), mask_blur=0)
    made = server.img2img(HAZARD, image, PUSHED, **fields)
    close(made, server.img2img(beside(SAFE), image, **fields))


SKIPPED: dict[str, dict[str, Any]] = {
    "no call": {},
    "NGMS": {"s_min_uncond": 3.0, "steps": 6},
    "NGMS at all steps": {"s_min_uncond": 3.0, "override_settings": {"s_min_uncond_all": True}},
    "skip early CFG": {"override_settings": {"skip_early_cond": 0.3}},
}


@pytest.mark.parametrize("streams", ["shared", "independent"])
@pytest.mark.parametrize("path", SKIPPED)
def test_pushed_away_from_the_negative_prompt_the_safe_picture_stays(
    server: Server, path: str, streams: str
) -> None:
    """û is the negative prompt's true row, also in calls in which the host leaves it out."""
    load(server, "safegen-world")
    fields = {"sampler_name": "Euler", **SKIPPED[path], "negative_prompt": UNSAFE}
    known = {**KNOWN, "streams": streams}
    made = server.txt2img(HAZARD, {**known, **ALWAYS}, **fields)
    close(made, server.txt2img(HAZARD, known, **fields))
    fields["negative_prompt"] = "a yellow cup"
    made = server.txt2img(HAZARD, {**known, **ALWAYS}, **fields)
    all_guarded(server.txt2img(HAZARD, known, **fields), made)


def test_refresh_reuses_the_push(server: Server) -> None:
    """Refresh: rows are added in every second call alone."""
    load(server, "safegen-world")
    server.call("DELETE", "/faults")
    made = server.txt2img(HAZARD, {**AWAY, "refresh": 2})
    assert [call["rows"] for call in server.call("GET", "/faults").body] == [3, 2, 3, 2]
    all_guarded(server.txt2img(HAZARD), made)


def test_at_cfg_scale_0_it_is_refused(server: Server) -> None:
    """CFG 0: nothing is sampled, and the message names the scale."""
    load(server, "safegen-world")
    made = server.txt2img(HAZARD, PUSHED, cfg_scale=0)
    assert made.status == 422
    assert made.body["detail"]["field"] == "cfg_scale"
    assert "above 0" in made.message
    assert server.call("GET", "/faults").body == []
