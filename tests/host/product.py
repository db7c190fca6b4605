"""Facts about SafeGen's script on a host. Each runs within a host's process."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from driver import BENIGN, HAZARD, STEPS, Host, Made, SafeGen, difference

FACTS: dict[str, Callable[[Host], None]] = {}

ON: dict[str, Any] = {"context": "violence", "weight": 1.0, "tau": 0.0, "strategy": "prepend"}
ROWS = {**ON, "strategy": "counterpart"}
"""A safe text no longer than the prompt, whatever the tokenizer: its rows travel along."""


def fact(function: Callable[[Host], None]) -> Callable[[Host], None]:
    FACTS[function.__name__] = function
    return function


def refused(made: Made, *words: str) -> str:
    """The message with which a run failed; it must name each of ``words``."""
    assert made.error is not None, "an unguarded picture came out"
    text = f"{made.error} {getattr(made.error, 'detail', '')}"
    for word in words:
        assert word.lower() in text.lower(), text
    return text


def _samplers(host: Host) -> list[str]:
    if host.is_double:
        return [sampler.name for sampler in host.samplers.all_samplers]
    return ["Euler a", "Heun", "DPM++ 2M", "DDIM", "DDIM CFG++", "UniPC"]


# ---------------------------------------------------------------------- off is off


@fact
def off_and_weight_0_are_bit_identical(host: Host) -> None:
    guard = SafeGen(host)
    for sampler in _samplers(host):
        plain = host.make(HAZARD, sampler_name=sampler)
        for named in (None, {"enabled": False}, {**ON, "weight": 0.0}):
            made = guard.make(HAZARD, named, sampler_name=sampler)
            assert np.array_equal(plain.image, made.image), (sampler, named)


@fact
def off_is_off_after_a_guarded_and_a_failed_run(host: Host) -> None:
    guard = SafeGen(host)
    plain = host.make(HAZARD)
    assert difference(guard.make(HAZARD, ON).image, plain.image) > 0
    assert np.array_equal(guard.make(HAZARD, None).image, plain.image)
    with host.listening(denoised=_poison):
        refused(guard.make(HAZARD, ON))
    made = guard.make(HAZARD, None)
    assert np.array_equal(made.image, plain.image)
    assert "SafeGen" not in made.infotexts[0]


@fact
def a_harmless_prompt_under_auto_is_bit_identical(host: Host) -> None:
    guard = SafeGen(host)
    plain = host.make(BENIGN)
    made = guard.make(BENIGN, {**ON, "context": "auto"})
    assert np.array_equal(plain.image, made.image)
    assert "SafeGen chose: none" in made.infotexts[0]


# ---------------------------------------------------------------------- on is on


@fact
def every_sampler_is_guarded_and_repeats_itself(host: Host) -> None:
    guard = SafeGen(host)
    for sampler in _samplers(host):
        plain = host.make(HAZARD, sampler_name=sampler)
        made = guard.make(HAZARD, ON, sampler_name=sampler)
        assert difference(plain.image, made.image) > 0, sampler
        again = guard.make(HAZARD, ON, sampler_name=sampler)
        assert np.array_equal(made.image, again.image), sampler


@fact
def weight_1_from_the_start_is_the_safe_prompt_s_own_picture(host: Host) -> None:
    """The one check of direction: the blend's end is known."""
    guard = SafeGen(host)
    text = "a green cup in the snow"
    named = {
        "context": "custom",
        "safe_text": text,
        "unsafe_text": "bloody",
        "strategy": "context",
        "weight": 1.0,
        "tau": 0.0,
    }
    for sampler in _samplers(host):
        made = guard.make(HAZARD, named, sampler_name=sampler)
        wanted = host.make(text, sampler_name=sampler)
        assert difference(made.image, wanted.image) <= 2, sampler


@fact
def shared_and_separate_evaluation_agree(host: Host) -> None:
    """Rows in the host's own call, or in calls of SafeGen's own where the lengths differ."""
    guard = SafeGen(host)
    rows: list[int] = []
    short = {**ON, "strategy": "context"}
    filler = ", ".join(["a green star"] * 30)
    with host.listening(denoised=lambda p: rows.append(len(p.x))):
        made = guard.make(HAZARD, short)
        longer = guard.make(f"{HAZARD}, {filler}", short)
    assert rows[:STEPS] == [3] * STEPS, rows
    assert rows[STEPS:] == [2] * STEPS, rows
    assert longer.error is None, longer.error
    # At weight 1 nothing of the prompt is left but its length.
    assert difference(made.image, longer.image) <= 2


@fact
def below_the_threshold_the_host_s_call_is_as_it_was(host: Host) -> None:
    rows: list[int] = []
    guard = SafeGen(host)
    with host.listening(denoised=lambda p: rows.append(len(p.x))):
        guard.make(HAZARD, {**ROWS, "tau": 0.5}, batch_size=2)
    assert rows == [4, 4, 6, 6], rows


@fact
def every_call_to_the_end_is_guarded(host: Host) -> None:
    """Also where a sampler makes more calls than it has steps: 62 for 60 steps of DDIM."""
    guard = SafeGen(host)
    for sampler, steps in (("DDIM", 60), ("Heun", 5)):
        rows: list[int] = []
        with host.listening(denoised=lambda p, rows=rows: rows.append(len(p.x))):
            made = guard.make(HAZARD, ROWS, sampler_name=sampler, steps=steps)
        assert made.error is None, made.error
        assert set(rows) == {3}, (sampler, rows)


@fact
def each_image_is_what_it_is_alone(host: Host) -> None:
    guard = SafeGen(host)
    both = guard.run(host.txt2img([HAZARD, BENIGN], batch_size=2), {**ON, "context": "auto"})
    assert both.error is None, both.error
    alone = guard.make(HAZARD, {**ON, "context": "auto"})
    benign = host.make(BENIGN, seed=8)
    assert difference(both.images[0], alone.image) <= 2
    assert difference(both.images[1], benign.image) <= 2
    assert "SafeGen chose: violence" in both.infotexts[0]
    assert "SafeGen chose: none" in both.infotexts[1]


@fact
def every_path_is_guarded(host: Host) -> None:
    guard = SafeGen(host)
    hires = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7}
    long_negative = ", ".join(["a dangerous red house at night"] * 20)
    paths: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "batch": ({}, {"batch_size": 2}),
        "count": ({}, {"n_iter": 2}),
        "hires": ({}, hires),
        "hires, other sampler": ({}, {**hires, "hr_sampler_name": "DDIM"}),
        "NGMS": ({"s_min_uncond_all": True}, {"s_min_uncond": 3.0}),
        "skip early": ({"skip_early_cond": 0.3}, {}),
        "no batching": ({"batch_cond_uncond": False}, {"batch_size": 2}),
        "long negative": ({}, {"negative_prompt": long_negative}),
        "padded": ({"pad_cond_uncond": True}, {"negative_prompt": long_negative}),
        "padded v0": ({"pad_cond_uncond_v0": True}, {"negative_prompt": long_negative}),
        "cfg 1": ({}, {"cfg_scale": 1.0}),
    }
    for streams in ("shared", "independent"):
        for name, (options, fields) in paths.items():
            with host.options(**options):
                plain = host.run(host.txt2img(HAZARD, **fields))
                made = guard.run(host.txt2img(HAZARD, **fields), {**ON, "streams": streams})
            assert made.error is None, (streams, name, str(made.error))
            assert len(made.images) == len(plain.images)
            for one, other in zip(plain.images, made.images, strict=True):
                assert difference(one, other) > 0, (streams, name)


@fact
def parts_and_edits_are_guarded(host: Host) -> None:
    guard = SafeGen(host)
    for prompt in (
        f"a green cup AND {HAZARD} :0.8",
        "a [green star:bloody ball:0.5] on the beach",
        "a ((bloody)) (ball:1.3) on the beach",
    ):
        for streams in ("shared", "independent"):
            plain = host.make(prompt)
            made = guard.make(prompt, {**ON, "streams": streams})
            assert difference(plain.image, made.image) > 0, (prompt, streams)


@fact
def img2img_and_inpainting_are_guarded(host: Host) -> None:
    from PIL import Image

    guard = SafeGen(host)
    image = Image.fromarray(host.make("a blue box").image)
    size = image.size[0]
    mask = Image.new("L", image.size, 0)
    mask.paste(255, (0, 0, size // 2, size))
    for sampler in ("Euler", "DDIM"):
        fields: dict[str, Any] = {"sampler_name": sampler, "denoising_strength": 0.8}
        plain = host.run(host.img2img(HAZARD, image, **fields))
        made = guard.run(host.img2img(HAZARD, image, **fields), ON, is_img2img=True)
        assert difference(plain.image, made.image) > 0, sampler
        painted = {**fields, "mask": mask, "mask_blur": 0}
        plain = host.run(host.img2img(HAZARD, image, **painted))
        made = guard.run(host.img2img(HAZARD, image, **painted), ON, is_img2img=True)
        assert difference(plain.image, made.image) > 0, sampler


# ---------------------------------------------------------------------- fails closed


def _poison(params: Any) -> None:
    params.x[:] = float("nan")


def _before_safegen(host: Host, name: str, function: Callable[[Any], None]) -> Callable[[], None]:
    """Put a callback before SafeGen's; what is returned takes it off again."""
    entries = host.callbacks.callback_map[f"callbacks_{name}"]
    getattr(host.callbacks, f"on_{name}")(function)
    entries.insert(0, entries.pop())
    _forget_order(host)

    def undo() -> None:
        host.callbacks.remove_callbacks_for_function(function)
        _forget_order(host)

    return undo


def _forget_order(host: Host) -> None:
    """The real host keeps the order in which callbacks run."""
    ordered = getattr(host.callbacks, "ordered_callbacks_map", None)
    if ordered is not None:
        ordered.clear()


@fact
def nothing_but_numbers_comes_out(host: Host) -> None:
    guard = SafeGen(host)
    for value in (float("nan"), float("inf")):

        def poison(params: Any, value: float = value) -> None:
            params.x[1] = value  # the safe row

        undo = _before_safegen(host, "cfg_denoised", poison)
        try:
            made = guard.make(HAZARD, ROWS)
        finally:
            undo()
        refused(made, "SafeGen", "not finite")
        for streams in ("shared", "independent"):

            def poison_uncond(params: Any, value: float = value) -> None:
                params.x[-1] = value

            undo = _before_safegen(host, "cfg_denoised", poison_uncond)
            try:
                made = guard.make(HAZARD, {**ROWS, "streams": streams})
            finally:
                undo()
            refused(made, "SafeGen", "not finite")
    assert guard.make(HAZARD, ON).error is None


@fact
def a_failing_callback_of_ours_stops_the_picture(host: Host) -> None:
    from safegen.hosts.a1111 import PassGuard
    from safegen.hosts.a1111.independent import IndependentStreams
    from safegen.hosts.a1111.rows import HostCall
    from safegen.hosts.a1111.shared import SharedStreams

    guard = SafeGen(host)
    places: list[tuple[Any, str]] = [
        (PassGuard, "before"),
        (PassGuard, "after"),
        (HostCall, "with_rows"),
        (SharedStreams, "blend"),
        (IndependentStreams, "blend"),
    ]
    for streams in ("shared", "independent"):
        for owner, method in places:
            original = getattr(owner, method)
            calls: list[int] = []

            def broken(
                *args: Any, original: Any = original, calls: Any = calls, **kwargs: Any
            ) -> Any:
                calls.append(1)
                if len(calls) == 2:
                    raise RuntimeError("broken on purpose")
                return original(*args, **kwargs)

            setattr(owner, method, broken)
            try:
                made = guard.make(HAZARD, {**ON, "streams": streams})
            finally:
                setattr(owner, method, original)
            if len(calls) < 2:  # the other kind of streams
                continue
            refused(made, "SafeGen")
    assert guard.make(HAZARD, ON).error is None


@fact
def an_error_of_ours_outside_the_callbacks_stops_the_picture_in_words(host: Host) -> None:
    from safegen.method.session import Session
    from safegen.webui import deciding

    guard = SafeGen(host)
    for owner, name in ((Session, "finish"), (deciding, "chooser"), (deciding, "decide")):
        original = getattr(owner, name)

        def broken(*_args: Any, **_kwargs: Any) -> Any:
            raise RuntimeError("broken on purpose")

        setattr(owner, name, broken)
        try:
            made = guard.make(HAZARD, ON)
        finally:
            setattr(owner, name, original)
        refused(made, "SafeGen", "broken on purpose")


@fact
def missing_callbacks_stop_the_picture(host: Host) -> None:
    guard = SafeGen(host)
    for name in ("cfg_denoiser", "cfg_denoised"):
        entries = host.callbacks.callback_map[f"callbacks_{name}"]
        kept = list(entries)
        try:
            entries[:] = [e for e in kept if not e.callback.__module__.startswith("safegen.")]
            assert len(entries) == len(kept) - 1
            _forget_order(host)
            made = guard.make(HAZARD, ON)
        finally:
            entries[:] = kept
            _forget_order(host)
        refused(made, "SafeGen")


@fact
def a_callback_that_drops_our_rows_stops_the_picture(host: Host) -> None:
    def drop(params: Any) -> None:
        for name in ("x", "sigma", "image_cond"):
            value = getattr(params, name)
            setattr(params, name, torch.cat([value[:1], value[2:]]))
        params.text_cond = params.text_cond[:1]

    guard = SafeGen(host)
    with host.listening(denoiser=drop):
        refused(guard.make(HAZARD, ROWS), "SafeGen", "rows")


@fact
def failing_hooks_stop_the_picture_or_leave_it_guarded(host: Host) -> None:
    guard = SafeGen(host)
    wanted = guard.make(HAZARD, ON).image
    kind = type(guard.script())
    hooks = [
        name
        for name in (
            "setup",
            "before_process",
            "process",
            "before_process_batch",
            "process_batch",
            "process_before_every_sampling",
            "postprocess",
        )
        if name in vars(kind)
    ]
    assert hooks
    for name in hooks:

        def broken(*_args: Any, **_kwargs: Any) -> None:
            raise RuntimeError("broken on purpose")

        original = getattr(kind, name)
        setattr(kind, name, broken)
        try:
            made = guard.make(HAZARD, ON)
        finally:
            setattr(kind, name, original)
        if made.error is None:
            assert np.array_equal(made.image, wanted), name
    # Without its postprocess a run seems under way until the script's next one.
    assert guard.make(BENIGN, None).error is None


@fact
def an_interrupt_gives_guarded_pictures_or_none(host: Host) -> None:
    guard = SafeGen(host)
    for at in (0, 1, STEPS - 1):
        count: list[int] = []

        def stop(_params: Any, count: list[int] = count, at: int = at) -> None:
            count.append(1)
            if len(count) == at + 1:
                host.shared.state.interrupt()

        with host.listening(denoiser=stop):
            plain = host.make(HAZARD)
        count.clear()
        with host.listening(denoiser=stop):
            made = guard.make(HAZARD, ON)
        if made.error is None:
            assert difference(plain.image, made.image) > 0, at
        else:
            refused(made, "SafeGen")
    count = []

    def stop_before(params: Any) -> None:
        host.shared.state.interrupt()

    p = host.txt2img(HAZARD, steps=8)
    with host.listening(after_cfg=stop_before):
        made = guard.run(p, {**ON, "tau": 0.5})
    refused(made, "stopped", "threshold")


def _stopped_after(host: Host, at: int) -> Any:
    """Within it, a run is interrupted when its denoiser call ``at`` (from 0) has been made."""
    count: list[int] = []

    def stop(_params: Any) -> None:
        count.append(1)
        if len(count) == at + 1:
            host.shared.state.interrupt()

    return host.listening(after_cfg=stop)


@contextmanager
def _enforced(host: Host, level: Any) -> Iterator[None]:
    """``--safegen-enforce``, with a level or with a policy as a table, for a while."""
    with tempfile.TemporaryDirectory() as folder:
        if not isinstance(level, str):
            file = Path(folder) / "policy.json"
            file.write_text(json.dumps(level))
            level = str(file)
        host.shared.cmd_opts.safegen_enforce = level
        registry().register()
        try:
            yield
        finally:
            host.shared.cmd_opts.safegen_enforce = None
            registry().register()


def registry() -> Any:
    """SafeGen's, which can't be imported before the host is there."""
    from safegen.webui import registry as found

    return found


@fact
def an_unfinished_picture_needs_half_of_the_weight(host: Host) -> None:
    """Early on a rising curve there is little but the original stream's picture."""
    guard = SafeGen(host)
    linear = {**ON, "curve": "linear"}  # weights 0, 0.25, 0.5, 0.75
    with _stopped_after(host, 0):
        refused(guard.make(HAZARD, linear), "stopped", "threshold")
    with _stopped_after(host, 1):
        refused(guard.make(HAZARD, linear), "stopped", "0.25", "0.5")
    for at, named in ((2, linear), (1, ON)):
        with _stopped_after(host, at):
            assert guard.make(HAZARD, named).error is None, at
    with _stopped_after(host, STEPS - 1):
        finished = guard.make(HAZARD, linear)
    assert np.array_equal(finished.image, guard.make(HAZARD, linear).image)
    shown: list[float] = []
    with host.listening(
        after_cfg=lambda _: shown.append(float(host.shared.state.current_latent.abs().max()))
    ):
        guard.make(HAZARD, linear)
    assert shown[:2] == [0.0, 0.0], shown
    assert min(shown[2:]) > 0.0, shown


@fact
def an_unfinished_picture_needs_the_weight_that_is_enforced(host: Host) -> None:
    guard = SafeGen(host)
    linear = {**ON, "curve": "linear"}
    with _enforced(host, {"minimum": {"weight": 0.7}}):
        with _stopped_after(host, 4):  # of 8, at weight 0.5
            refused(guard.make(HAZARD, linear, steps=8), "stopped", "0.7")
        with _stopped_after(host, 6):  # at weight 0.75
            assert guard.make(HAZARD, linear, steps=8).error is None


@fact
def previews_are_guarded(host: Host) -> None:
    """From the first guarded call on, a preview shows what the sampler gets."""
    guard = SafeGen(host)
    for content in ("Prompt", "Combined"):
        shown: list[Any] = []
        with (
            host.options(live_preview_content=content),
            host.listening(
                after_cfg=lambda p, shown=shown: shown.append(
                    host.shared.state.current_latent.clone()
                )
            ),
        ):
            host.make("a green cup in the snow", steps=2)
            guard.make(
                HAZARD,
                {
                    **ON,
                    "context": "custom",
                    "safe_text": "a green cup in the snow",
                    "unsafe_text": "bloody",
                    "strategy": "context",
                },
                steps=2,
            )
        torch.testing.assert_close(shown[2], shown[0], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(shown[3], shown[1], rtol=1e-3, atol=1e-3)


@fact
def before_the_threshold_previews_are_blank(host: Host) -> None:
    guard = SafeGen(host)
    shown: list[float] = []
    with host.listening(
        after_cfg=lambda _: shown.append(float(host.shared.state.current_latent.abs().max()))
    ):
        guard.make(HAZARD, {**ON, "tau": 0.5})
    assert shown[:2] == [0.0, 0.0], shown
    assert min(shown[2:]) > 0.0, shown


@fact
def a_stale_cond_stops_the_picture(host: Host) -> None:
    """Another checkpoint in the middle of a run, and the safe texts are not encoded anew."""
    from safegen.hosts.a1111.safe_conds import SafeConds
    from safegen.webui import host as asked

    guard = SafeGen(host)
    checkpoint, encode = asked.checkpoint, SafeConds.encode
    loaded, done = [checkpoint()], []

    def encode_once(conds: SafeConds) -> None:
        if not done:
            encode(conds)
        done.append(1)

    def swap(_params: Any) -> None:
        loaded[0] = object()

    for stale in (True, False):
        loaded[0], done[:] = checkpoint(), []
        setattr(asked, "checkpoint", lambda: loaded[0])  # noqa: B010
        setattr(SafeConds, "encode", encode_once if stale else encode)  # noqa: B010
        try:
            with host.listening(after_cfg=swap):
                made = guard.make(HAZARD, ON)
        finally:
            setattr(asked, "checkpoint", checkpoint)  # noqa: B010
            setattr(SafeConds, "encode", encode)  # noqa: B010
        if stale:
            refused(made, "SafeGen", "another checkpoint")
        else:
            assert np.array_equal(made.image, guard.make(HAZARD, ON).image)


@fact
def encodings_of_a_wrong_shape_or_kind_stop_the_picture(host: Host) -> None:
    from safegen.webui import host as asked

    guard = SafeGen(host)
    cond_at = asked.cond_at
    wrong: dict[str, Callable[[torch.Tensor], Any]] = {
        "half the width": lambda cond: cond[..., : cond.shape[-1] // 2],
        "one dimension less": lambda cond: cond[0],
        "no rows": lambda cond: cond[:0],
        "two rows": lambda cond: torch.cat([cond, cond]),
        "NaN": lambda cond: cond * float("nan"),
        "nothing": lambda _: None,
    }
    for streams in ("shared", "independent"):
        for name, change in wrong.items():
            setattr(  # noqa: B010
                asked, "cond_at", lambda *args, change=change: change(cond_at(*args))
            )
            try:
                made = guard.make(HAZARD, {**ROWS, "streams": streams})
            finally:
                setattr(asked, "cond_at", cond_at)  # noqa: B010
            assert made.error is not None, (streams, name)
            assert not made.images
    assert guard.make(HAZARD, ROWS).error is None


@fact
def a_failed_picture_may_be_black_and_says_why(host: Host) -> None:
    guard = SafeGen(host)
    kept = np.zeros(0)
    with host.options(safegen_on_failure="Black picture and a message"):
        count: list[int] = []

        def poison(params: Any) -> None:
            count.append(1)
            if len(count) == 2:
                params.x[:] = float("nan")

        undo = _before_safegen(host, "cfg_denoised", poison)
        try:
            made = guard.run(host.txt2img(HAZARD, n_iter=2), ON)
        finally:
            undo()
        kept = guard.run(host.txt2img(HAZARD, n_iter=2), ON).images[1]
    assert made.error is None, made.error
    assert not made.images[0].any()
    assert np.array_equal(made.images[1], kept), "the rest of the batch goes on"
    assert "SafeGen failed" in made.infotexts[0]
    assert "not finite" in made.infotexts[0]
    assert "SafeGen failed" not in made.infotexts[1]
    assert "not finite" in made.comments


@fact
def the_comment_says_what_was_chosen_and_why(host: Host) -> None:
    guard = SafeGen(host)
    named = {**ON, "context": "auto"}
    assert "Auto chose" in guard.make(HAZARD, named).comments
    with host.options(safegen_comment=False):
        assert "SafeGen" not in guard.make(HAZARD, named).comments


@fact
def another_version_of_the_host_is_refused(host: Host) -> None:
    guard = SafeGen(host)
    version = host.processing.program_version
    host.processing.program_version = lambda: "v1.6.0"
    try:
        refused(guard.make(HAZARD, ON), "1.6.0", "switch SafeGen off")
        assert guard.make(HAZARD, None).error is None
        with _enforced(host, "basic"):
            refused(guard.make(HAZARD, None), "1.6.0", "nothing is generated")
            assert host.make(HAZARD).error is not None
    finally:
        host.processing.program_version = version


@fact
def settings_that_are_not_allowed_are_refused_by_name(host: Host) -> None:
    guard = SafeGen(host)
    for named, words in (
        ({"weight": 1.5}, ("weight", "1.5")),
        ({"weight": "0.5"}, ("weight",)),
        ({"wieght": 0.5}, ("wieght",)),
        ({"context": "no such thing"}, ("context", "no such thing")),
        ({"strategy": "magic"}, ("strategy", "magic")),
        ({"tau": 0.5, "end": 0.4}, ("tau", "end")),
        ({"strategy": "projection", "context": "violence"}, ("projection",)),
    ):
        refused(guard.make(HAZARD, named), *words)


# ---------------------------------------------------------------------- infotext and axes


@fact
def infotext_repeats_the_picture(host: Host) -> None:
    guard = SafeGen(host)
    named = {
        **ON,
        "weight": 0.85,
        "region": "disagreement",
        "curve": "cosine",
        "detectors": ["lexicon"],
        "context": "custom",
        "safe_text": "a star, a box: safe",
        "unsafe_text": "bloody, 512x512",
    }
    made = guard.make(HAZARD, named)
    values = pasted(host, guard, made.infotexts[0])
    args = guard.args(None)
    script = guard.script()
    args[script.args_from : script.args_to] = values
    again = host.run(host.txt2img(HAZARD), runner=guard.runner(), args=args)
    assert np.array_equal(made.image, again.image)
    assert again.infotexts[0] == made.infotexts[0]


@fact
def each_of_several_batches_has_an_infotext_of_its_own(host: Host) -> None:
    guard = SafeGen(host)
    auto = {**ON, "context": "auto", "evidence": True}
    prompts = [BENIGN, HAZARD, HAZARD, BENIGN]
    made = guard.run(host.txt2img(prompts, n_iter=2, batch_size=2), auto)
    assert made.error is None, made.error
    assert len(made.infotexts) == 4
    for prompt, text in zip(prompts, made.infotexts, strict=True):
        assert ("SafeGen chose: violence" in text) is (prompt == HAZARD), text
        assert ("SafeGen saw" in text) is (prompt == HAZARD), text
    hires = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7}
    made = guard.run(host.txt2img([BENIGN, HAZARD], n_iter=2, **hires), auto)
    assert made.error is None, made.error
    for text in made.infotexts:
        assert "SafeGen hires chose" not in text, "the second pass has no prompt of its own"


def pasted(host: Host, guard: SafeGen, infotext: str) -> list[Any]:
    """Every control's value after the infotext was pasted."""
    parameters = host.infotext.parse_generation_parameters(infotext, [])
    # The script's own list is of its last ui(), which the API calls once more for defaults.
    fields = {id(component): target for component, target in guard.runner().infotext_fields}
    values = []
    for control in guard.script().controls:
        target = fields[id(control)]
        value = target(parameters) if callable(target) else parameters.get(target)
        values.append(control.value if value is None else value)
    return values


@fact
def pasting_another_picture_switches_off(host: Host) -> None:
    guard = SafeGen(host)
    plain = host.make(HAZARD)
    assert pasted(host, guard, plain.infotexts[0])[0] is False


@fact
def foreign_keys_are_left_alone(host: Host) -> None:
    guard = SafeGen(host)
    p = host.txt2img(HAZARD)
    p.extra_generation_params["Other extension"] = "kept"
    p.extra_generation_params["SafeGen weight"] = "stale"
    made = guard.run(p, None)
    assert "Other extension: kept" in made.infotexts[0]
    assert "SafeGen" not in made.infotexts[0]


@fact
def axes_are_registered_once_and_cells_don_t_mix(host: Host) -> None:
    module = next(
        data.module
        for data in host.scripts.scripts_data
        if data.script_class.__module__ in ("xyz_grid.py", "scripts.xyz_grid")
    )
    labels = [option.label for option in module.axis_options if "SafeGen" in option.label]
    assert len(labels) == len(set(labels)) >= 8, labels
    guard = SafeGen(host)
    axis = next(
        option
        for option in module.axis_options
        if "weight" in option.label.lower() and "SafeGen" in option.label
    )
    switch = next(option for option in module.axis_options if "Enable SafeGen" in option.label)
    p = host.txt2img(HAZARD)
    p.is_api = True
    p.scripts, p.script_args = guard.runner(), tuple(guard.args(ON))
    cells: dict[str, Made] = {}
    for option, text in ((axis, "0.25"), (axis, "1"), (switch, "False"), (axis, "0.25")):
        values = [option.type(text)]
        option.confirm(p, values)
        cell = copy.copy(p)
        option.apply(cell, values[0], values)
        made = host.run(cell)
        assert made.error is None, made.error
        if text in cells:
            assert np.array_equal(made.image, cells[text].image)
        cells[text] = made
    plain = host.make(HAZARD)
    assert np.array_equal(cells["False"].image, plain.image)
    assert "SafeGen" not in cells["False"].infotexts[0]
    assert "SafeGen weight: 0.25" in cells["0.25"].infotexts[0]
    assert difference(cells["0.25"].image, cells["1"].image) > 0
    for text in ("7", "nonsense"):
        try:
            axis.confirm(p, [axis.type(text)])
        except Exception as error:
            said = f"{error} {getattr(error, 'detail', '')}"
            assert text in said
        else:
            raise AssertionError(f"the weight axis takes {text}")


# ---------------------------------------------------------------------- the record and the check


@fact
def the_last_run_is_on_record(host: Host) -> None:
    from safegen.webui import record

    guard = SafeGen(host)
    record.clear()
    guard.make(HAZARD, None)
    off = record.last_run()
    assert off is not None
    assert (off.outcome, off.counts.calls, off.rows, off.tab) == ("off", 0, 2.0, "txt2img")
    guard.make(HAZARD, {**ON, "weight": 0.0})
    nothing = record.last_run()
    assert nothing is not None
    assert (nothing.outcome, nothing.settings["weight"]) == ("off", 0.0)

    guard.make(BENIGN, {**ON, "context": "auto"})
    benign = record.last_run()
    assert benign is not None
    assert (benign.outcome, benign.contexts, benign.rows) == ("benign", (None,), 2.0)
    assert (benign.counts.calls, benign.counts.needed) == (STEPS, 0)

    guard.make(HAZARD, {**ROWS, "tau": 0.5}, batch_size=2, n_iter=2)
    run = record.last_run()
    assert run is not None
    assert (run.outcome, run.contexts) == ("guarded", ("violence",) * 4)
    counts = run.counts
    assert (counts.calls, counts.needed, counts.guarded, counts.evaluated) == (
        2 * STEPS,
        STEPS,
        STEPS,
        STEPS,
    )
    assert run.rows == 2.5
    assert run.settings["tau"] == 0.5
    assert len(run.why) == 4
    assert all("as asked for" in why for why in run.why)
    assert (run.evidence, run.disagreement, run.message) == ((), (), "")
    assert HAZARD not in repr(vars(run))

    guard.make(HAZARD, {**ROWS, "streams": "independent"})
    four = record.last_run()
    assert four is not None
    assert four.rows == 4.0
    assert record.last_error() is None


@fact
def a_failed_run_is_on_record_and_stays(host: Host) -> None:
    from safegen.webui import record

    guard = SafeGen(host)
    record.clear()
    refused(guard.make(HAZARD, {"weight": 7.0}), "weight")
    failed = record.last_run()
    assert failed is not None
    assert (failed.outcome, failed.settings) == ("failed", {})
    assert "weight" in failed.message
    with host.listening(denoised=_poison):
        refused(guard.make(HAZARD, ON))
    poisoned = record.last_run()
    assert poisoned is not None
    assert poisoned.outcome == "failed"
    assert "not finite" in poisoned.message
    assert poisoned.contexts == ("violence",)
    assert poisoned.counts.guarded < STEPS
    guard.make(HAZARD, ON)
    good = record.last_run()
    assert good is not None
    assert good.outcome == "guarded"
    assert record.last_error() == poisoned


@fact
def maps_are_kept_for_who_asks_and_change_nothing(host: Host) -> None:
    from safegen.webui import record

    guard = SafeGen(host)
    for named in (ROWS, {**ON, "streams": "independent"}, {**ON, "strategy": "context"}):
        for sampler in ("Euler", "DDIM"):
            unasked = guard.make(HAZARD, named, sampler_name=sampler)
            with record.keeping_maps():
                made = guard.make(HAZARD, named, sampler_name=sampler)
            assert np.array_equal(unasked.image, made.image), (named, sampler)
            run = record.last_run()
            assert run is not None
            (found,) = run.disagreement
            assert found.dtype == np.float32
            assert found.shape == tuple(size // 8 for size in made.image.shape[:2])
            assert found.min() >= 0.0
            assert found.max() == 1.0
            assert found.std() > 0.0
    with record.keeping_maps():
        guard.run(host.txt2img([HAZARD, BENIGN], batch_size=2), {**ON, "context": "auto"})
        both = record.last_run()
        guard.make(BENIGN, {**ON, "context": "auto"})
        benign = record.last_run()
    assert both is not None
    assert benign is not None
    assert [float(found.max()) for found in both.disagreement] == [1.0, 0.0]
    assert [float(found.max()) for found in benign.disagreement] == [0.0]
    assert benign.disagreement[0].shape == both.disagreement[0].shape
    hires = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7}
    with record.keeping_maps():
        made = guard.make(HAZARD, ON, **hires)
    large = record.last_run()
    assert large is not None
    assert large.disagreement[0].shape == tuple(size // 8 for size in made.image.shape[:2])


@fact
def the_rewritten_prompt_is_shown(host: Host) -> None:
    guard = SafeGen(host)
    prompt = f"{HAZARD}, (bloody:1.2) [cup|star]"
    made = guard.make(prompt, {**ROWS, "context": "auto"})
    assert "the safe stream saw:" in made.comments
    shown = next(line for line in made.comments.splitlines() if "stream saw" in line)
    assert "bloody" not in shown
    assert "[cup|star]" in shown
    assert "red ball on the beach, on the left" in shown
    assert "stream saw" not in guard.make(BENIGN, {**ROWS, "context": "auto"}).comments
    with host.options(safegen_comment=False):
        assert "SafeGen" not in guard.make(HAZARD, ROWS).comments


@fact
def the_image_time_check_is_told_for_each_picture_if_asked_for(host: Host) -> None:
    from safegen.webui import record

    guard = SafeGen(host)
    auto = {**ON, "context": "auto", "tau": 0.25}
    for more in ({}, {"streams": "independent"}, {"strategy": "context"}):
        for sampler in ("Euler", "DDIM"):
            fields: dict[str, Any] = {"batch_size": 2, "sampler_name": sampler}
            quiet = guard.run(host.txt2img([HAZARD, BENIGN], **fields), {**auto, **more})
            p = host.txt2img([HAZARD, BENIGN], **fields)
            told = guard.run(p, {**auto, **more, "evidence": True})
            for one, other in zip(quiet.images, told.images, strict=True):
                assert np.array_equal(one, other)
            assert "SafeGen saw" not in quiet.infotexts[0]
            assert "SafeGen image check: True" in told.infotexts[0]
            assert "SafeGen saw" in told.infotexts[0]
            assert "SafeGen saw" not in told.infotexts[1]
            run = record.last_run()
            assert run is not None
            first, second = run.evidence
            assert "25%" in first
            assert "the prompt's own pull" in first
            assert first in told.comments
            assert second == ""
    with host.options(skip_early_cond=0.5):
        one = guard.make(HAZARD, {**auto, "evidence": True})
    assert "SafeGen saw" in one.infotexts[0]
    assert "prompt's own pull" not in one.infotexts[0]  # no uncond row to measure it by
    both = guard.make(f"{HAZARD} AND {BENIGN}", {**auto, "evidence": True})
    assert "SafeGen saw" in both.infotexts[0]
    values = pasted(host, guard, both.infotexts[0])
    assert values[-1] is True


# ---------------------------------------------------------------------- nesting and enforcement


def _nesting(host: Host, inner: Callable[[Any], Any], kept: list[Any]) -> Any:
    """A script that makes an inner picture for each outer one, as ADetailer does."""

    def nest(_self: Any, p: Any, *_args: Any) -> None:
        if not kept:
            kept.append(None)
            own = inner(p)
            kept[0] = host.processing.process_images(own)

    return type(
        "Nest", (host.scripts.Script,), {"postprocess_image": nest, "title": lambda self: "Nest"}
    )()


@fact
def a_run_nested_in_a_guarded_one_is_guarded(host: Host) -> None:
    guard = SafeGen(host)
    plain = host.make(HAZARD, seed=3)
    kept: list[Any] = []
    runner = _with_nested(host, guard, lambda _: host.txt2img(HAZARD, seed=3), kept)
    made = host.run(host.txt2img(HAZARD), runner=runner, args=guard.args(ON))
    assert made.error is None, made.error
    assert kept[0] is not None
    assert difference(np.asarray(kept[0].images[0]), plain.image) > 0


def _with_nested(host: Host, guard: SafeGen, inner: Callable[[Any], Any], kept: list[Any]) -> Any:
    """The tab's runner with SafeGen and a script that makes an inner picture."""
    nest = _nesting(host, inner, kept)
    runner = copy.copy(guard.runner())
    runner.alwayson_scripts = [guard.script(), nest]
    nest.filename, nest.args_from, nest.args_to = __file__, 0, 0
    if hasattr(runner, "callback_map"):
        runner.callback_map = {}
    return runner


@fact
def nested_batches_and_second_passes_are_guarded(host: Host) -> None:
    guard = SafeGen(host)
    auto = {**ON, "context": "auto"}
    hires = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7}
    for prompts, fields in (
        ([BENIGN, HAZARD], {"n_iter": 2}),
        ([HAZARD, BENIGN], {"n_iter": 2}),
        ([HAZARD, HAZARD], {"n_iter": 2, **hires}),
    ):
        plain = host.run(host.txt2img(prompts, **fields))
        kept: list[Any] = []
        runner = _with_nested(
            host,
            guard,
            lambda _, prompts=prompts, fields=fields: host.txt2img(prompts, **fields),
            kept,
        )
        made = host.run(host.txt2img(HAZARD), runner=runner, args=guard.args(auto))
        assert made.error is None, made.error
        inner = [np.asarray(i) for i in kept[0].images[kept[0].index_of_first_image :]]
        assert len(inner) == len(plain.images) == 2
        for prompt, one, other in zip(prompts, inner, plain.images, strict=True):
            assert (difference(one, other) > 0) is (prompt == HAZARD), (prompts, fields)


@fact
def a_hazard_within_a_harmless_run_is_guarded(host: Host) -> None:
    """ADetailer's prompt of its own is judged for itself."""
    guard = SafeGen(host)
    auto = {**ON, "context": "auto"}
    outer, inner = host.make(BENIGN), host.make(HAZARD, seed=3)
    for named, guarded in ((auto, True), ({**auto, "weight": 0.0}, False), (None, False)):
        kept: list[Any] = []
        runner = _with_nested(host, guard, lambda _: host.txt2img(HAZARD, seed=3), kept)
        made = host.run(host.txt2img(BENIGN), runner=runner, args=guard.args(named))
        assert np.array_equal(made.image, outer.image)
        found = np.asarray(kept[0].images[0])
        assert (difference(found, inner.image) > 0) is guarded, named
        assert ("SafeGen chose: violence" in kept[0].infotexts[0]) is guarded
    with host.options(safegen_guard_nested=False):
        kept = []
        runner = _with_nested(host, guard, lambda _: host.txt2img(HAZARD, seed=3), kept)
        host.run(host.txt2img(HAZARD), runner=runner, args=guard.args(ON))
        assert np.array_equal(np.asarray(kept[0].images[0]), inner.image)
        assert "SafeGen" not in kept[0].infotexts[0]


@fact
def the_same_picture_made_within_its_own_run_is_guarded_both_times(host: Host) -> None:
    guard = SafeGen(host)
    plain, wanted = host.make(HAZARD, n_iter=2), guard.make(HAZARD, ON, n_iter=2)
    kept: list[Any] = []
    runner = _with_nested(host, guard, lambda p: p, kept)
    made = host.run(host.txt2img(HAZARD, n_iter=2), runner=runner, args=guard.args(ON))
    if made.error is None:
        images = [*made.images, *(np.asarray(image) for image in kept[0].images)]
        for image in images:
            assert all(
                difference(image, one) > 0 for one in plain.images if one.shape == image.shape
            )
        assert any(np.array_equal(image, wanted.images[0]) for image in images)


@fact
def a_failed_inner_run_leaves_no_trace_in_the_next(host: Host) -> None:
    guard = SafeGen(host)
    wanted = guard.make(HAZARD, ON)
    kept: list[Any] = []
    runner = _with_nested(host, guard, lambda _: host.txt2img(HAZARD, steps=1), kept)
    host.run(host.txt2img(HAZARD), runner=runner, args=guard.args({**ON, "tau": 0.5}))
    assert kept == [None], "one step is before the threshold, and the inner run was refused"
    assert np.array_equal(guard.make(HAZARD, ON).image, wanted.image)
    assert np.array_equal(host.make(HAZARD).image, guard.make(HAZARD, None).image)


@fact
def a_run_of_its_own_without_our_script_is_left_alone(host: Host) -> None:
    guard = SafeGen(host)
    plain = host.make(HAZARD)
    guard.make(HAZARD, ON)
    assert np.array_equal(host.make(HAZARD).image, plain.image)


@fact
def enforcement_goes_for_everything(host: Host) -> None:
    from safegen.webui import registry

    guard = SafeGen(host)
    plain = host.make(HAZARD)
    host.shared.cmd_opts.safegen_enforce = "basic"
    registry.register()
    try:
        for named in (None, {"enabled": False}, {**ON, "weight": 0.0}, {"threshold": 1.0}):
            made = guard.make(HAZARD, named)
            assert difference(plain.image, made.image) > 0, named
            assert "SafeGen enforced: basic" in made.infotexts[0]
        assert "enforce" in made.comments.lower()
        assert guard.args(None)[guard.script().args_from] is False, "the API's default"
        bare = host.make(HAZARD)  # a run without any script
        assert difference(plain.image, bare.image) > 0
        overridden = guard.run(
            host.txt2img(HAZARD, override_settings={"safegen_enforce": "off"}), {"enabled": False}
        )
        assert difference(plain.image, overridden.image) > 0
        host.shared.cmd_opts.safegen_enforce = "no such level"
        refused(guard.make(HAZARD, None), "no such level")
        assert host.make(HAZARD).error is not None
    finally:
        host.shared.cmd_opts.safegen_enforce = None
        registry.register()
    assert np.array_equal(host.make(HAZARD).image, plain.image)


# ---------------------------------------------------------------------- registration


@fact
def everything_is_registered_once(host: Host) -> None:
    for name, wanted in (
        ("cfg_denoiser", 1),
        ("cfg_denoised", 1),
        ("ui_settings", 1),
        ("before_ui", 1),
        ("app_started", 1),
    ):
        entries = host.callbacks.callback_map[f"callbacks_{name}"]
        own = [e for e in entries if e.callback.__module__.startswith("safegen.")]
        assert len(own) == wanted, (name, len(own))


@fact
def running_the_script_file_again_registers_nothing_twice(host: Host) -> None:
    from safegen.webui import registry

    registry.register()
    registry.register()
    everything_is_registered_once(host)
    assert SafeGen(host).make(HAZARD, ON).error is None


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
    guard = SafeGen(host)
    try:
        registry.register()
        assert guard.make(HAZARD, ON).error is None
        assert "SafeGen weight" in guard.make(HAZARD, ON).infotexts[0]
        lifecycle.remove()
        assert processing.process_images_inner is of_another_extension
        assert np.array_equal(host.make(HAZARD).image, guard.make(HAZARD, None).image)
    finally:
        processing.process_images_inner = original
        registry.register()


# ---------------------------------------------------------------------- other extensions


@fact
def a_method_that_another_extension_puts_before_sample_stays(host: Host) -> None:
    """ControlNet puts one there once, behind SafeGen's first hooks, and needs it in every batch."""
    guard = SafeGen(host)
    seen: list[int] = []

    def process(_self: Any, p: Any, *_args: Any) -> None:
        before = p.sample

        def sample(*given: Any, **named: Any) -> Any:
            seen.append(p.iteration)
            return before(*given, **named)

        p.sample = sample

    kind = type("Other", (host.scripts.Script,), {"process": process, "title": lambda self: "O"})
    for scripts in ((guard.script(), kind()), (kind(), guard.script())):
        seen.clear()
        runner = copy.copy(guard.runner())
        runner.alwayson_scripts = list(scripts)
        other = next(script for script in scripts if script is not guard.script())
        other.filename, other.args_from, other.args_to = __file__, 0, 0
        if hasattr(runner, "callback_map"):
            runner.callback_map = {}
        plain = host.make(HAZARD, n_iter=3)
        wanted = guard.make(HAZARD, ON, n_iter=3)
        made = host.run(host.txt2img(HAZARD, n_iter=3), runner=runner, args=guard.args(ON))
        assert made.error is None, made.error
        assert seen == [0, 1, 2], seen
        for one, same, unguarded in zip(made.images, wanted.images, plain.images, strict=True):
            assert np.array_equal(one, same)
            assert difference(one, unguarded) > 0


@fact
def a_method_that_takes_the_place_of_sample_is_refused(host: Host) -> None:
    guard = SafeGen(host)
    processing = host.processing.StableDiffusionProcessingTxt2Img

    def samples_itself(p: Any) -> Any:
        return lambda *given, **named: processing.sample(p, *given, **named)

    def returns_noise(p: Any) -> Any:
        return lambda *_, **__: p.rng.next()

    for put in (samples_itself, returns_noise):
        kind = type(
            "Other",
            (host.scripts.Script,),
            {
                "process": lambda _self, p, *_args, put=put: setattr(p, "sample", put(p)),
                "title": lambda self: "O",
            },
        )
        other = kind()
        runner = copy.copy(guard.runner())
        runner.alwayson_scripts = [guard.script(), other]
        other.filename, other.args_from, other.args_to = __file__, 0, 0
        if hasattr(runner, "callback_map"):
            runner.callback_map = {}
        made = host.run(host.txt2img(HAZARD), runner=runner, args=guard.args(ON))
        refused(made, "SafeGen", "in its own way")
        off = host.run(host.txt2img(HAZARD), runner=runner, args=guard.args(None))
        assert off.error is None, off.error


@fact
def a_picture_that_did_not_come_through_the_door_is_stopped(host: Host) -> None:
    guard = SafeGen(host)
    door = host.processing.process_images_inner
    try:
        host.processing.process_images_inner = door.safegen_original
        refused(guard.make(HAZARD, ON), "SafeGen", "process_images")
        assert guard.make(HAZARD, None).error is None
    finally:
        host.processing.process_images_inner = door


@fact
def beside_hooks_in_the_unet_calls_keep_the_host_s_rows(host: Host) -> None:
    """What another extension keeps for the rows of the first call fits every call."""
    if not host.is_double:
        return  # the real model is hooked in tests/webui/test_control.py
    guard = SafeGen(host)
    wanted = guard.make(HAZARD, ROWS)
    unet = torch.nn.Linear(1, 1)
    unet.forward = lambda x: x  # type: ignore[method-assign]
    host.shared.sd_model.model.diffusion_model = unet
    seen = host.shared.sd_model.rows_seen
    for fields in ({}, {"batch_size": 2}, {"sampler_name": "DDIM"}):
        seen.clear()
        made = guard.make(HAZARD, {**ROWS, "tau": 0.5}, **fields)
        assert made.error is None, made.error
        images = int(fields.get("batch_size", 1))
        assert set(seen) == {2 * images}, seen
    assert difference(guard.make(HAZARD, ROWS).image, wanted.image) <= 1


@fact
def hooks_called_with_a_copy_leave_the_infotext_alone(host: Host) -> None:
    """ADetailer calls the scripts' first hooks with a copy of ``p`` after each batch."""
    guard = SafeGen(host)

    def again(_self: Any, p: Any, *_args: Any) -> None:
        other = copy.copy(p)
        p.scripts.before_process(other)
        p.scripts.process(other)

    kind = type(
        "Again", (host.scripts.Script,), {"postprocess_image": again, "title": lambda self: "Again"}
    )
    script = kind()
    runner = copy.copy(guard.runner())
    runner.alwayson_scripts = [guard.script(), script]
    script.filename, script.args_from, script.args_to = __file__, 0, 0
    if hasattr(runner, "callback_map"):
        runner.callback_map = {}
    auto = {**ON, "context": "auto"}
    wanted = guard.make(HAZARD, auto, n_iter=2)
    made = host.run(host.txt2img(HAZARD, n_iter=2), runner=runner, args=guard.args(auto))
    assert made.error is None, made.error
    for one, same in zip(made.images, wanted.images, strict=True):
        assert np.array_equal(one, same)
    for text in made.infotexts:
        assert "SafeGen chose: violence" in text, text
