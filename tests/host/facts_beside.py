"""Facts about SafeGen on a host: other extensions' callbacks around the same call, and previews."""

from __future__ import annotations

from typing import Any

import torch
from driver import BENIGN, HAZARD, STEPS, Host, difference, facts, same
from facts_calls import tokens
from facts_guard import AUTO, ON, OWN_TEXT, ROWS, previews

FACTS, fact = facts()


OTHER = "a bloody green star"


class Undoing:
    """Another extension that puts back what SafeGen has changed, in one of three ways."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.plain: torch.Tensor | None = None

    def keep(self, params: Any) -> None:
        """Before SafeGen: the model's own answer."""
        self.plain = params.x.clone()

    def texts(self, params: Any) -> None:
        """Another text in place of every one."""
        cond = params.text_cond
        own = self.host.encoded(OTHER)
        wanted = tokens(own).expand_as(tokens(cond)).clone()
        if isinstance(cond, dict):
            params.text_cond = type(cond)({**cond, "crossattn": wanted})
        else:
            params.text_cond = wanted

    def texts_in_place(self, params: Any) -> None:
        tokens(params.text_cond)[:] = tokens(self.host.encoded(OTHER))

    def latents(self, params: Any) -> None:
        params.x = params.x.clone()
        params.x[0] += 0.01

    def rows(self, params: Any) -> None:
        params.x[:] = self.plain

    def guidance(self, params: Any) -> None:
        assert self.plain is not None
        cond, uncond = self.plain[:1], self.plain[-1:]
        params.x = uncond + 4.0 * (cond - uncond)

    def guidance_in_place(self, params: Any) -> None:
        assert self.plain is not None
        params.x[:] = self.plain[-1:] + 4.0 * (self.plain[:1] - self.plain[-1:])


WAYS = (
    ("denoiser", "texts"),
    ("denoiser", "texts_in_place"),
    ("denoiser", "latents"),
    ("denoised", "rows"),
    ("after_cfg", "guidance"),
    ("after_cfg", "guidance_in_place"),
)


@fact
def what_another_callback_undoes_is_refused_and_the_callback_named(host: Host) -> None:
    for event, way in WAYS:
        for streams in ("shared", "independent"):
            other = Undoing(host)
            with (
                host.listening(first=True, denoised=other.keep),
                host.listening(**{event: getattr(other, way)}),
            ):
                made = host.make(HAZARD, {**ROWS, "streams": streams})
            assert made.error is not None, (event, way, streams)
            made.refused("SafeGen", host.facts_belong_to, "switch that extension off")
    assert host.make(HAZARD, ROWS).good


@fact
def in_a_harmless_picture_other_callbacks_do_as_they_like(host: Host) -> None:
    def more(params: Any) -> None:
        params.x = params.x * 1.01

    with host.listening(after_cfg=more):
        assert same(host.make(BENIGN, AUTO), host.make(BENIGN))
        host.make(HAZARD, AUTO).refused("SafeGen", host.facts_belong_to)


@fact
def an_inpainting_s_mask_is_no_other_guidance(host: Host) -> None:
    from PIL import Image

    image = host.picture()
    mask = Image.new("L", image.size, 0)
    mask.paste(255, (0, 0, image.width // 2, image.height))

    def more(params: Any) -> None:
        params.x = params.x * 1.01

    for sampler in ("Euler", "DDIM"):
        fields = {"sampler_name": sampler, "denoising_strength": 0.8, "mask": mask, "mask_blur": 0}
        assert host.make(HAZARD, ON, image=image, **fields).good
        with host.listening(after_cfg=more):
            host.make(HAZARD, ON, image=image, **fields).refused("SafeGen", host.facts_belong_to)


# ---------------------------------------------------------------------- who counts rows


@fact
def no_row_is_added_where_a_callback_may_count_rows(host: Host) -> None:
    """Regional Prompter's latent mode gives each row a region by its number."""
    for first in (True, False):
        for size in (1, 2):
            counted: list[int] = []
            seen: list[int] = []
            with (
                host.listening(
                    first=first, counting=True, denoised=lambda p, c=counted: c.append(len(p.x))
                ),
                host.listening(counting=True, denoiser=lambda p, s=seen: s.append(len(p.x))),
            ):
                made = host.make(HAZARD, ROWS, batch_size=size).good
            assert set(counted) == set(seen) == {2 * size}, (first, counted, seen)
            wanted = host.make(HAZARD, ROWS, batch_size=size)
            assert max(map(difference, made.images, wanted.images)) <= 2, (first, size)


@fact
def regions_that_another_callback_gives_to_rows_are_guarded_or_refused(host: Host) -> None:
    """Never the unguarded picture, whether it comes before SafeGen or after."""
    prompt = f"{BENIGN} AND {HAZARD}"

    def regions(params: Any) -> None:
        rows, images = params.x, len(params.x) // 3
        uncond = rows[-images:].clone()
        half = rows.shape[-1] // 2
        for image in range(images):
            rows[2 * image, ..., half:] = uncond[image, ..., half:]
            rows[2 * image + 1, ..., :half] = uncond[image, ..., :half]

    for size in (1, 2):
        with host.listening(first=True, counting=True, denoised=regions):
            plain = host.make(prompt, batch_size=size).good
            made = host.make(prompt, {**AUTO, "strategy": "counterpart"}, batch_size=size).good
        for one, other in zip(plain.images, made.images, strict=True):
            assert not same(one, other), size
        with host.listening(counting=True, denoised=regions):
            host.make(prompt, AUTO, batch_size=size).refused("SafeGen", host.facts_belong_to)


# ---------------------------------------------------------------------- previews


SHOWN = (
    f"{HAZARD} :0 AND {BENIGN}",
    f"{HAZARD} :-0.5 AND {BENIGN} :1.5",
    f"{BENIGN} AND {BENIGN} :0.5",
)


@fact
def a_part_that_does_not_count_is_not_shown(host: Host) -> None:
    """The host shows the first part's row, in previews and when it is interrupted."""
    for prompt in SHOWN[:2]:
        with host.options(live_preview_content="Combined"):
            wanted = previews(host, prompt)
        with host.options(live_preview_content="Prompt"):
            torch.testing.assert_close(previews(host, prompt, AUTO), wanted)
        with host.stopping(1):
            shown = host.make(prompt).good
        with host.stopping(1):
            made = host.make(prompt, AUTO).good
        assert not same(shown, made), prompt
        assert same(host.make(prompt), host.make(prompt, AUTO)), prompt
    with host.options(live_preview_content="Prompt"):
        torch.testing.assert_close(previews(host, SHOWN[2], AUTO), previews(host, SHOWN[2]))


@fact
def the_negative_prompt_is_not_shown(host: Host) -> None:
    """Neither in a guarded run nor in a harmless one with a hazard in its negative prompt."""
    for prompt, named, fields in (
        (BENIGN, AUTO, {"negative_prompt": HAZARD}),
        (HAZARD, OWN_TEXT, {}),
        (HAZARD, OWN_TEXT, {"batch_size": 2, "sampler_name": "DDIM"}),
    ):
        with host.options(live_preview_content="Negative prompt"):
            plain = previews(host, prompt, **fields)
            found = previews(host, prompt, named, **fields)
        with host.options(live_preview_content="Combined"):
            wanted = previews(host, prompt, named, **fields)
        torch.testing.assert_close(found, wanted)
        assert not any(torch.equal(one, other) for one, other in zip(plain, found, strict=True))
    assert len(found) == STEPS - 1  # DDIM makes a call less
