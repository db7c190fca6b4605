"""The same yardstick on every host: what the host itself makes of ``P :1-w AND X :w``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from common import BENIGN, HAZARD, HIRES, KNOWN, MASK, REPEATABLE, SAFE, SAMPLERS
from server import REFORGE, WEBUI, Answer, Server, difference, png

from safegen.method.noise_level import progress_at

WEIGHT = 0.4
BLENDED: dict[str, Any] = {**KNOWN, "weight": WEIGHT}
ORACLE = f"{HAZARD} :{1 - WEIGHT} AND {SAFE} :{WEIGHT}"
SWAPPED = f"{SAFE} :{WEIGHT} AND {HAZARD} :{1 - WEIGHT}"
ADAPTIVE = "DPM adaptive"
"""Chooses its steps by their error, so that rounding alone moves the picture: also the host's own
when the parts change places, which is the yardstick then."""
OTHERS: dict[str, dict[str, Any]] = {
    "push": {"push": 1.0},
    "region": {"region": "disagreement"},
    "independent": {"streams": "independent"},
    "independent, push": {"streams": "independent", "push": 1.0},
    "refresh": {"refresh": 2},
    "linear": {"curve": "linear"},
    "conditioning": {"dial": "conditioning"},
    "counterpart": {"strategy": "counterpart", "context": "violence"},
    "auto": {"strategy": "counterpart", "context": "auto"},
}
FORMS: dict[str, dict[str, Any]] = {
    "batch": {"batch_size": 2},
    "two batches": {"n_iter": 2},
    "hires": HIRES,
    "CFG 1": {"cfg_scale": 1.0},
    "CFG 0.5": {"cfg_scale": 0.5},
    "skip early": {"override_settings": {"skip_early_cond": 0.5}},
    "image to image": {"image": True},
    "inpainting": {"image": True, "mask": True},
    "AND": {"more": BENIGN},
}


def made(server: Server, prompt: str, safegen: Any, form: dict[str, Any]) -> Answer:
    fields = {"sampler_name": "Euler", **form}
    if not fields.pop("image", False):
        return server.txt2img(prompt, safegen, **fields)
    picture = np.random.default_rng(1).integers(0, 255, (96, 96, 3)).astype(np.uint8)
    if fields.pop("mask", False):
        fields.update(mask=png(MASK), mask_blur=0, inpainting_fill=1)
    fields.setdefault("denoising_strength", 0.8)
    return server.img2img(prompt, picture, safegen, scripts=REPEATABLE, **fields)


def compared(server: Server, form: dict[str, Any], record_property: Any) -> None:
    """The guarded pictures are the host's own; without SafeGen they are what they were."""
    form = dict(form)
    more = form.pop("more", "")
    prompt, oracle = HAZARD, ORACLE
    if more:
        prompt = f"{HAZARD} AND {more} :0.5"
        share = 0.5 * WEIGHT
        oracle = f"{ORACLE} AND {more} :{0.5 - share} AND {SAFE} :{share}"
    plain = made(server, prompt, None, form)
    off = made(server, prompt, {"enabled": False}, form)
    guarded = made(server, prompt, BLENDED, form)
    own = made(server, oracle, None, form)
    assert plain.status == own.status == guarded.status == 200, guarded.message[:800]
    for one, other in zip(plain.images, off.images, strict=True):
        assert np.array_equal(one, other), "off changes the picture"
    away = [difference(a, b) for a, b in zip(guarded.images, own.images, strict=True)]
    moved = [difference(a, b) for a, b in zip(guarded.images, plain.images, strict=True)]
    record_property("result", f"{max(away)} of 255 from the host's own, {min(moved)} from plain")
    allowed = 1
    if form.get("sampler_name") == ADAPTIVE:
        allowed += difference(own.image, made(server, SWAPPED, None, form).image)
    assert max(away) <= allowed
    assert min(moved) > 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sampler(server: Server, sampler: str, record_property: Any) -> None:
    """Context strategy, weight 0.4: the host's own AND within one grey level; off is off."""
    if sampler not in [one["name"] for one in server.call("GET", "/sdapi/v1/samplers").body]:
        pytest.skip(f"{server.kind} has no {sampler}")
    compared(server, {"sampler_name": sampler}, record_property)


@pytest.mark.parametrize("form", FORMS)
def test_form(server: Server, form: str, record_property: Any) -> None:
    """The same on other ways."""
    with server.keeping(*FORMS[form].get("override_settings", {})):
        compared(server, FORMS[form], record_property)


def test_a_hires_scale_of_0(server: Server, record_property: Any) -> None:
    """reForge's page asks for CFG scale 0 in the hires pass, and means the first pass's.

    With a checkpoint of its own for that pass the host says so only when it begins.
    """
    if server.kind != REFORGE:
        pytest.skip(f"on {server.kind} 0 is 0, or there is no such scale")
    title = server.call("GET", "/sdapi/v1/options").body["sd_model_checkpoint"]
    form = {**HIRES, "hr_cfg": 0}
    compared(server, form, record_property)
    compared(server, {**form, "hr_checkpoint_name": title}, record_property)


def test_dynamic_clip_skip(server: Server, record_property: Any) -> None:
    """reForge's dynamic clip skip: guarded; hires prompts, which it passes over, are refused."""
    if server.kind != REFORGE:
        pytest.skip(f"{server.kind} has none")
    form: dict[str, Any] = {"override_settings": {"dynamic_clip_skip_enabled": True}}
    own = {**HIRES, **form, "hr_prompt": BENIGN}
    auto = {"context": "auto"}
    with server.keeping("dynamic_clip_skip_enabled"):
        compared(server, form, record_property)
        compared(server, {**HIRES, **form}, record_property)
        for prompt, hires in ((HAZARD, BENIGN), (BENIGN, HAZARD)):
            made = server.txt2img(prompt, auto, **{**own, "hr_prompt": hires})
            assert made.status == 422, made.message
            assert "switch dynamic clip skip off" in made.message
        harmless = server.txt2img(BENIGN, auto, **{**own, "hr_prompt": SAFE})
        assert harmless.status == 200, harmless.message


def test_parts_without_uncond_rows(server: Server, record_property: Any) -> None:
    """Where the host leaves the uncond rows out, the first part's row stands in, also the safe one.

    So the picture is the weighted sum of two guided ones, of which the safe one holds nothing of
    the prompt. The host's ``P :1-w AND X :w`` keeps P as the stand-in, whatever its weight. Forge
    and reForge take the parts' weighted mean there, and nothing stands in.
    """
    prompt = f"{HAZARD} AND {BENIGN} :0.5"
    skipped: dict[float, dict[str, Any]] = {
        share: {"override_settings": {"skip_early_cond": share}} for share in (0.5, 1.0)
    }
    star = f"{BENIGN} :{0.5 * (1 - WEIGHT)}"
    weighted = f"{HAZARD} AND {SAFE} :{WEIGHT} AND {star}"
    if server.kind != WEBUI:
        weighted = f"{HAZARD} :{1 - WEIGHT} AND {star} AND {SAFE} :{1.5 * WEIGHT}"
    cases = [
        ({**BLENDED, "weight": 1.0}, f"{SAFE} AND {SAFE} :0.5", skipped[0.5]),
        (BLENDED, weighted, skipped[1.0]),
    ]
    away = []
    with server.keeping("skip_early_cond"):
        for settings, oracle, form in cases:
            guarded, own = made(server, prompt, settings, form), made(server, oracle, None, form)
            away.append(difference(guarded.image, own.image))
    record_property("result", f"{max(away)} of 255 from the host's own")
    assert max(away) <= 1


@pytest.mark.parametrize("name", OTHERS)
def test_other_settings(server: Server, name: str, record_property: Any) -> None:
    """Every call is guarded, and the picture is another than the plain one."""
    plain = server.txt2img(HAZARD, sampler_name="Euler")
    answer = server.txt2img(HAZARD, {**BLENDED, **OTHERS[name]}, sampler_name="Euler")
    assert answer.status == 200, answer.message
    run = server.call("GET", "/safegen/status").body["last_run"]
    record_property("result", f"guarded {run['guarded']} of {run['needed']} calls")
    assert run["verdict"] == "guarded"
    assert run["guarded"] == run["needed"] > 0
    assert difference(answer.image, plain.image) > 1


def test_harmless_beside_guarded(server: Server) -> None:
    """A batch of a flagged and a harmless prompt: the harmless picture is bit-identical."""
    lines = [BENIGN, HAZARD]
    script = {
        "script_name": "prompts from file or textbox",
        "script_args": [False, False, "start", "\n".join(lines)],
    }
    auto = {**BLENDED, "context": "auto", "strategy": "counterpart"}
    plain, found = server.txt2img("", None, **script), server.txt2img("", auto, **script)
    assert np.array_equal(plain.images[-2], found.images[-2])
    assert difference(plain.images[-1], found.images[-1]) > 1


def noise_levels(schedule: str, steps: int) -> np.ndarray:
    """σ of each call on Stable Diffusion's own noise schedule."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    every = np.sqrt(1 / np.cumprod(1 - betas) - 1)
    if schedule == "Karras":
        return np.linspace(every[-1] ** (1 / 7), every[0] ** (1 / 7), steps) ** 7
    return np.exp(np.interp(np.linspace(999, 0, steps), np.arange(1000), np.log(every)))


@pytest.mark.parametrize(
    ("sampler", "schedule"), [("Euler", "Automatic"), ("DPM++ 2M", "Karras"), ("Euler", "Karras")]
)
def test_threshold_and_end_go_by_noise_level(
    server: Server, sampler: str, schedule: str, record_property: Any
) -> None:
    """Threshold 0.4 and end 0.8 are the same noise levels in every sampler and schedule."""
    steps, named = 12, {"sampler_name": sampler, "scheduler": schedule}
    came = [progress_at(float(sigma)) for sigma in noise_levels(schedule, steps)]
    wanted = sum(0.4 <= progress < 0.8 for progress in came)
    settings = {**BLENDED, "tau": 0.4, "end": 0.8}
    plain = server.txt2img(HAZARD, None, steps=steps, **named)
    made = server.txt2img(HAZARD, settings, steps=steps, **named)
    assert made.status == 200, made.message
    run = server.call("GET", "/safegen/status").body["last_run"]
    record_property("result", f"{run['guarded']} of {steps} calls, {wanted} by their noise")
    assert run["guarded"] == run["needed"] == wanted
    assert difference(made.image, plain.image) > 1
