"""Every way in which the WebUI makes a picture: guarded when on, untouched when off."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from common import BENIGN, CLOSE, HAZARD, HIRES, LONG, MASK, ON, REPEATABLE, SAMPLERS, ways
from PIL import Image
from server import Answer, Server, difference, png


def all_guarded(plain: Answer, made: Answer) -> None:
    """As many pictures as without the guard, none of them the same."""
    assert plain.status == 200, plain.message
    assert made.status == 200, made.message
    assert len(made.images) == len(plain.images) > 0
    for one, other in zip(plain.images, made.images, strict=True):
        assert one.shape == other.shape
        assert difference(one, other) > 0, "an unguarded picture came out"
    assert all("SafeGen version" in text for text in made.infotexts)


def same(one: Answer, other: Answer) -> None:
    """Bit for bit the same pictures."""
    assert one.status == other.status == 200, (one.message, other.message)
    assert len(one.images) == len(other.images)
    assert all(np.array_equal(a, b) for a, b in zip(one.images, other.images, strict=True))


def test_the_list_of_samplers(server: Server) -> None:
    """Every sampler of the host is tested."""
    found = [entry["name"] for entry in server.call("GET", "/sdapi/v1/samplers").body]
    assert sorted(found) == sorted(SAMPLERS)


SHARED = ways(
    "batch size 3", "batch count 2", "prompt editing", "long prompt", "long negative prompt",
    "emphasis", "CFG 1", "hires fix", "hires fix, DDIM in the second pass",
    "hires fix, checkpoint of its own", "refiner", "NGMS", "padded conds",
    "batch_cond_uncond off", "token merging", "clip skip", "inpainting checkpoint",
)  # fmt: skip
PATHS: dict[str, dict[str, Any]] = {
    **SHARED,
    "AND": {"prompt": f"{BENIGN} AND {HAZARD} :0.8"},
    "alternation": {"prompt": "a [green|bloody] ball on the beach"},
    "BREAK": {"prompt": "a bloody red ball BREAK on the beach"},
    "hires fix, prompt of its own": {**HIRES, "hr_prompt": "a bloody star at night"},
    "hires fix, upscaler in pixels": {**HIRES, "hr_upscaler": "Lanczos"},
    "NGMS at all steps": {
        "s_min_uncond": 3.0,
        "override_settings": {"s_min_uncond_all": True},
    },
    "skip early CFG": {"override_settings": {"skip_early_cond": 0.3}},
    "padded conds v0": {
        "negative_prompt": LONG,
        "override_settings": {"pad_cond_uncond_v0": True},
    },
    "LoRA": {"prompt": f"{HAZARD} <lora:probe:1>"},
    "tiling": {"tiling": True},
    "subseed": {"subseed": 3, "subseed_strength": 0.3},
    "DPM++ 2M, Karras": {"sampler_name": "DPM++ 2M", "scheduler": "Karras"},
}


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("streams", ["shared", "independent"])
@pytest.mark.parametrize("path", PATHS)
def test_path(server: Server, path: str, streams: str) -> None:
    """Path: off is bit-identical, on is guarded and repeats itself."""
    fields = {"prompt": HAZARD, **PATHS[path]}
    prompt = fields.pop("prompt")
    plain = server.txt2img(prompt, **fields)
    if streams == "shared":
        same(plain, server.txt2img(prompt, {"enabled": False}, **fields))
        same(plain, server.txt2img(prompt, {**ON, "weight": 0.0}, **fields))
    made = server.txt2img(prompt, {**ON, "streams": streams}, **fields)
    all_guarded(plain, made)
    same(made, server.txt2img(prompt, {**ON, "streams": streams}, **fields))


@pytest.mark.parametrize("strategy", ["direction", "projection"])
@pytest.mark.parametrize("path", ["refiner", "hires fix, checkpoint of its own"])
def test_what_is_learned_follows_a_changed_checkpoint(
    server: Server, path: str, strategy: str
) -> None:
    """A change of checkpoint within the run: what is learned is that encoder's own."""
    asked = {**ON, "strategy": strategy}
    made = server.txt2img(HAZARD, asked, **PATHS[path])
    all_guarded(server.txt2img(HAZARD, **PATHS[path]), made)
    same(made, server.txt2img(HAZARD, asked, **PATHS[path]))


IMG2IMG: dict[str, dict[str, Any]] = {
    "Euler a": {},
    "DDIM": {"sampler_name": "DDIM"},
    "UniPC": {"sampler_name": "UniPC"},
    "batch": {"batch_size": 2},
    "inpaint": {"mask": True},
    "inpaint, DDIM": {"mask": True, "sampler_name": "DDIM"},
    "inpaint, whole picture noise": {"mask": True, "inpainting_fill": 2},
    "inpaint, only masked": {"mask": True, "inpaint_full_res": True},
    "inpainting checkpoint": {
        "mask": True,
        "override_settings": {"sd_model_checkpoint": "world-inpainting"},
    },
    "edit checkpoint, image CFG 1": {
        "image_cfg_scale": 1.0,
        "override_settings": {"sd_model_checkpoint": "world-edit"},
    },
}


def _start(server: Server) -> np.ndarray:
    return server.txt2img(BENIGN, steps=2).image


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("path", IMG2IMG)
def test_img2img(server: Server, path: str) -> None:
    """Image to image: off is bit-identical, on is guarded and repeats itself."""
    fields = {"denoising_strength": 0.8, **IMG2IMG[path], "scripts": REPEATABLE}
    if fields.pop("mask", False):
        fields.update(mask=png(MASK), mask_blur=0)
    image = _start(server)
    plain = server.img2img(HAZARD, image, **fields)
    same(plain, server.img2img(HAZARD, image, {"enabled": False}, **fields))
    made = server.img2img(HAZARD, image, ON, **fields)
    all_guarded(plain, made)
    same(made, server.img2img(HAZARD, image, ON, **fields))


def _previews(server: Server, make: Callable[[], Answer]) -> tuple[Answer, list[bytes]]:
    """A generation, and every live preview that could be had meanwhile."""
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(make()))
    seen: dict[bytes, None] = {}
    thread.start()
    while thread.is_alive():
        shown = server.call("GET", "/sdapi/v1/progress").body.get("current_image")
        if shown:
            seen[base64.b64decode(shown)] = None
        time.sleep(0.05)
    thread.join()
    return answers[0], list(seen)


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("content", ["Prompt", "Combined"])
@pytest.mark.parametrize("kind", ["Full", "Approx NN", "Approx cheap", "TAESD"])
def test_live_previews(server: Server, kind: str, content: str) -> None:
    """Live previews: none of a guarded run is one of the plain run's."""
    if kind == "TAESD":  # the host would download it; ours has random weights
        assert server.call("POST", "/faults/small-decoder").status == 200
    server.call(
        "POST",
        "/sdapi/v1/options",
        {"show_progress_type": kind, "live_preview_content": content},
    )
    plain, unguarded = _previews(server, lambda: server.txt2img(HAZARD, steps=6))
    # As it begins, a run may still be shown with the last one's picture, by the host.
    server.txt2img(BENIGN, steps=2)
    made, shown = _previews(server, lambda: server.txt2img(HAZARD, ON, steps=6))
    all_guarded(plain, made)
    assert unguarded, "no preview was seen"
    assert shown, "no preview was seen"
    assert all(np.ptp(Image.open(io.BytesIO(one))) > 0 for one in unguarded), "one shows nothing"
    assert not set(unguarded) & set(shown)


def test_two_requests_do_not_mix(server: Server) -> None:
    """Requests with other settings in a row, and at the same time, don't mix."""
    wanted = [server.txt2img(HAZARD, {**ON, "weight": w}).image for w in (0.3, 1.0)]
    plain = server.txt2img(HAZARD).image
    answers: dict[int, Answer] = {}

    def ask(index: int, named: Any) -> None:
        answers[index] = server.txt2img(HAZARD, named)

    cases = [{**ON, "weight": 0.3}, {**ON, "weight": 1.0}, None] * 2
    threads = [threading.Thread(target=ask, args=case) for case in enumerate(cases)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(6):
        assert np.array_equal(answers[index].image, [*wanted, plain][index % 3]), index


@pytest.mark.parametrize("flags", [("--lowvram",), ("--medvram",), ("--opt-split-attention",)])
def test_started_with(boot: Callable[..., Server], server: Server, flags: tuple[str, ...]) -> None:
    """A host started with other flags: off is bit-identical, on is guarded."""
    other = boot("--nowebui", *flags)
    try:
        plain = other.txt2img(HAZARD)
        same(plain, other.txt2img(HAZARD, {"enabled": False}))
        made = other.txt2img(HAZARD, ON)
        all_guarded(plain, made)
        assert difference(made.image, server.txt2img(HAZARD, ON).image) <= CLOSE
    finally:
        other.stop()


def test_without_the_extension(boot: Callable[..., Server], server: Server) -> None:
    """Off is bit-identical to a host that has no SafeGen."""
    bare = boot("--nowebui", extensions={})
    try:
        for fields in ({}, {"sampler_name": "UniPC"}, {"batch_size": 2}, HIRES):
            server.txt2img(HAZARD, ON, **fields)
            same(bare.txt2img(HAZARD, **fields), server.txt2img(HAZARD, **fields))
            same(
                bare.txt2img(HAZARD, **fields),
                server.txt2img(HAZARD, {**ON, "weight": 0.0}, **fields),
            )
    finally:
        bare.stop()


def test_the_api_says_what_was_done(server: Server) -> None:
    """The API sends no comments: its infotext says what was chosen, why, and what to know."""
    made = server.txt2img(HAZARD, {"context": "auto", "streams": "independent"})
    assert "comments" not in json.loads(made.body["info"])
    for text in (made.infotexts[0], json.loads(made.body["info"])["infotexts"][0]):
        assert "SafeGen chose: violence" in text
        assert "SafeGen: Auto chose" in text
        assert 'SafeGen note: "this sampler adds noise' in text or "SafeGen note: this" in text
    assert "SafeGen note" not in server.txt2img(HAZARD, {"context": "auto"}).infotexts[0]


def test_the_last_prompt_comes_back_with_the_settings(server: Server) -> None:
    """The host writes it down before it samples, for its button (↙)."""
    for prompt in (HAZARD, BENIGN):
        assert server.txt2img(prompt, {"context": "auto", "weight": 0.65}).status == 200
        last = (server.data / "params.txt").read_text(encoding="utf8")
        assert last.startswith(prompt)
        assert "SafeGen weight: 0.65" in last
    assert server.txt2img(HAZARD).status == 200
    assert "SafeGen" not in (server.data / "params.txt").read_text(encoding="utf8")
