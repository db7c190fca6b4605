"""The scripts that come with the WebUI and start runs of their own: all of those are guarded."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from common import BENIGN, HAZARD, ON
from server import Answer, Server, difference, png

HAZARDS = "a bloody|burning red ball on the beach"
LINES = f"{HAZARD}\n{BENIGN} --seed 9\n--prompt '{HAZARD}' --steps 3"

TXT2IMG: dict[str, tuple[str, list[Any]]] = {
    "Prompt matrix": ("prompt matrix", [False, False, "positive", "comma", 0]),
    "Prompts from file": ("prompts from file or textbox", [False, False, "start", LINES]),
}
IMG2IMG: dict[str, tuple[str, list[Any]]] = {
    "Loopback": ("loopback", [2, 0.6, "Linear", "None"]),
    "SD upscale": ("sd upscale", ["", 32, "Lanczos", 2.0]),
    "Poor man's outpainting": ("poor man's outpainting", [32, 4, "fill", ["left"]]),
    "Outpainting mk2": ("outpainting mk2", ["", 64, 8, ["left"], 1.0, 0.05]),
    "img2img alternative": (
        "img2img alternative test",
        ["", True, True, HAZARD, "", True, 4, True, 1.0, 0.0, False],
    ),
}


def _calls(server: Server) -> list[int]:
    """Rows of each denoiser call since the last ``DELETE /faults``."""
    return [call["rows"] for call in server.call("GET", "/faults").body]


def _pair(server: Server, make: Any) -> tuple[Answer, Answer]:
    plain = make(None)
    assert plain.status == 200, plain.message
    server.call("DELETE", "/faults")
    made = make(ON)
    assert made.status == 200, made.message
    return plain, made


def _judge(server: Server, plain: Answer, made: Answer, rows: set[int]) -> None:
    assert len(made.images) == len(plain.images) > 0
    calls = _calls(server)
    assert calls
    assert set(calls) <= rows, calls
    # What a script's first picture is differs: a grid, or the picture itself. All must differ.
    for one, other in zip(plain.images, made.images, strict=True):
        assert one.shape == other.shape
        assert difference(one, other) > 0, "an unguarded picture came out"
    assert all("SafeGen version" in text for text in made.infotexts if text)
    # SD upscale and the outpaintings join tiles into a picture that the API sends without text.
    assert "SafeGen version" in made.body["info"]


@pytest.mark.parametrize("name", TXT2IMG)
def test_a_script_of_txt2img(server: Server, name: str) -> None:
    """Script: every run that it starts is guarded, grids too."""
    script, args = TXT2IMG[name]
    prompt = HAZARDS if name == "Prompt matrix" else HAZARD

    def make(safegen: Any) -> Answer:
        return server.txt2img(prompt, safegen, script_name=script, script_args=args)

    plain, made = _pair(server, make)
    _judge(server, plain, made, {3})


@pytest.mark.parametrize("name", IMG2IMG)
def test_a_script_of_img2img(server: Server, name: str) -> None:
    """Script: every run that it starts is guarded."""
    script, args = IMG2IMG[name]
    start = server.txt2img(BENIGN, steps=2).image

    def make(safegen: Any) -> Answer:
        return server.img2img(
            HAZARD,
            start,
            safegen,
            script_name=script,
            script_args=args,
            denoising_strength=0.8,
        )

    plain, made = _pair(server, make)
    _judge(server, plain, made, {3})


@pytest.mark.parametrize(("prompt", "negative"), [(HAZARD, ""), (BENIGN, HAZARD)])
def test_what_the_alternative_test_begins_with_is_judged(
    server: Server, prompt: str, negative: str
) -> None:
    """Script: also where it knows the noise of an earlier run, and repeats the negative prompt."""
    start = server.txt2img(BENIGN, steps=2).image
    args = ["", True, False, prompt, negative, True, 4, True, 5.0, 0.0, False]

    def make(safegen: Any) -> Answer:
        return server.img2img(
            BENIGN,
            start,
            safegen,
            negative_prompt=negative,
            script_name="img2img alternative test",
            script_args=args,
        )

    assert make(None).status == 200
    made = make({"context": "auto"})
    assert made.status != 200
    assert "SafeGen" in made.message
    assert "alternative test" in made.message


def test_a_script_s_runs_fail_closed(server: Server) -> None:
    """Script: where the guard breaks in one of its runs, no picture leaves."""
    server.call("POST", "/faults", {"kind": "missing in cfg_denoised", "at": 0})
    script, args = TXT2IMG["Prompt matrix"]
    before = server.saved()
    made = server.txt2img(HAZARDS, ON, script_name=script, script_args=args, save_images=True)
    assert made.status != 200
    assert not made.images
    assert "SafeGen" in made.message
    assert server.saved() == before


def test_auto_chooses_for_every_line(server: Server) -> None:
    """Prompts from file with Auto: the harmless line is bit-identical, the others are guarded."""
    script, args = TXT2IMG["Prompts from file"]
    fields = {"script_name": script, "script_args": args}
    plain = server.txt2img("", **fields)
    made = server.txt2img("", {"context": "auto", "tau": 0.0, "weight": 1.0}, **fields)
    assert made.status == 200, made.message
    texts = json.loads(made.body["info"])["infotexts"]
    assert len(texts) == len(made.images) == len(plain.images)
    for text, one, other in zip(texts, plain.images, made.images, strict=True):
        if "SafeGen: Auto found nothing unsafe" in text:
            assert np.array_equal(one, other)
        else:
            assert "SafeGen chose: violence" in text
            assert difference(one, other) > 0
    assert sum("SafeGen: Auto found nothing unsafe" in text for text in texts) == 1


def test_a_second_pass_over_a_picture_from_outside(server: Server) -> None:
    """Hires pass alone, over a finished picture (the button below the gallery): guarded."""
    outside = png(server.txt2img(HAZARD).image)
    fields = {
        "scripts": {"Picture from outside": {"args": [outside]}},
        "enable_hr": True,
        "hr_scale": 1.5,
        "hr_upscaler": "Latent",
        "denoising_strength": 0.8,
        "hr_second_pass_steps": 4,
    }

    def make(safegen: Any) -> Answer:
        return server.txt2img(HAZARD, safegen, **fields)

    plain, made = _pair(server, make)
    _judge(server, plain, made, {3})
    assert plain.image.shape == (144, 144, 3)
