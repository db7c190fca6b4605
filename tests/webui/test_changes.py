"""Checkpoint, VAE and encoder changed between runs and in the middle of one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from common import CLOSE, HAZARD, KNOWN, SAFE
from safetensors.torch import load_file, save_file
from server import Answer, Server, difference

CHANGES: dict[str, dict[str, Any]] = {
    "checkpoint": {"sd_model_checkpoint": "other"},
    "VAE": {"sd_vae": "darker.safetensors"},
    "CLIP skip": {"CLIP_stop_at_last_layers": 2},
    "another LoRA": {},
}
LORA = " <lora:probe:1>"


@pytest.fixture
def change(server: Server) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Sets the host's options, which are as they were afterwards."""
    models = server.data / "models"
    weights = load_file(models / "Stable-diffusion" / "safegen-world.safetensors")
    prefix = "first_stage_model."
    vae = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    vae["decoder.conv_out.bias"] = vae["decoder.conv_out.bias"] - torch.tensor(0.2).to(
        vae["decoder.conv_out.bias"]
    )
    (models / "VAE").mkdir(exist_ok=True)
    save_file({k: v.contiguous() for k, v in vae.items()}, models / "VAE" / "darker.safetensors")
    server.call("POST", "/sdapi/v1/refresh-vae")

    def post(wanted: dict[str, Any]) -> None:
        assert server.call("POST", "/sdapi/v1/options", wanted).status == 200

    with server.keeping(*(name for options in CHANGES.values() for name in options)):
        yield post


def guarded(server: Server, made: Answer) -> None:
    """The last run's record says that every call was guarded."""
    assert made.status == 200, made.message
    run = server.call("GET", "/safegen/status").body["last_run"]
    assert run["verdict"] == "guarded"
    assert run["guarded"] == run["needed"] > 0


@pytest.mark.parametrize("name", CHANGES)
def test_between_runs(server: Server, change: Callable[[dict[str, Any]], None], name: str) -> None:
    """What is changed between two runs counts for both streams; changed back, nothing stays."""
    lora = "" if CHANGES[name] else LORA
    wanted = server.txt2img(HAZARD, KNOWN)
    with server.keeping(*CHANGES[name]):
        change(CHANGES[name])
        safe = server.txt2img(SAFE + lora)
        made = server.txt2img(HAZARD + lora, KNOWN)
        guarded(server, made)
        assert difference(made.image, safe.image) <= CLOSE
        assert difference(made.image, wanted.image) > CLOSE, "nothing was changed"
    again = server.txt2img(HAZARD, KNOWN)
    guarded(server, again)
    assert np.array_equal(again.image, wanted.image)


@pytest.mark.parametrize("name", [name for name, options in CHANGES.items() if options])
def test_in_the_middle_of_a_run(
    server: Server, change: Callable[[dict[str, Any]], None], name: str, record_property: Any
) -> None:
    """What is changed while a picture is made never lets the unguarded one out."""
    steps = {"steps": 40}
    plain, wanted = server.txt2img(HAZARD, **steps), server.txt2img(HAZARD, KNOWN, **steps)
    options = server.call("GET", "/sdapi/v1/options").body
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(server.txt2img(HAZARD, KNOWN, **steps)))
    thread.start()
    while not server.call("GET", "/sdapi/v1/progress").body["state"]["sampling_step"]:
        time.sleep(0.02)
    change(CHANGES[name])
    thread.join()
    changed = server.txt2img(HAZARD, **steps)
    made = answers[0]
    if made.status == 200:
        guarded(server, server.txt2img(HAZARD, KNOWN, **steps))
        for unguarded in (plain, changed):
            far = np.abs(made.image.astype(int) - unguarded.image.astype(int)).mean()
            near = np.abs(made.image.astype(int) - wanted.image.astype(int)).mean()
            assert near < far
    else:
        assert "SafeGen" in made.message
    record_property("result", "guarded" if made.status == 200 else made.message)
    change({option: options[option] for option in CHANGES[name]})
    assert np.array_equal(server.txt2img(HAZARD, KNOWN, **steps).image, wanted.image)
