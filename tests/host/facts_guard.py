"""Facts about SafeGen on a host: off is off, and whatever is to be guarded is guarded."""

from __future__ import annotations

import sys
from typing import Any

from driver import BENIGN, HAZARD, HIRES, STEPS, Host, difference, facts, same

FACTS, fact = facts()

ON: dict[str, Any] = {"context": "violence", "weight": 1.0, "tau": 0.0, "strategy": "prepend"}
ROWS = {**ON, "strategy": "counterpart"}
"""A safe text no longer than the prompt, whatever the tokenizer: its rows travel along."""
AUTO = {**ON, "context": "auto"}
SAFE_TEXT = "a green cup in the snow"
OWN_TEXT = {
    **ON,
    "context": "custom",
    "safe_text": SAFE_TEXT,
    "unsafe_text": "bloody",
    "strategy": "context",
    "region": "everywhere",
    "push": 0.0,
}
"""At weight 1 from the start the picture is that of the safe text alone."""
MANY = 10
"""Steps in which the guard need not act from the first on."""
LONG = ", ".join(["a dangerous red house at night"] * 20)


def poison(params: Any) -> None:
    """A callback that spoils every row."""
    params.x[:] = float("nan")


# ---------------------------------------------------------------------- off is off


@fact
def off_and_weight_0_are_bit_identical(host: Host) -> None:
    for sampler in host.samplers:
        plain = host.make(HAZARD, sampler_name=sampler)
        for named in (None, {"enabled": False}, {**ON, "weight": 0.0}):
            assert same(plain, host.make(HAZARD, named, sampler_name=sampler)), (sampler, named)


@fact
def off_is_off_after_a_guarded_and_a_failed_run(host: Host) -> None:
    plain = host.make(HAZARD)
    assert not same(host.make(HAZARD, ON), plain)
    assert same(host.make(HAZARD, None), plain)
    with host.listening(denoised=poison):
        host.make(HAZARD, ON).refused()
    made = host.make(HAZARD, None)
    assert same(made, plain)
    assert "SafeGen" not in made.infotexts[0]
    host.make(HAZARD, ON)
    assert same(host.make(HAZARD), plain), "a run without our script is left alone"


def asked_of_ours(host: Host, named: Any, **fields: Any) -> int:
    """How often a function of SafeGen's is called for a picture."""
    calls = [0]

    def note(frame: Any, event: str, _: Any) -> None:
        calls[0] += event == "call" and frame.f_globals.get("__name__", "").startswith("safegen.")

    sys.setprofile(note)
    try:
        assert host.make(HAZARD, named, **fields).good
    finally:
        sys.setprofile(None)
    return calls[0]


@fact
def off_costs_a_dozen_short_calls_a_step(host: Host) -> None:
    off = {"enabled": False}
    few, many = (asked_of_ours(host, off, steps=steps) for steps in (STEPS, STEPS + MANY))
    assert few <= many <= few + 12 * MANY, (few, many)


@fact
def a_harmless_prompt_under_auto_is_bit_identical(host: Host) -> None:
    made = host.make(BENIGN, AUTO)
    assert same(host.make(BENIGN), made)
    assert "SafeGen: Auto found nothing unsafe" in made.infotexts[0]


# ---------------------------------------------------------------------- on is on


@fact
def every_sampler_is_guarded_and_repeats_itself(host: Host) -> None:
    for sampler in host.samplers:
        made = host.make(HAZARD, ON, sampler_name=sampler)
        assert not same(host.make(HAZARD, sampler_name=sampler), made), sampler
        assert same(made, host.make(HAZARD, ON, sampler_name=sampler)), sampler


@fact
def weight_1_from_the_start_is_the_safe_prompt_s_own_picture(host: Host) -> None:
    """The one check of direction: the blend's end is known."""
    for sampler in host.samplers:
        made = host.make(HAZARD, OWN_TEXT, sampler_name=sampler)
        assert difference(made, host.make(SAFE_TEXT, sampler_name=sampler)) <= 2, sampler


def rows(host: Host, named: Any, prompt: Any = HAZARD, **fields: Any) -> list[int]:
    """How many rows each of the host's calls has."""
    seen: list[int] = []
    with host.listening(denoised=lambda p: seen.append(len(p.x))):
        assert host.make(prompt, named, **fields).good
    return seen


@fact
def shared_and_separate_evaluation_agree(host: Host) -> None:
    """Rows in the host's own call, or in calls of SafeGen's own where the lengths differ."""
    short = {**ON, "strategy": "context", "region": "everywhere"}
    longer = f"{HAZARD}, {', '.join(['a green star'] * 30)}"
    assert rows(host, short) == [3] * STEPS
    assert rows(host, short, longer) == [2] * STEPS
    # At weight 1 nothing of the prompt is left but its length.
    assert difference(host.make(HAZARD, short), host.make(longer, short)) <= 2


@fact
def every_call_from_the_threshold_to_the_end_is_guarded(host: Host) -> None:
    """Below it the host's call is as it was. DDIM makes 62 calls for 60 steps."""
    late = {**ROWS, "tau": 0.5}
    assert rows(host, late, batch_size=2, steps=MANY) == [4] * 5 + [6] * 5
    for sampler, steps in (("DDIM", 60), ("Heun", 5)):
        assert set(rows(host, ROWS, sampler_name=sampler, steps=steps)) == {3}, sampler


@fact
def each_image_is_what_it_is_alone(host: Host) -> None:
    both = host.make([HAZARD, BENIGN], AUTO).good
    assert difference(both.images[0], host.make(HAZARD, AUTO)) <= 2
    assert difference(both.images[1], host.make(BENIGN, seed=8)) <= 2
    assert "SafeGen chose: violence" in both.infotexts[0]
    assert "SafeGen: Auto found nothing unsafe" in both.infotexts[1]


PATHS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "batch": ({}, {"batch_size": 2}),
    "count": ({}, {"n_iter": 2}),
    "hires": ({}, HIRES),
    "hires, other sampler": ({}, {**HIRES, "hr_sampler_name": "DDIM"}),
    "NGMS": ({"s_min_uncond_all": True}, {"s_min_uncond": 3.0}),
    "skip early": ({"skip_early_cond": 0.3}, {}),
    "no batching": ({"batch_cond_uncond": False}, {"batch_size": 2}),
    "long negative": ({}, {"negative_prompt": LONG}),
    "padded": ({"pad_cond_uncond": True}, {"negative_prompt": LONG}),
    "padded v0": ({"pad_cond_uncond_v0": True}, {"negative_prompt": LONG}),
    "cfg 1": ({}, {"cfg_scale": 1.0}),
    "parts": ({}, {"prompt": f"{SAFE_TEXT} AND {HAZARD} :0.8"}),
    "edits": ({}, {"prompt": "a [green star:bloody ball:0.5] on the beach"}),
    "emphasis": ({}, {"prompt": "a ((bloody)) (ball:1.3) on the beach"}),
}
"""Settings of the host, and fields of the request."""


@fact
def every_path_is_guarded(host: Host) -> None:
    for name, (options, fields) in PATHS.items():
        with host.options(**options):
            plain = host.make(**{"prompt": HAZARD, **fields})
            for streams in ("shared", "independent"):
                made = host.make(named={**ON, "streams": streams}, **{"prompt": HAZARD, **fields})
                for one, other in zip(plain.images, made.good.images, strict=True):
                    assert not same(one, other), (streams, name)


@fact
def img2img_and_inpainting_are_guarded(host: Host) -> None:
    from PIL import Image

    image = host.picture()
    mask = Image.new("L", image.size, 0)
    mask.paste(255, (0, 0, image.width // 2, image.height))
    for sampler in ("Euler", "DDIM"):
        for painted in ({}, {"mask": mask, "mask_blur": 0}):
            fields = {"sampler_name": sampler, "denoising_strength": 0.8, **painted}
            plain = host.make(HAZARD, image=image, **fields)
            assert not same(plain, host.make(HAZARD, ON, image=image, **fields)), fields


# ---------------------------------------------------------------------- previews


def previews(host: Host, prompt: str, named: Any = None, **fields: Any) -> list[Any]:
    """The latent that the preview shows after each call."""
    seen: list[Any] = []
    look = lambda _: seen.append(host.shared.state.current_latent.clone())  # noqa: E731
    with host.listening(after_cfg=look):
        host.make(prompt, named, **fields)
    return seen


@fact
def previews_are_guarded(host: Host) -> None:
    """From the first guarded call on, a preview shows what the sampler gets."""
    import torch

    for content in ("Prompt", "Combined"):
        with host.options(live_preview_content=content):
            wanted = previews(host, SAFE_TEXT, steps=2)
            found = previews(host, HAZARD, OWN_TEXT, steps=2)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


@fact
def before_the_guard_counts_previews_are_blank(host: Host) -> None:
    """Until the threshold, and on a rising curve until half of the weight."""
    for named in ({"tau": 0.5}, {"curve": "linear"}):
        found = previews(host, HAZARD, {**ON, **named}, steps=MANY)
        shown = [float(latent.abs().max()) for latent in found]
        assert shown[:5] == [0.0] * 5, (named, shown)
        assert min(shown[5:]) > 0.0, (named, shown)
