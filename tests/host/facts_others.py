"""Facts about SafeGen on a host beside other extensions: nested runs, wrappers, hooks, reloads."""

from __future__ import annotations

import configparser
import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from driver import BENIGN, HAZARD, HIRES, Host, Made, difference, facts, same
from facts_closed import enforced
from facts_guard import AUTO, ON, ROWS

FACTS, fact = facts()


def nested(host: Host, prompt: Any, named: Any, ask: Callable[[Any], Any]) -> tuple[Made, Any]:
    """A run, and what a script makes within it from what it asks, as ADetailer does."""
    kept: list[Any] = []

    def nest(_self: Any, p: Any, *_args: Any) -> None:
        if not kept:
            kept.append(None)
            kept[0] = host.processing.process_images(ask(p))

    made = host.make_beside(host.script_of(postprocess_image=nest), prompt, named)
    return made, kept[0]


def images(processed: Any) -> list[Any]:
    return [np.asarray(image) for image in processed.images[processed.index_of_first_image :]]


@fact
def a_run_nested_in_a_guarded_one_is_guarded(host: Host) -> None:
    """With every prompt of it, batch by batch and pass by pass."""
    for prompts, fields in (
        ([HAZARD], {"seed": 3}),
        ([BENIGN, HAZARD], {"batch_size": 1, "n_iter": 2}),
        ([HAZARD, BENIGN], {"batch_size": 1, "n_iter": 2}),
        ([HAZARD, HAZARD], {"batch_size": 1, "n_iter": 2, **HIRES}),
    ):
        ask = lambda _, prompts=prompts, fields=fields: host.ask(prompts, **fields)  # noqa: E731
        made, inner = nested(host, HAZARD, AUTO, ask)
        assert made.good
        plain = host.make(prompts, **fields).good.images
        for prompt, one, other in zip(prompts, images(inner), plain, strict=True):
            assert same(one, other) is (prompt == BENIGN), (prompts, fields)


@fact
def a_hazard_within_a_harmless_run_is_guarded(host: Host) -> None:
    """ADetailer's prompt of its own is judged for itself."""
    outer, plain = host.make(BENIGN), host.make(HAZARD, seed=3)
    ask = lambda _: host.ask(HAZARD, seed=3)  # noqa: E731
    for named, guarded in ((AUTO, True), ({**AUTO, "weight": 0.0}, False), (None, False)):
        made, inner = nested(host, BENIGN, named, ask)
        assert same(made, outer)
        assert same(images(inner)[0], plain) is not guarded, named
        assert ("SafeGen chose: violence" in inner.infotexts[0]) is guarded
    with host.options(safegen_guard_nested=False):
        _, inner = nested(host, HAZARD, ON, ask)
        assert same(images(inner)[0], plain)
        assert "SafeGen" not in inner.infotexts[0]
        with enforced(host, "basic"):
            _, inner = nested(host, HAZARD, {"enabled": False}, ask)
        assert not same(images(inner)[0], plain)


@fact
def the_same_picture_made_within_its_own_run_is_guarded_both_times(host: Host) -> None:
    plain = host.make(HAZARD)
    made, inner = nested(host, HAZARD, ON, lambda p: p)
    if made.error is None:
        found = [*made.images, *images(inner)]
        assert not any(same(image, plain) for image in found)
        assert any(same(image, host.make(HAZARD, ON)) for image in found)


@fact
def a_failed_inner_run_leaves_no_trace_in_the_next(host: Host) -> None:
    wanted = host.make(HAZARD, ON)
    asked = {**ON, "tau": 0.7}
    _, inner = nested(host, HAZARD, asked, lambda _: host.ask(HAZARD, steps=2))
    assert inner is None, "the threshold is behind the last step, and the inner run was refused"
    assert same(host.make(HAZARD, ON), wanted)
    assert same(host.make(HAZARD), host.make(HAZARD, None))


@fact
def a_nested_run_with_some_of_the_scripts_is_guarded(host: Host) -> None:
    """ADetailer chooses by file: SafeGen's script has no part in the inner run."""
    plain, calls = host.make(HAZARD, seed=3), []
    other = host.script_of(process=lambda _self, p, *_: calls.append(p))

    def ask(_: Any) -> Any:
        p = host.ask(HAZARD, seed=3)
        p.is_api, p.scripts, p.script_args = True, host.bare_runner(other), ()
        return p

    _, inner = nested(host, HAZARD, ON, ask)
    assert len(calls) == 1
    assert not same(images(inner)[0], plain)


@fact
def a_method_that_another_extension_puts_before_sample_stays(host: Host) -> None:
    """ControlNet puts one there once, and needs it in every batch."""
    seen: list[int] = []

    def process(_self: Any, p: Any, *_args: Any) -> None:
        before = p.sample

        def sample(*given: Any, **named: Any) -> Any:
            seen.append(p.iteration)
            return before(*given, **named)

        p.sample = sample

    plain, wanted = host.make(HAZARD, n_iter=3), host.make(HAZARD, ON, n_iter=3)
    for before in (False, True):
        seen.clear()
        runner = host.beside(host.script_of(process=process), before=before)
        made = host.run(host.ask(HAZARD, n_iter=3), runner=runner, args=host.args(ON)).good
        assert seen == [0, 1, 2], seen
        for one, guarded, unguarded in zip(made.images, wanted.images, plain.images, strict=True):
            assert same(one, guarded)
            assert not same(one, unguarded)


@fact
def a_method_that_takes_the_place_of_sample_is_refused(host: Host) -> None:
    kind = host.processing.StableDiffusionProcessingTxt2Img

    def samples_itself(_self: Any, p: Any, *_args: Any) -> None:
        p.sample = lambda *given, **named: kind.sample(p, *given, **named)

    def returns_noise(_self: Any, p: Any, *_args: Any) -> None:
        p.sample = lambda *_, **__: torch.randn(1, 4, 8, 8)

    for process in (samples_itself, returns_noise):
        other = host.script_of(process=process)
        host.make_beside(other, HAZARD, ON).refused("SafeGen", "in its own way", "switch that")
        assert host.make_beside(other, HAZARD, None).good


@fact
def the_door_is_there_once_and_goes_when_the_scripts_are_unloaded(host: Host) -> None:
    from safegen.webui import lifecycle, registry

    processing = host.processing
    original = processing.process_images_inner.safegen_original
    assert not hasattr(original, "safegen_original")
    lifecycle.remove()
    lifecycle.remove()
    assert processing.process_images_inner is original
    registry.register()
    door = processing.process_images_inner
    assert door.safegen_original is original

    def of_another_extension(p: Any) -> Any:
        return door(p)

    processing.process_images_inner = of_another_extension
    try:
        registry.register()
        assert "SafeGen" in host.make(HAZARD, ON).good.infotexts[0]
        lifecycle.remove()
        assert processing.process_images_inner is of_another_extension
        assert same(host.make(HAZARD), host.make(HAZARD, None))
    finally:
        processing.process_images_inner = original
        registry.register()


@fact
def beside_hooks_in_the_unet_calls_keep_the_host_s_rows(host: Host) -> None:
    """What another extension keeps for the rows of the first call fits every call."""
    if not host.is_stand_in:
        return  # the real model is hooked in tests/webui/test_control.py
    wanted, model = host.make(HAZARD, ROWS), host.shared.sd_model
    unet = torch.nn.Linear(1, 1)
    unet.forward = lambda x: x  # type: ignore[method-assign]
    model.model.diffusion_model = unet
    for fields in ({}, {"batch_size": 2}, {"sampler_name": "DDIM"}):
        model.rows_seen.clear()
        assert host.make(HAZARD, {**ROWS, "tau": 0.5}, steps=10, **fields).good
        assert set(model.rows_seen) == {2 * int(fields.get("batch_size", 1))}, model.rows_seen
    assert difference(host.make(HAZARD, ROWS), wanted) <= 1


@fact
def hooks_called_with_a_copy_leave_the_infotext_alone(host: Host) -> None:
    """ADetailer calls the scripts' first hooks with a copy of ``p`` after each picture."""

    def again(_self: Any, p: Any, *_args: Any) -> None:
        other = copy.copy(p)
        p.scripts.before_process(other)
        p.scripts.process(other)

    wanted = host.make(HAZARD, AUTO, n_iter=2)
    made = host.make_beside(host.script_of(postprocess_image=again), HAZARD, AUTO, n_iter=2).good
    assert all(map(same, made.images, wanted.images))
    assert ["SafeGen chose: violence" in text for text in made.infotexts] == [True, True]


@fact
def everything_is_registered_once(host: Host) -> None:
    """Also when the script file has been run again."""
    from safegen.webui import registry

    for _ in range(3):
        for name in ("cfg_denoiser", "cfg_denoised", "ui_settings", "before_ui", "app_started"):
            entries = host.callbacks.callback_map[f"callbacks_{name}"]
            own = [e for e in entries if e.callback.__module__.startswith("safegen.")]
            assert len(own) == 1, (name, len(own))
        registry.register()
    assert host.make(HAZARD, ON).good


@fact
def our_rows_come_after_t2i_zero_in_a_folder_of_any_name(host: Host) -> None:
    """The host goes by the folder's name, and looks for it in the sections of our metadata."""
    from modules import extensions

    from safegen.webui import registry

    config = configparser.ConfigParser()
    own = SimpleNamespace(canonical_name="my-folder", metadata=SimpleNamespace(config=config))
    find = getattr(extensions, "find_extension", None)
    extensions.find_extension = lambda file: own if file == registry.__file__ else None
    try:
        registry.register()
        registry.register()
        section = config["callbacks/my-folder/registry.py/cfg_denoiser"]
        assert "sd-webui-incantations/t2i_zero.py/cfg_denoiser-1" in section["After"].split(", ")
        assert len(config.sections()) == 1
    finally:
        extensions.find_extension = find
        registry.register()
