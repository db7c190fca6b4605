"""Facts about SafeGen on a host: other extensions that guide, call the model or give it texts.

They do what extensions were seen to do on the real WebUI; see docs/compatibility.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from driver import BENIGN, HAZARD, Host, difference, facts, same
from facts_guard import AUTO, LONG, OWN_TEXT, ROWS

FACTS, fact = facts()

NAME = "the-neighbour"


@contextmanager
def installed() -> Iterator[None]:
    """This folder counts as an extension of another name for a while, but for the stand-in."""
    from modules import extensions

    here = Path(__file__).parent
    before = list(extensions.extensions)
    orders_nothing = SimpleNamespace(list_callback_order_instructions=list)
    for name, folder, builtin in ((NAME, here, False), ("the host", here / "standin", True)):
        entry = {"name": name, "path": str(folder), "is_builtin": builtin}
        extensions.extensions.append(SimpleNamespace(**entry, metadata=orders_nothing))
    try:
        yield
    finally:
        extensions.extensions[:] = before


def with_denoiser(host: Host, change: Callable[[Any], None], named: Any, **fields: Any) -> Any:
    """A picture of `HAZARD` whose denoiser another extension changes before it is used."""

    def before(_self: Any, p: Any, *_args: Any, **_named: Any) -> None:
        change(p.sampler.model_wrap_cfg)

    other = host.script_of(process_before_every_sampling=before)
    with installed():
        p = host.ask(HAZARD, **fields)
        return host.run(p, runner=host.beside(other, before=True), args=host.args(named))


def average(denoiser: Any) -> None:
    """Guidance as in dynamic thresholding: what is no uncond row is a row of the prompt."""
    kind = type(denoiser)

    def combine_denoised(_self: Any, x_out: Any, conds_list: Any, uncond: Any, scale: float) -> Any:
        images = len(conds_list)
        base = x_out[-images:]
        rows = x_out[:-images].reshape(images, -1, *x_out.shape[1:])
        return base + scale * (rows - base[:, None]).sum(1)

    denoiser.__class__ = type("Other", (kind,), {"combine_denoised": combine_denoised})


@fact
def guidance_of_another_extension_is_given_the_host_s_rows_alone(host: Host) -> None:
    for size in (1, 2):
        wanted = host.make(HAZARD, ROWS, batch_size=size).good
        made = with_denoiser(host, average, ROWS, batch_size=size).good
        for one, other in zip(made.images, wanted.images, strict=True):
            assert difference(one, other) <= 1, size


@fact
def independent_streams_beside_another_s_guidance_are_refused(host: Host) -> None:
    made = with_denoiser(host, average, {**ROWS, "streams": "independent"})
    made.refused("SafeGen", NAME, "shared streams")


@fact
def guidance_that_goes_past_safegen_is_refused_by_name(host: Host) -> None:
    def guide(params: Any) -> None:
        denoiser = params.denoiser
        denoiser.combine_denoised = lambda *args: type(denoiser).combine_denoised(denoiser, *args)

    with installed(), host.listening(denoiser=guide):
        host.make(HAZARD, ROWS).refused("SafeGen", NAME, "guides in its own way")


@fact
def a_model_that_another_extension_calls_in_its_own_way_is_given_the_host_s_rows(
    host: Host,
) -> None:
    """Tiled Diffusion stands around the inner model, and knows its regions' rows by number."""
    seen: list[int] = []

    def tile(denoiser: Any) -> None:
        model = denoiser.inner_model
        before = getattr(model, "forward", None)

        def forward(x: Any, *args: Any, **named: Any) -> Any:
            seen.append(len(x))
            return before(x, *args, **named)

        model.forward = forward

    for size in (1, 2):
        seen.clear()
        wanted = host.make(HAZARD, ROWS, batch_size=size).good
        if host.is_stand_in:
            host.shared.sd_model.rows_seen.clear()
        made = with_denoiser(host, tile, ROWS, batch_size=size).good
        rows = host.shared.sd_model.rows_seen if host.is_stand_in else seen
        assert set(rows) == {2 * size}, rows
        for one, other in zip(made.images, wanted.images, strict=True):
            assert difference(one, other) <= 2, size


@fact
def an_error_of_another_extension_in_a_call_of_ours_is_told_with_its_name(host: Host) -> None:
    calls: list[int] = []

    def count(denoiser: Any) -> None:
        model, kind = denoiser.inner_model, type(denoiser.inner_model)
        name = "__call__" if host.is_stand_in else "forward"

        def counted(self: Any, x: torch.Tensor, *args: Any, **named: Any) -> Any:
            calls.append(len(x))
            if len(calls) > 1:
                raise ValueError("not as many rows as there were")
            return getattr(kind, name)(self, x, *args, **named)

        model.__class__ = type("Counted", (kind,), {name: counted})

    longer = {**OWN_TEXT, "safe_text": LONG}
    with_denoiser(host, count, longer).refused("SafeGen", NAME, "not as many rows")


# ---------------------------------------------------------------------- texts of their own


def encoding(host: Host, hook: str, text: str, **more: Any) -> Any:
    """A script that has ``text`` encoded in one of the host's hooks, as for a region."""

    def encode(_self: Any, p: Any, *_args: Any, **_named: Any) -> None:
        texts = host.prompts.SdConditioning([text], **more)
        host.prompts.get_learned_conditioning(host.shared.sd_model, texts, p.steps)

    return host.script_of(**{hook: encode})


HOOKS = ("process", "process_batch", "process_before_every_sampling")
CAUGHT: dict[str, Any] = {**AUTO, "context": "auto"}


@fact
def a_text_that_another_extension_gives_the_model_is_judged(host: Host) -> None:
    """Whichever hook it does so in: what SafeGen raises there the host forgets."""
    for hook in HOOKS:
        with installed():
            made = host.make_beside(encoding(host, hook, HAZARD), BENIGN, CAUGHT)
            made.refused("SafeGen", NAME, "switch that extension off")
            off = host.make_beside(encoding(host, hook, HAZARD), BENIGN, None)
            assert same(off, host.make(BENIGN)), hook
            fine = host.make_beside(encoding(host, hook, "a green box"), BENIGN, CAUGHT)
            assert same(fine, host.make(BENIGN)), hook
    assert host.make(BENIGN, CAUGHT).good, "the run before is forgotten"


@fact
def a_text_that_goes_to_the_model_past_the_parser_is_judged(host: Host) -> None:
    """As the WebUI's own script img2img alternative test encodes its original prompt."""

    def encode(_self: Any, _p: Any, *_args: Any, **_named: Any) -> None:
        texts = host.prompts.SdConditioning([HAZARD])
        host.shared.sd_model.get_learned_conditioning(texts)

    with installed():
        other = host.script_of(process_batch=encode)
        host.make_beside(other, BENIGN, CAUGHT).refused("SafeGen", NAME)
        assert same(host.make_beside(other, BENIGN, None), host.make(BENIGN))
    assert "get_learned_conditioning" not in vars(host.shared.sd_model)


@fact
def what_looks_like_a_tag_is_words_in_such_a_text(host: Host) -> None:
    with installed():
        other = encoding(host, "process_batch", f"<lora:{HAZARD}:1>")
        host.make_beside(other, BENIGN, CAUGHT).refused("SafeGen", NAME)


@fact
def what_it_repeats_of_the_picture_s_own_texts_is_not_judged_again(host: Host) -> None:
    hook = "process_before_every_sampling"
    with installed():
        wanted = host.make(HAZARD, ROWS)
        assert same(host.make_beside(encoding(host, hook, HAZARD), HAZARD, ROWS), wanted)
        negative = {"negative_prompt": "blood, gore"}
        repeated = encoding(host, hook, "blood, gore, a green box")
        made = host.make_beside(repeated, BENIGN, CAUGHT, **negative)
        assert same(made, host.make(BENIGN, **negative))
        marked = encoding(host, hook, "blood, gore", is_negative_prompt=True)
        assert same(host.make_beside(marked, BENIGN, CAUGHT), host.make(BENIGN))


# ---------------------------------------------------------------------- past the door


@fact
def an_inner_run_past_another_extension_s_hijack_is_guarded(host: Host) -> None:
    """ControlNet keeps the host's function in the host's module, and ADetailer goes by that."""
    from safegen.webui import lifecycle, monitoring, registry

    processing, kept = host.processing, "__neighbour_process_images_inner"
    plain = host.make(HAZARD, seed=3).images[0]
    found: list[Any] = []

    def inner(_self: Any, p: Any, *_args: Any) -> None:
        before = processing.process_images_inner
        processing.process_images_inner = getattr(processing, kept)
        try:
            again = host.ask(HAZARD, seed=3)
            again.is_api, again.scripts, again.script_args = True, host.bare_runner(), ()
            found.append(processing.process_images(again))
        finally:
            processing.process_images_inner = before

    for first in (True, False):  # either is loaded before the other
        lifecycle.remove()
        original = processing.process_images_inner
        if not first:
            registry.register()
        setattr(processing, kept, processing.process_images_inner)
        processing.process_images_inner = lambda p: getattr(processing, kept)(p)
        if first:
            registry.register()
        try:
            assert monitoring.in_place()
            found.clear()
            made = host.make_beside(host.script_of(postprocess_image=inner), BENIGN, AUTO).good
            assert same(made, host.make(BENIGN)), first
            (processed,) = found
            assert "SafeGen chose: violence" in processed.infotexts[0], first
            assert difference(np.asarray(processed.images[0]), plain) > 0, first
            assert host.make(HAZARD, AUTO).good
        finally:
            lifecycle.remove()
            delattr(processing, kept)
            processing.process_images_inner = original
            registry.register()
    assert monitoring.in_place()
