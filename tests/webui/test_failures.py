"""Whatever breaks, no unguarded picture comes out, and afterwards everything is as before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common import BENIGN, HAZARD, HIRES, ON, REPEATABLE
from PIL import Image
from server import REFORGE, WEBUI, Answer, Server, difference

HOOKS = ("process_before_every_sampling",)
KINDS = (
    *(f"exception in {name}" for name in ("before", "after", "begin", "combine", "finish")),
    *(f"exception in {name}" for name in ("encode", "cond_at", "chooser", "attach", "resolve")),
    *(f"exception in hook {name}" for name in HOOKS),
    *(f"missing in hook {name}" for name in HOOKS),
    "missing in cfg_denoiser",
    "missing in cfg_denoised",
    "NaN",
    "infinity",
    "NaN in the safe row",
    "NaN in encoding",
    "wrong shape",
    "wrong shape in encoding",
    "wrong shape in blend",
    "dropped rows",
    "stale cond",
)
IN_A_CALL = ("before", "after", "begin", "combine", "cond_at", "cfg_denoiser", "cfg_denoised")
LATER = ("NaN", "infinity", "NaN in the safe row", "dropped rows", "wrong shape")
HARMLESS = ("hook",)
"""The picture is guarded all the same: without its hook the first callback does the work."""


WEBUIS_OWN = ("missing in cfg_denoised", "NaN in the safe row", "dropped rows")
"""Forge and reForge have neither this callback nor rows of SafeGen's in their own call."""


def skip_elsewhere(server: Server, kind: str, at: int) -> None:
    """Skip what can't happen on Forge and reForge, or does no harm there."""
    if server.kind == WEBUI:
        return
    if kind in WEBUIS_OWN:
        pytest.skip(f"{server.kind} has nothing of the kind")
    if kind == "missing in cfg_denoiser" and at > 0:
        pytest.skip("from the first call on SafeGen stands in the patcher, with or without it")
    if kind == "wrong shape" and server.kind == REFORGE:
        pytest.skip("reForge takes no latents from its callbacks")


def _cases() -> list[tuple[str, int]]:
    return [
        (kind, at)
        for kind in KINDS
        for at in ((0, 2) if kind.rpartition(" ")[2] in IN_A_CALL or kind in LATER else (0,))
    ]


WAYS: dict[str, dict[str, Any]] = {
    "image to image": {"image": True, "denoising_strength": 0.8, "steps": 6},
    "image to image, batch, DDIM": {
        "image": True,
        "denoising_strength": 0.8,
        "steps": 6,
        "batch_size": 2,
        "sampler_name": "DDIM",
    },
    "second pass": HIRES,
    "second batch": {"n_iter": 2},
    "batch": {"batch_size": 2, "sampler_name": "UniPC"},
    "AND": {"prompt": f"{BENIGN} AND {HAZARD}"},
    "separate call": {"prompt": HAZARD + ", a dangerous red house at night" * 16},
    "independent": {"streams": "independent", "sampler_name": "DPM++ 2M"},
    "refresh 2": {"refresh": 2},
}


def ask(server: Server, way: str, named: dict[str, Any] | None, **more: Any) -> Answer:
    """A request of one kind; SafeGen's own settings go into its arguments."""
    fields = {"prompt": HAZARD, **WAYS[way], **more}
    for name in ("streams", "refresh"):
        value = fields.pop(name, None)
        if value is not None and named is not None:
            named = {**named, name: value}
    prompt = fields.pop("prompt")
    if not fields.pop("image", False):
        return server.txt2img(prompt, named, **fields)
    picture = server.txt2img(BENIGN, steps=2).image
    server.call("DELETE", "/faults/log")
    return server.img2img(prompt, picture, named, scripts=REPEATABLE, **fields)


def watched(server: Server, make: Callable[[], Answer]) -> tuple[Answer, set[str], list[Path]]:
    """An answer, what went to the live preview, and the files that were written."""
    server.call("DELETE", "/faults/log")
    before = server.saved()
    made = make()
    previews = set(server.call("GET", "/faults/previews").body) - {"blank"}
    return made, previews, [path for path in server.saved() if path not in before]


def nothing_unguarded(
    plain: tuple[Answer, set[str], list[Path]], made: tuple[Answer, set[str], list[Path]]
) -> None:
    """Neither answer nor file nor preview is one of the plain run's, and a refusal is in words."""
    unguarded = [image.tobytes() for image in plain[0].images]
    assert plain[1], "no preview was seen"
    assert not plain[1] & made[1], "an unguarded preview was shown"
    for image in made[0].images:
        assert image.tobytes() not in unguarded, "an unguarded picture came out"
    for path in made[2]:
        if path.suffix != ".txt":
            image = np.asarray(Image.open(path).convert("RGB"))
            assert image.tobytes() not in unguarded, f"an unguarded picture was saved: {path.name}"
    if made[0].status != 200:
        assert not made[0].images
        assert "SafeGen" in made[0].message or "on purpose" in made[0].message, made[0].message


@pytest.mark.parametrize(("kind", "at"), _cases())
def test_failure(server: Server, kind: str, at: int, record_property: Callable[..., None]) -> None:
    """Failure: no unguarded picture as answer, file or preview; then all is as before."""
    skip_elsewhere(server, kind, at)
    plain = watched(server, lambda: server.txt2img(HAZARD))
    wanted = server.txt2img(HAZARD, ON)
    answer = server.call("POST", "/faults", {"kind": kind, "at": at})
    assert answer.status == 200, answer.message
    made = watched(server, lambda: server.txt2img(HAZARD, ON, save_images=True))
    server.call("DELETE", "/faults")
    nothing_unguarded(plain, made)
    if made[0].status == 200:
        record_property("result", "harmless: guarded all the same")
        assert kind.split()[-2] in HARMLESS, "nothing was refused"
        assert np.array_equal(made[0].image, wanted.image), "another picture than the guarded one"
    else:
        record_property("result", said(made[0]))
        assert not made[2], "a picture was saved"
        progress = server.call("GET", "/sdapi/v1/progress").body
        assert not progress.get("current_image")
    assert np.array_equal(server.txt2img(HAZARD, ON).image, wanted.image)
    assert np.array_equal(server.txt2img(HAZARD).image, plain[0].image)


def said(answer: Answer) -> str:
    """What a refusal says, short."""
    detail = answer.body.get("detail") if isinstance(answer.body, dict) else None
    text = detail.get("message", "") if isinstance(detail, dict) else str(detail or answer.body)
    return f"{answer.status}: {text.rpartition('guard it: ')[2][:70]}"


@pytest.mark.parametrize(
    "kind",
    [
        "exception in before",
        "exception in after",
        "exception in cond_at",
        "missing in cfg_denoiser",
        "missing in cfg_denoised",
        "NaN",
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_failure_on_the_way(
    server: Server, way: str, kind: str, record_property: Callable[..., None]
) -> None:
    """Failure on other ways: no unguarded picture; then all is as before."""
    skip_elsewhere(server, kind, 2)
    plain = watched(server, lambda: ask(server, way, None))
    wanted = ask(server, way, ON)
    at = 5 if way in ("second pass", "second batch") else 2
    if kind == "exception in cond_at" and way in ("batch", "image to image, batch, DDIM"):
        at *= 2  # asked for every row
    if kind == "exception in cond_at" and way == "refresh 2":
        at = 1  # asked for at every second call
    assert server.call("POST", "/faults", {"kind": kind, "at": at}).status == 200
    made = watched(server, lambda: ask(server, way, ON, save_images=True))
    server.call("DELETE", "/faults")
    nothing_unguarded(plain, made)
    record_property("result", said(made[0]))
    assert made[0].status != 200, "nothing was refused"
    assert len(made[2]) <= (way == "second batch"), "a picture was saved"
    for one, other in zip(ask(server, way, ON).images, wanted.images, strict=True):
        assert np.array_equal(one, other)
    for one, other in zip(ask(server, way, None).images, plain[0].images, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("wish", ["interrupt", "skip"])
@pytest.mark.parametrize("at", [0, 5, 9])
@pytest.mark.parametrize("more", [{"tau": 0.0}, {"tau": 0.5}, {"curve": "linear"}], ids=str)
def test_stopped(
    server: Server, more: dict[str, Any], wish: str, at: int, record_property: Callable[..., None]
) -> None:
    """Interrupt or skip at the first, middle and last step: guarded or nothing."""
    server.call("POST", "/faults", {"kind": wish, "at": at})
    how = {"save_images": True, "steps": 10}
    plain = watched(server, lambda: server.txt2img(HAZARD, **how))
    made = watched(server, lambda: server.txt2img(HAZARD, {**ON, **more}, **how))
    server.call("DELETE", "/faults")
    nothing_unguarded(plain, made)
    # The host ends the run at the call after the one in which it was asked to.
    weight = at / 10 if "curve" in more else float(at / 10 >= more["tau"])
    comes = weight >= 0.5
    record_property("result", "guarded" if made[0].status == 200 else said(made[0]))
    assert (made[0].status == 200) is comes
    assert comes or not made[2], "a picture was saved"
    assert server.txt2img(HAZARD, ON).status == 200


@pytest.mark.parametrize("wish", ["interrupt", "skip"])
@pytest.mark.parametrize("at", ["first", "middle", "last"])
@pytest.mark.parametrize("way", WAYS)
def test_stopped_on_the_way(
    server: Server, way: str, wish: str, at: str, record_property: Callable[..., None]
) -> None:
    """Interrupt or skip on other ways: guarded or nothing, and the next run is clean."""
    later = {"first": 4, "middle": 5, "last": 6 + (way == "second batch")}
    call = (
        later[at]
        if way in ("second pass", "second batch")
        else {"first": 0, "middle": 1}.get(at, 3)
    )
    plain = watched(server, lambda: ask(server, way, None))
    wanted = ask(server, way, ON)
    server.call("POST", "/faults", {"kind": wish, "at": call})
    stopped = watched(server, lambda: ask(server, way, None))
    made = watched(server, lambda: ask(server, way, ON, save_images=True))
    server.call("DELETE", "/faults")
    nothing_unguarded(plain, made)
    nothing_unguarded(stopped, made)
    record_property("result", "guarded" if made[0].status == 200 else said(made[0]))
    for one, other in zip(ask(server, way, ON).images, wanted.images, strict=True):
        assert np.array_equal(one, other)


def test_interrupted_by_the_api(server: Server) -> None:
    """An interrupt by a user: guarded or nothing, and the next run is clean."""
    wanted = server.txt2img(HAZARD, ON)
    plain = server.txt2img(HAZARD)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(server.txt2img(HAZARD, ON, steps=30)))
    thread.start()
    while not server.call("GET", "/sdapi/v1/progress").body["state"]["sampling_step"]:
        time.sleep(0.02)
    server.call("POST", "/sdapi/v1/interrupt")
    thread.join()
    made = answers[0]
    assert made.status == 200 or "SafeGen" in made.message
    if made.images:
        assert difference(made.image, plain.image) > 0
    assert np.array_equal(server.txt2img(HAZARD, ON).image, wanted.image)


def test_reloads(server: Server) -> None:
    """Reload UI twice and reload the scripts: one registration of everything."""
    plain, wanted = server.txt2img(HAZARD), server.txt2img(HAZARD, ON)
    named = server.call("GET", "/faults/registrations").body
    assert set(named.values()) == {1}, named

    def as_before() -> None:
        found = server.call("GET", "/faults/registrations").body
        assert found == named
        labels = server.call("GET", "/faults/axes").body
        assert len(labels) == len(set(labels))
        assert np.array_equal(server.txt2img(HAZARD, ON).image, wanted.image)
        assert np.array_equal(server.txt2img(HAZARD).image, plain.image)
        assert server.call("GET", "/safegen/schema").status == 200

    for _ in range(2):
        assert server.call("POST", "/faults/reload-scripts").status == 200
        as_before()
    for _ in range(2):
        server.reload_ui()
        as_before()
