"""Tests on an installed, unpatched host: ``make test-webui SD_WEBUI_DIR=…``.

It may be a WebUI 1.10.1, or Forge or reForge, on which the tests in `EVERYWHERE` run.

Without ``SD_WEBUI_DIR`` they are skipped. ``SD_WEBUI_PYTHON`` is the WebUI's interpreter, if it
is not ``venv/bin/python`` in its folder; ``SD_WEBUI_FLAGS`` replaces `FLAGS` (on a processor).
Forge and reForge need a checkpoint in SD1.5's shapes: the embedded model, widened, or the file that
``SAFEGEN_SD15`` names. With ``SAFEGEN_SMALL_UNET=1`` UNet and autoencoder are a few numbers, which
a processor evaluates in no time, and there are checkpoints of the other families.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import families  # noqa: E402
import fork_families  # noqa: E402
from server import ROOT, WEBUI, Server, kind_of, python_of  # noqa: E402

EXTENSIONS = {
    "safegen": ROOT,
    "safegen-test": HERE / "extension",
    "contract-probe": ROOT / "tests" / "host" / "probe",
}
_RESULTS = pytest.StashKey[list[tuple[str, str]]]()


EVERYWHERE = ("test_failures.py", "test_families.py", "test_oracle.py", "test_widened.py")
"""Files whose tests every host has to pass; the others ask for what is the WebUI's own."""
ALSO = (
    "test_axes_refuse_before_the_first_cell",
    "test_every_axis_does_what_it_says",
    "test_infotext_repeats_the_picture",
    "test_positional_and_named_arguments",
    "test_routes",
    "test_two_requests_do_not_mix",
)
"""Tests of the other files that every host has to pass."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("SD_WEBUI_DIR") or os.environ.get("SD_WEBUI_URL"):
        kind = kind_of(Path(os.environ.get("SD_WEBUI_DIR", ".")))
        for item in items:
            everywhere = item.path.name in EVERYWHERE or item.originalname in ALSO
            if kind != WEBUI and HERE in item.path.parents and not everywhere:
                item.add_marker(pytest.mark.skip(reason=f"asks for what {kind} does otherwise"))
        return
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="SD_WEBUI_DIR names no WebUI"))


@pytest.fixture(scope="session")
def boot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Starts a WebUI with these flags; all are stopped at the end."""
    running: list[Server] = []

    def start(*flags: str, wait: bool = True, **more: Any) -> Server:
        more.setdefault("extensions", EXTENSIONS)
        webui = Path(os.environ["SD_WEBUI_DIR"]).resolve()
        server = Server(webui, tmp_path_factory.mktemp("webui"), flags, **more)
        running.append(server)
        return server.wait() if wait else server

    yield start
    for server in running:
        server.stop()


@pytest.fixture(scope="session")
def shared_server(boot: Callable[..., Server]) -> Server:
    """The session's WebUI: one of its own, or that of ``SD_WEBUI_URL``, to save the start."""
    if os.environ.get("SD_WEBUI_URL"):
        return Server.running(os.environ["SD_WEBUI_URL"], Path(os.environ["SD_WEBUI_DATA"]))
    return boot()


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """The one WebUI of the session, with nothing broken before and after."""
    assert shared_server.call("DELETE", "/faults").status == 200
    yield shared_server
    shared_server.call("DELETE", "/faults")


@pytest.fixture(scope="session")
def read() -> Callable[[Any], Any]:
    """Reads one picture of the embedded world, as its main judge does."""
    import numpy as np

    from safegen.lab.judge.reading import load_judge
    from safegen.lab.model.data import to_tensor

    judge = load_judge()
    return lambda image: judge.read(to_tensor(np.array(image)[None]))[0]


@pytest.fixture(scope="session")
def family_checkpoints(shared_server: Server) -> None:
    """The checkpoints in the host's folder. open_clip, which the WebUI's need, is its own."""
    if shared_server.kind != WEBUI and not os.environ.get("SAFEGEN_SMALL_UNET"):
        pytest.skip("without SAFEGEN_SMALL_UNET=1 there are no families for Forge and reForge")
    folder = shared_server.data / "models" / "Stable-diffusion"
    if shared_server.kind != WEBUI:
        fork_families.put(shared_server)
    elif not families.made(folder):
        python = python_of(Path(os.environ.get("SD_WEBUI_DIR", ".")))
        subprocess.run([python, families.__file__, str(folder)], check=True)
    shared_server.call("POST", "/sdapi/v1/refresh-checkpoints")


@pytest.fixture
def settings(server: Server) -> Iterator[None]:
    """Puts back the settings that tests change, and those that ``override_settings`` leak."""
    names = (
        "s_min_uncond_all skip_early_cond pad_cond_uncond pad_cond_uncond_v0 batch_cond_uncond "
        "token_merging_ratio CLIP_stop_at_last_layers sdxl_clip_l_skip sd_model_checkpoint "
        "live_preview_content show_progress_type"
    )
    with server.keeping(*names.split()):
        yield


@pytest.fixture
def other_families(family_checkpoints: None, settings: None, server: Server) -> None:
    """Settings as they were; previews by the VAE, as others need files from the internet."""
    server.call("POST", "/sdapi/v1/options", {"show_progress_type": "Full"})


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    if HERE not in item.path.parents or (report.when != "call" and report.passed):
        return
    function = getattr(item, "function", None)
    title = ((function.__doc__ if function else None) or item.name).strip().splitlines()[0]
    parameters = item.name.partition("[")[2].rstrip("]")
    found = [value for key, value in report.user_properties if key == "result"]
    word = "ok" if report.passed else "skipped" if report.skipped else "FAILED"
    rows = item.config.stash.setdefault(_RESULTS, [])
    rows.append(
        (
            f"{title.rstrip('.')}{f' ({parameters})' if parameters else ''}",
            "; ".join([word, *found]),
        )
    )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    rows = terminalreporter.config.stash.get(_RESULTS, [])
    if not rows or all(result == "skipped" for _, result in rows):
        return
    width = min(max(len(path) for path, _ in rows), 96)
    terminalreporter.section("path | result")
    for path, result in rows:
        terminalreporter.write_line(f"{path:<{width}} | {result}")
