"""What whoever runs the server gets: the start's line, the status route, and what stays on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from common import BENIGN, HAZARD
from server import Server, difference


def test_the_status_route(server: Server) -> None:
    """The status route says what is enforced and how the last picture was guarded."""
    server.txt2img(HAZARD, {"context": "auto"})
    found = server.call("GET", "/safegen/status").body
    assert (found["supported"], found["enforcing"], found["in_place"]) == (True, False, True)
    assert found["enforced"] is None
    last = found["last_run"]
    assert (last["verdict"], last["contexts"]) == ("guarded", ["violence"])
    assert last["guarded"] == last["needed"] > 0
    assert "bloody" not in json.dumps(found)
    server.txt2img(BENIGN, {"weight": 7.0})
    found = server.call("GET", "/safegen/status").body
    assert found["last_run"]["verdict"] == "failed"
    assert "weight" in found["last_error"]["message"]


def test_the_api_can_t_switch_the_extension_off(server: Server) -> None:
    """While the settings page enforces, the API can't disable extensions."""

    def enforce(level: str) -> None:
        body = {"name": "safegen_enforce", "value": level}
        assert server.call("POST", "/faults/option", body).status == 200

    def disabled(names: list[str]) -> Any:
        server.call("POST", "/sdapi/v1/options", {"disabled_extensions": names})
        return server.call("GET", "/sdapi/v1/options").body["disabled_extensions"]

    enforce("basic")
    try:
        assert disabled(["safegen"]) == []
        server.call("POST", "/sdapi/v1/options", {"disable_all_extensions": "all"})
        options = server.call("GET", "/sdapi/v1/options").body
        assert options["disable_all_extensions"] == "none"
        override = {"disabled_extensions": ["safegen"], "safegen_enforce": "off"}
        made = server.txt2img(HAZARD, override_settings=override)
        assert "SafeGen enforced: basic" in made.infotexts[0]
        assert server.call("GET", "/sdapi/v1/options").body["disabled_extensions"] == []
        assert server.call("GET", "/safegen/status").body["enforced"]["level"] == "basic"
    finally:
        enforce("off")
    assert disabled(["nothing"]) == ["nothing"], "it is as before"
    assert disabled([]) == []


def test_a_start_without_the_level_is_reported(boot: Callable[..., Server]) -> None:
    """The start's line says what is enforced; the next start, that the level has gone."""
    server = boot(config={"safegen_enforce": "strict"})
    try:
        assert "enforced by the settings page: level strict (weight ≥ 0.8" in server.log.read_text()
        plain = server.txt2img(BENIGN)
        server.stop()
        file = server.data / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "safegen_enforce": "off"}))
        server.process = server._start(())
        server.wait()
        text = server.log.read_text()
        assert "nothing is enforced" in text
        assert "level strict was enforced by the settings page, and is no longer" in text
        assert server.call("GET", "/safegen/status").body["warnings"]
        assert difference(server.txt2img(BENIGN).image, plain.image) == 0
    finally:
        server.stop()


def test_the_flag_needs_the_extension(boot: Callable[..., Server]) -> None:
    """With the flag a WebUI whose config disables SafeGen does not start."""
    config = {"disabled_extensions": ["safegen"]}
    server = boot("--safegen-enforce", "strict", wait=False, config=config)
    with pytest.raises(RuntimeError, match="unrecognized arguments: --safegen-enforce"):
        server.wait()
