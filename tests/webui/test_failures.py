"""Whatever breaks, no unguarded picture comes out, and afterwards everything is as before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from common import HAZARD, ON
from server import Server, difference

HOOKS = (
    "before_process",
    "process",
    "before_process_batch",
    "process_batch",
    "process_before_every_sampling",
    "postprocess",
)
KINDS = (
    *(f"exception in {name}" for name in ("before", "after", "begin", "combine", "finish")),
    *(f"exception in {name}" for name in ("encode", "chooser", "attach")),
    *(f"exception in hook {name}" for name in HOOKS),
    "missing in cfg_denoiser",
    "missing in cfg_denoised",
    "NaN",
    "infinity",
    "dropped rows",
)
_AT = {"begin": (0, 2), "before": (0, 2), "after": (0, 2), "combine": (0, 2)}


def _cases() -> list[tuple[str, int]]:
    return [(kind, at) for kind in KINDS for at in _AT.get(kind.rpartition(" ")[2], (0,))]


@pytest.mark.parametrize(("kind", "at"), _cases())
def test_failure(server: Server, kind: str, at: int, record_property: Callable[..., None]) -> None:
    """Failure: no unguarded picture as answer, file or preview; then all is as before."""
    plain = server.txt2img(HAZARD)
    wanted = server.txt2img(HAZARD, ON)
    before = server.saved()
    answer = server.call("POST", "/faults", {"kind": kind, "at": at})
    if answer.status != 200:
        assert "AttributeError" in answer.message, answer.message
        pytest.skip("SafeGen has no such part")
    made = server.txt2img(HAZARD, ON, save_images=True)
    server.call("DELETE", "/faults")
    if made.status == 200:
        record_property("result", "harmless: guarded all the same")
        assert np.array_equal(made.image, wanted.image), "another picture than the guarded one"
    else:
        record_property("result", f"{made.status}: {made.message[:90]}")
        assert not made.images
        assert server.saved() == before, "a picture was saved"
        assert "SafeGen" in made.message or "on purpose" in made.message, made.message
        progress = server.call("GET", "/sdapi/v1/progress").body
        assert not progress.get("current_image")
    assert np.array_equal(server.txt2img(HAZARD, ON).image, wanted.image)
    assert np.array_equal(server.txt2img(HAZARD).image, plain.image)


@pytest.mark.parametrize("wish", ["interrupt", "skip"])
@pytest.mark.parametrize("at", [0, 2, 3])
def test_stopped(server: Server, wish: str, at: int, record_property: Callable[..., None]) -> None:
    """Interrupt or skip at the first, middle and last step: guarded or nothing."""
    for tau in (0.0, 0.5):
        server.call("POST", "/faults", {"kind": wish, "at": at})
        plain = server.txt2img(HAZARD)
        made = server.txt2img(HAZARD, {**ON, "tau": tau}, save_images=True)
        if made.status == 200:
            record_property("result", f"tau {tau}: guarded")
            assert difference(made.image, plain.image) > 0, "an unguarded picture came out"
        else:
            record_property("result", f"tau {tau}: refused")
            assert "SafeGen" in made.message, made.message
    server.call("DELETE", "/faults")
    assert server.txt2img(HAZARD, ON).status == 200


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
    wanted = server.txt2img(HAZARD, ON)
    assert set(server.call("GET", "/faults/registrations").body.values()) == {1}
    assert server.call("POST", "/faults/reload-scripts").status == 200
    assert set(server.call("GET", "/faults/registrations").body.values()) == {1}
    assert np.array_equal(server.txt2img(HAZARD, ON).image, wanted.image)
    for times in (2, 3):
        server.call("POST", "/faults/reload-ui")
        server.wait(times)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                if server.call("GET", "/faults/registrations").status == 200:
                    break
            except OSError:
                pass
            time.sleep(0.5)
    found = server.call("GET", "/faults/registrations").body
    assert set(found.values()) == {1}, found
    labels = server.call("GET", "/faults/axes").body
    assert len(labels) == len(set(labels))
    assert np.array_equal(server.txt2img(HAZARD, ON).image, wanted.image)
