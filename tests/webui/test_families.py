"""Checkpoints of the other families on the host: SD2, SDXL, inpainting, unCLIP, depth, edit.

`families.py` makes them from the embedded model, so that pictures mean something; what a real
checkpoint knows they don't, but they run through the same classes of the WebUI. Those of
`fork_families.py`, for Forge and reForge, mean nothing.
"""

from __future__ import annotations

from typing import Any

import families
import fork_families
import numpy as np
import pytest
from common import BENIGN, CLOSE, HAZARD, HIRES, KNOWN, LONG, MASK, ON, SAFE, ways
from server import WEBUI, Answer, Server, difference, png
from test_generation import all_guarded, same

pytestmark = pytest.mark.usefixtures("other_families")

ALL = tuple(dict.fromkeys((*families.NAMES, *fork_families.NAMES)))
TXT2IMG = tuple(name for name in ALL if name != "world-depth")
"""The WebUI itself has no txt2img for depth checkpoints."""
SAME_PICTURE = ("world-sd2", "world-sd2-v", "world-unclip")
"""In txt2img these see and answer exactly what the embedded model does."""


def there(server: Server) -> list[str]:
    """The checkpoints that the host has."""
    return [one["model_name"] for one in server.call("GET", "/sdapi/v1/sd-models").body]


def load(server: Server, checkpoint: str) -> None:
    """Make it the loaded checkpoint; skip where the host is given none of this kind."""
    if checkpoint not in there(server):
        pytest.skip(f"none of this kind is made for {server.kind}")
    found = server.call("POST", "/sdapi/v1/options", {"sd_model_checkpoint": checkpoint})
    assert found.status == 200, found.message


def close(one: Answer, other: Answer) -> int:
    """The same picture, but for what batches of other sizes round differently: by how much."""
    assert one.status == other.status == 200, (one.message, other.message)
    assert len(one.images) == len(other.images)
    apart = max(difference(*pair) for pair in zip(one.images, other.images, strict=True))
    assert apart <= CLOSE
    return apart


@pytest.mark.parametrize("checkpoint", SAME_PICTURE)
def test_the_checkpoint_is_wired_as_its_family_is(server: Server, checkpoint: str) -> None:
    """Family, without SafeGen: the picture is the embedded model's own."""
    if server.kind != WEBUI:
        pytest.skip("on Forge and reForge the families are of random weights")
    wanted = server.txt2img(HAZARD, steps=8)
    load(server, checkpoint)
    close(server.txt2img(HAZARD, steps=8), wanted)


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M", "DDIM", "UniPC"])
@pytest.mark.parametrize("checkpoint", TXT2IMG)
def test_family(server: Server, checkpoint: str, sampler: str, record_property: Any) -> None:
    """Family: off is bit-identical, all calls guarded, weight 1 is the safe picture, 0.5 AND's."""
    load(server, checkpoint)
    fields: dict[str, Any] = {"sampler_name": sampler, "negative_prompt": "a yellow cup"}
    plain = server.txt2img(HAZARD, **fields)
    same(plain, server.txt2img(HAZARD, {"enabled": False}, **fields))
    same(plain, server.txt2img(HAZARD, {**ON, "weight": 0.0}, **fields))
    server.call("DELETE", "/faults")
    made = server.txt2img(HAZARD, KNOWN, **fields)
    all_guarded(plain, made)
    calls = server.call("GET", "/faults").body
    # Forge and reForge are given the safe rows in a call of their own.
    assert {call["rows"] for call in calls} == {3 if server.kind == WEBUI else 1}, calls
    run = server.call("GET", "/safegen/status").body["last_run"]
    assert run["guarded"] == run["needed"] == len(calls)
    whole = close(made, server.txt2img(SAFE, **fields))
    half = server.txt2img(HAZARD, {**KNOWN, "weight": 0.5}, **fields)
    apart = close(half, server.txt2img(f"{HAZARD} :0.5 AND {SAFE} :0.5", **fields))
    moved = difference(half.image, plain.image)
    assert moved > CLOSE, "the weight makes no difference"
    record_property("result", f"{whole} from safe, {apart} from AND, {moved} from plain")
    same(plain, server.txt2img(HAZARD, **fields))


SHARED = ways(
    "batch count 2", "long prompt", "long negative prompt", "padded conds",
    "batch_cond_uncond off", "prompt editing", "emphasis", "CFG 1", "NGMS", "clip skip",
    "token merging", "hires fix", "hires fix, DDIM in the second pass",
)  # fmt: skip
PATHS: dict[str, dict[str, Any]] = {
    **SHARED,
    "no negative prompt": {},
    "batch size 3": {"batch_size": 3, "negative_prompt": "a yellow cup"},
    "long prompt and long negative prompt": {
        "prompt": f"{HAZARD}, {LONG}",
        "negative_prompt": LONG,
    },
    "not square": {"width": 128},
    "hires fix, checkpoint of another family": {**HIRES, "hr_checkpoint_name": "{other}"},
    "refiner of another family": {
        "refiner_checkpoint": "{other}",
        "refiner_switch_at": 0.5,
        "steps": 6,
    },
}
OTHER = {"world-sd2-v": "world-xl", "world-xl": "world-sd2", "world-unclip": "safegen-world"}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("checkpoint", ["world-sd2-v", "world-xl", "world-unclip"])
def test_path(server: Server, checkpoint: str, path: str) -> None:
    """Family and path: off is bit-identical, weight 1 is the safe picture, both streams guard."""
    load(server, checkpoint)
    fields = {
        key: value.format(other=OTHER[checkpoint]) if isinstance(value, str) else value
        for key, value in PATHS[path].items()
    }
    prompt = fields.pop("prompt", HAZARD)
    plain = server.txt2img(prompt, **fields)
    if plain.status != 200:
        pytest.skip(f"the WebUI itself: {server.last_error()}")
    same(plain, server.txt2img(prompt, {"enabled": False}, **fields))
    made = server.txt2img(prompt, KNOWN, **fields)
    all_guarded(plain, made)
    close(made, server.txt2img(SAFE, **fields))
    own = {**ON, "streams": "independent"}
    made = server.txt2img(prompt, own, **fields)
    all_guarded(plain, made)
    same(made, server.txt2img(prompt, own, **fields))


def test_the_sdxl_refiner(server: Server) -> None:
    """SDXL with its refiner, whose one encoder has another width: weight 1 is the safe picture."""
    load(server, "world-xl")
    fields = {"refiner_checkpoint": "world-xl-refiner", "refiner_switch_at": 0.5, "steps": 6}
    plain = server.txt2img(HAZARD, **fields)
    same(plain, server.txt2img(HAZARD, {"enabled": False}, **fields))
    made = server.txt2img(HAZARD, KNOWN, **fields)
    all_guarded(plain, made)
    close(made, server.txt2img(SAFE, **fields))


@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
@pytest.mark.parametrize("checkpoint", ["world-sd2-v", "world-xl"])
def test_streams_and_and(server: Server, checkpoint: str, sampler: str) -> None:
    """Family: AND parts and independent streams; at weight 1 these are the safe picture too."""
    load(server, checkpoint)
    fields: dict[str, Any] = {"sampler_name": sampler, "negative_prompt": "a yellow cup"}
    wanted = server.txt2img(SAFE, **fields)
    for streams in ("shared", "independent"):
        close(server.txt2img(HAZARD, {**KNOWN, "streams": streams}, **fields), wanted)
    both = server.txt2img(f"{HAZARD} :0.6 AND a bloody star :0.4", KNOWN, **fields)
    close(both, server.txt2img(f"{SAFE} :0.6 AND {SAFE} :0.4", **fields))


@pytest.mark.parametrize("checkpoint", ["safegen-world", "world-sd2-v", "world-xl", "world-unclip"])
def test_strategies(server: Server, checkpoint: str) -> None:
    """Family: every strategy guards; direction and projection in this very text encoder."""
    load(server, checkpoint)
    plain = server.txt2img(HAZARD)
    learned = server.call("POST", "/safegen/learn", {"context": "violence"})
    assert learned.status == 200, learned.message
    pictures = []
    for strategy in ("counterpart", "prepend", "append", "context", "direction", "projection"):
        made = server.txt2img(HAZARD, {**ON, "strategy": strategy})
        all_guarded(plain, made)
        same(made, server.txt2img(HAZARD, {**ON, "strategy": strategy}))
        pictures.append(made.image.tobytes())
    assert len(set(pictures)) == len(pictures)


def test_what_a_strategy_needs_is_learned_in_every_encoder_by_itself(server: Server) -> None:
    """Families: nothing has to be learned first, and each text encoder has its own."""
    asked = {**ON, "context": "sexual", "strategy": "projection"}
    folder = server.data / "safegen" / "contexts" / "learned" / "sexual"
    for number, checkpoint in enumerate(("world-xl", "safegen-world", "world-sd2"), 1):
        load(server, checkpoint)
        made = server.txt2img(HAZARD, asked)
        assert made.status == 200, made.message
        same(made, server.txt2img(HAZARD, asked))
        assert len(list(folder.glob("*.safetensors"))) == number


def test_switching_between_families(server: Server) -> None:
    """Families in turn: each picture is what it is when its checkpoint is the only one."""
    turn = ("safegen-world", "world-v", "world-xl", "world-sd2-v", "world-unclip")
    turn = tuple(checkpoint for checkpoint in turn if checkpoint in there(server))
    first: dict[str, tuple[Answer, Answer]] = {}
    for _ in range(2):
        for checkpoint in turn:
            load(server, checkpoint)
            made = server.txt2img(HAZARD, ON), server.txt2img(HAZARD)
            all_guarded(made[1], made[0])
            for one, other in zip(made, first.setdefault(checkpoint, made), strict=True):
                same(one, other)


# ---------------------------------------------------------------------- from a picture


def start(server: Server) -> np.ndarray:
    """A picture to begin with, and whatever is loaded stays loaded."""
    ramp = np.linspace(0, 255, 96).astype(np.uint8)
    return np.stack([np.broadcast_to(ramp, (96, 96))] * 3, -1)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
@pytest.mark.parametrize("checkpoint", [*ALL, "world-edit"])
def test_img2img(server: Server, checkpoint: str, sampler: str, masked: bool) -> None:
    """Family, image to image: off changes nothing, weight 1 is the safe picture."""
    load(server, checkpoint)
    fields: dict[str, Any] = {"sampler_name": sampler, "denoising_strength": 0.8, "steps": 6}
    fields["scripts"] = {"Repeatable": {"args": [True]}}
    if masked:
        fields.update(mask=png(MASK), mask_blur=0)
    image = start(server)
    plain = server.img2img(HAZARD, image, **fields)
    if plain.status != 200:
        pytest.skip(f"the WebUI itself: {server.last_error()}")
    same(plain, server.img2img(HAZARD, image, {"enabled": False}, **fields))
    made = server.img2img(HAZARD, image, KNOWN, **fields)
    all_guarded(plain, made)
    close(made, server.img2img(SAFE, image, **fields))


@pytest.mark.parametrize("checkpoint", ["world-edit", "world-depth"])
def test_what_the_webui_has_no_txt2img_for(server: Server, checkpoint: str) -> None:
    """Edit and depth checkpoints in txt2img: the WebUI fails by itself, and so with SafeGen."""
    load(server, checkpoint)
    for safegen in (None, ON):
        made = server.txt2img(HAZARD, safegen)
        assert made.status == 500
        assert not made.images
        assert "channels, but got 9 channels" in server.last_error()


def test_an_edit_model_with_an_image_scale(server: Server) -> None:
    """InstructPix2Pix: image CFG 1 is guarded, another refused in words, off left alone."""
    load(server, "world-edit")
    image = start(server)
    for scale in (0.0, 1.5):
        made = server.img2img(HAZARD, image, ON, image_cfg_scale=scale)
        assert made.status == 422, made.message
        assert "InstructPix2Pix" in made.message
        assert "Set the image CFG scale to 1" in made.message
        assert server.img2img(HAZARD, image, image_cfg_scale=scale).status == 200
        harmless = server.img2img(BENIGN, image, {"context": "auto"}, image_cfg_scale=scale)
        assert harmless.status == 200, harmless.message
    plain = server.img2img(HAZARD, image, image_cfg_scale=1.0)
    all_guarded(plain, server.img2img(HAZARD, image, ON, image_cfg_scale=1.0))
