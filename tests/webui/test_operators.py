"""What whoever runs the server gets: the start's line, the status route, and what stays on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from common import BENIGN, HAZARD, HIRES
from safetensors import safe_open
from safetensors.torch import save_file
from server import Server, difference

from safegen.webui.resources import sha256


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
        log = server.log.read_text()
        assert "enforced by the settings page: level strict. " in log
        assert "Safety weight: always 1; " in log
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


# ---------------------------------------------------------------------- lists and users

PASSWORD = "secret"
HARMLESS = "cleanstyle"
"""The name of an embedding."""


def asked(server: Server, prompt: str, user: str = "guest", **fields: Any) -> Any:
    server.auth = f"{user}:{PASSWORD}"
    return server.txt2img(prompt, **fields)


@pytest.fixture(scope="module")
def listing(
    boot: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Path]]:
    """A host with a policy that lists files, of which one user is free, and its file."""
    file = tmp_path_factory.mktemp("policy") / "house.json"
    file.write_text("{}")
    accounts = ",".join(f"{user}:{PASSWORD}" for user in ("guest", "artist"))
    server = boot("--safegen-enforce", str(file), "--api-auth", accounts)
    server.auth = f"guest:{PASSWORD}"
    model = server.data / "models" / "Stable-diffusion" / "safegen-world.safetensors"
    with safe_open(model, "pt") as tensors:
        (table,) = (
            name for name in list(tensors.keys()) if name.endswith("token_embedding.weight")
        )
        width = tensors.get_slice(table).get_shape()[1]
    folder = server.data / "embeddings"
    folder.mkdir(exist_ok=True)
    save_file({"emb_params": torch.randn(2, width)}, folder / f"{HARMLESS}.safetensors")
    assert server.call("POST", "/sdapi/v1/refresh-embeddings").status == 200
    assert HARMLESS in server.call("GET", "/sdapi/v1/embeddings").body["loaded"]
    yield server, file
    server.stop()


EMBEDDED = (
    {"prompt": f"a ball, {HARMLESS}"},
    {"prompt": f"a ball, ({HARMLESS}:1.3)"},
    # encoded as a whole once the setting is another, as it may be for the hires pass
    {
        "prompt": f"a ball, {HARMLESS[:3]}({HARMLESS[3:]}:1)",
        "override_settings": {"emphasis": "None"},
    },
    {"prompt": f"a ball AND {HARMLESS} :0.1"},
    {"prompt": f"a [ball:{HARMLESS}:3] on the beach"},
    {"prompt": f"a [ball|{HARMLESS}] on the beach"},
    {"prompt": f"a [ball:{HARMLESS}:1.5] on the beach", **HIRES},
    {"prompt": f"a [ball:{HARMLESS}:6] on the beach", "sampler_name": "Heun"},
    {"prompt": "a ball", "negative_prompt": HARMLESS},
    {"prompt": "a ball", "hr_prompt": HARMLESS, **HIRES},
    {"prompt": f"a ball, {HARMLESS.upper()}"},
)


def test_embeddings_may_be_listed(listing: tuple[Server, Path]) -> None:
    """An embedding that the policy doesn't name is refused wherever a prompt has it."""
    server, file = listing
    weights = server.data / "embeddings" / f"{HARMLESS}.safetensors"
    for named, refused in (
        ([], True),
        (["another"], True),
        (["sha256:" + "0" * 64], True),
        ([HARMLESS], False),
        (["sha256:" + sha256(weights)], False),
        (["sha256:" + sha256(weights)[:10].upper()], False),
    ):
        file.write_text(json.dumps({"allowed": {"embeddings": named}}))
        for fields in EMBEDDED if named == [] else EMBEDDED[:1]:
            made = asked(server, **fields)
            assert (made.status == 422) is refused, (named, fields, made.message[:300])
            if refused:
                assert made.body["detail"]["field"] == "embedding"
                assert HARMLESS in made.message
        assert asked(server, "a ball").status == 200


def test_loras_may_be_listed(listing: tuple[Server, Path]) -> None:
    """So is a LoRA, also one of the second pass alone."""
    server, file = listing
    weights = server.data / "models" / "Lora" / "probe.safetensors"
    ways = (
        {"prompt": "a ball <lora:probe:0.5>"},
        {"prompt": "a ball", "hr_prompt": "a ball <lora:probe:1>", **HIRES},
    )
    for named, refused in (
        ([], True),
        (["another"], True),
        (["probe"], False),
        (["sha256:" + sha256(weights)], False),
    ):
        file.write_text(json.dumps({"allowed": {"loras": named}}))
        for fields in ways:
            made = asked(server, **fields)
            assert (made.status == 422) is refused, (named, fields, made.message[:300])
            if refused:
                assert made.body["detail"]["field"] == "LoRA"


def test_checkpoints_may_be_listed(listing: tuple[Server, Path]) -> None:
    """By name or by hash: a file that has got the name of another is told by its hash."""
    server, file = listing
    folder = server.data / "models" / "Stable-diffusion"
    weights = folder / "safegen-world.safetensors"
    for named, refused in (
        ([], True),
        (["another"], True),
        (["sha256:" + "0" * 64], True),
        (["safegen-world"], False),
        (["safegen-world.safetensors"], False),
        (["sha256:" + sha256(weights)], False),
    ):
        file.write_text(json.dumps({"allowed": {"checkpoints": named}}))
        made = asked(server, "a ball")
        assert (made.status == 422) is refused, (named, made.message[:300])
        if refused:
            assert made.body["detail"]["field"] == "checkpoint"


def test_users_have_policies_of_their_own(listing: tuple[Server, Path]) -> None:
    """The name is the one that the API has checked; whoever has none gets the rest."""
    server, file = listing
    file.write_text(
        json.dumps(
            {
                "minimum": {"weight": 0.9},
                "users": {"artist": {"minimum": {"weight": 0.4}, "allowed": {"loras": []}}},
            }
        )
    )
    named = {"weight": 0.1, "context": "auto"}
    server.auth = f"guest:{PASSWORD}"
    guest = server.txt2img(HAZARD, named)
    assert "SafeGen weight: 0.9" in guest.infotexts[0]
    server.auth = f"artist:{PASSWORD}"
    artist = server.txt2img(HAZARD, named)
    assert "SafeGen weight: 0.4" in artist.infotexts[0]
    assert server.txt2img("a ball <lora:probe:1>").status == 422
    server.auth = f"guest:{PASSWORD}"
    assert server.txt2img("a ball <lora:probe:1>").status == 200
    assert server.call("POST", "/sdapi/v1/txt2img", {}, auth="artist:wrong").status == 401
    assert np.array_equal(server.txt2img(HAZARD, named).image, guest.image)
