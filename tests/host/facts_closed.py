"""Facts about SafeGen on a host: whatever goes wrong, no unguarded picture comes out."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from driver import BENIGN, HAZARD, HIRES, STEPS, Host, facts, same
from facts_guard import AUTO, MANY, ON, ROWS, poison

FACTS, fact = facts()

LINEAR = {**ON, "curve": "linear"}
"""Weights 0, 0.1 … 0.9 in `MANY` steps."""


def broken(*_args: Any, **_kwargs: Any) -> Any:
    raise RuntimeError("broken on purpose")


def at_call(number: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, which breaks at its call ``number`` (from 1)."""
    left = [number]

    def counted(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        return broken() if left[0] == 0 else function(*args, **kwargs)

    return counted


@contextmanager
def enforced(host: Host, level: Any) -> Iterator[None]:
    """``--safegen-enforce``, with a level or with a policy as a table, for a while."""
    from safegen.webui import registry

    with tempfile.TemporaryDirectory() as folder:
        if not isinstance(level, str):
            file = Path(folder) / "policy.json"
            file.write_text(json.dumps(level))
            level = str(file)
        host.shared.cmd_opts.safegen_enforce = level
        registry.register()
        try:
            yield
        finally:
            host.shared.cmd_opts.safegen_enforce = None
            registry.register()


@fact
def nothing_but_numbers_comes_out(host: Host) -> None:
    for value in (float("nan"), float("inf")):
        for row, streams in ((1, "shared"), (-1, "shared"), (-1, "independent")):

            def spoil(params: Any, row: int = row, value: float = value) -> None:
                params.x[row] = value  # the safe row, or the uncond row

            with host.listening(first=True, denoised=spoil):
                made = host.make(HAZARD, {**ROWS, "streams": streams})
            made.refused("SafeGen", "not finite")
    assert host.make(HAZARD, ON).good


@fact
def a_failing_callback_of_ours_stops_the_picture(host: Host) -> None:
    from safegen.hosts.a1111 import PassGuard
    from safegen.hosts.a1111.independent import IndependentStreams
    from safegen.hosts.a1111.shared import SharedStreams

    for owner, method, *kinds in (
        (PassGuard, "before", "shared", "independent"),
        (PassGuard, "after", "shared", "independent"),
        (SharedStreams, "blend", "shared"),
        (IndependentStreams, "blend", "independent"),
    ):
        for streams in kinds:
            with mock.patch.object(owner, method, at_call(2, getattr(owner, method))):
                made = host.make(HAZARD, {**ON, "streams": streams})
            assert made.error is not None, f"{owner.__name__}.{method}, {streams}: not refused"
            made.refused("SafeGen")


@fact
def an_error_of_ours_outside_the_callbacks_stops_the_picture_in_words(host: Host) -> None:
    from safegen.method.session import Session
    from safegen.webui import deciding

    for owner, name in ((Session, "finish"), (deciding, "chooser"), (deciding, "decide")):
        with mock.patch.object(owner, name, broken):
            host.make(HAZARD, ON).refused("SafeGen", "broken on purpose")


@fact
def an_error_of_ours_that_looks_like_an_interrupt_is_told_in_words(host: Host) -> None:
    """The host takes it for the user's wish: it goes on with what there is, or answers nothing."""
    from safegen.hosts.a1111 import PassGuard
    from safegen.hosts.a1111.safe_conds import SafeConds
    from safegen.hosts.a1111.seal import Seal
    from safegen.hosts.a1111.shared import SharedStreams
    from safegen.hosts.a1111.shown import Shown
    from safegen.method.session import Session
    from safegen.webui import batch, deciding, lifecycle, run

    interrupt = host.interrupt_class()

    def disguised(*_args: Any, **_kwargs: Any) -> Any:
        raise interrupt

    for owner, names in (
        (PassGuard, ("__init__", "before", "after", "finish")),
        (Session, ("begin", "combine", "finish")),
        (SharedStreams, ("extra", "blend")),
        (SafeConds, ("encode", "safe")),
        (Seal, ("gave", "broken_before", "made", "broken_rows", "guided")),
        (Shown, ("keep", "instead")),
        (batch.Batch, ("__init__", "attach", "verify", "close")),
        (deciding, ("chooser", "decide")),
        (run.Run, ("__init__", "begin", "check")),
        (lifecycle, ("resolve",)),
    ):
        for name in names:
            with mock.patch.object(owner, name, disguised):
                made = host.make(HAZARD, ON)
            assert made.error is not None, f"{owner.__name__}.{name}: not refused"
            made.refused("SafeGen")
    assert host.make(HAZARD, ON).good


@fact
def missing_callbacks_stop_the_picture(host: Host) -> None:
    for name in ("cfg_denoiser", "cfg_denoised"):
        entries = host.callbacks.callback_map[f"callbacks_{name}"]
        kept = list(entries)
        entries[:] = [e for e in kept if not e.callback.__module__.startswith("safegen.")]
        assert len(entries) == len(kept) - 1
        host.forget_order()
        try:
            host.make(HAZARD, ON).refused("SafeGen")
        finally:
            entries[:] = kept
            host.forget_order()


@fact
def a_callback_that_drops_our_rows_stops_the_picture(host: Host) -> None:
    def drop(params: Any) -> None:
        for name in ("x", "sigma", "image_cond"):
            value = getattr(params, name)
            setattr(params, name, torch.cat([value[:1], value[2:]]))
        params.text_cond = params.text_cond[:1]

    with host.listening(denoiser=drop):
        host.make(HAZARD, ROWS).refused("SafeGen", "the latents")


@fact
def failing_hooks_stop_the_picture_or_leave_it_guarded(host: Host) -> None:
    wanted, kind = host.make(HAZARD, ON), type(host.script())
    base = host.scripts.Script
    hooks = [name for name in vars(kind) if hasattr(base, name) and "process" in name]
    assert hooks
    for name in hooks:
        with mock.patch.object(kind, name, broken):
            made = host.make(HAZARD, ON)
        assert made.error is not None or same(made, wanted), name
        made.p.close()  # as the host does, whatever happened
        assert same(host.make(HAZARD), host.make(HAZARD, None)), name
    assert host.make(BENIGN, None).good


# ---------------------------------------------------------------------- interrupts


@fact
def an_interrupt_gives_guarded_pictures_or_none(host: Host) -> None:
    for at in (0, 1, STEPS - 1):
        with host.stopping(at, "denoiser"):
            plain = host.make(HAZARD)
        with host.stopping(at, "denoiser"):
            made = host.make(HAZARD, ON)
        if made.error is None:
            assert not same(plain, made), at
        else:
            made.refused("SafeGen")
    with host.stopping(0):
        host.make(HAZARD, {**ON, "tau": 0.5}, steps=MANY).refused("stopped", "threshold")


@fact
def an_unfinished_picture_needs_half_of_the_weight(host: Host) -> None:
    """Early on a rising curve there is little but the original stream's picture."""
    for at, named, words in (
        (0, LINEAR, ("stopped", "threshold")),
        (4, LINEAR, ("stopped", "0.4", "0.5")),
        (5, LINEAR, None),
        (1, ON, None),
    ):
        with host.stopping(at):
            made = host.make(HAZARD, named, steps=MANY)
        if words is None:
            assert made.good
        else:
            made.refused(*words)
    with host.stopping(MANY - 1):
        finished = host.make(HAZARD, LINEAR, steps=MANY)
    assert same(finished, host.make(HAZARD, LINEAR, steps=MANY))


@fact
def an_unfinished_picture_needs_the_weight_that_is_enforced(host: Host) -> None:
    with enforced(host, {"minimum": {"weight": 0.7}}):
        with host.stopping(6):  # at weight 0.6
            host.make(HAZARD, LINEAR, steps=MANY).refused("stopped", "0.7")
        with host.stopping(8):  # at weight 0.8
            assert host.make(HAZARD, LINEAR, steps=MANY).good


# ---------------------------------------------------------------------- conds


@fact
def a_stale_cond_stops_the_picture(host: Host) -> None:
    """Another checkpoint in the middle of a run, and the safe texts are not encoded anew."""
    from safegen.hosts.a1111.safe_conds import SafeConds
    from safegen.webui import host as asked

    encode, loaded, done = SafeConds.encode, [asked.checkpoint()], []

    def encode_once(conds: SafeConds) -> None:
        if not done:
            encode(conds)
        done.append(1)

    def swapped() -> Any:
        with host.listening(after_cfg=lambda _: loaded.append(object())):
            return host.make(HAZARD, ON)

    with mock.patch.object(asked, "checkpoint", lambda: loaded[-1]):
        with mock.patch.object(SafeConds, "encode", encode_once):
            swapped().refused("SafeGen", "another checkpoint")
        made = swapped()
    assert same(made, host.make(HAZARD, ON))


@fact
def a_checkpoint_that_comes_in_the_midst_of_a_run_must_be_listed_too(host: Host) -> None:
    """The host loads for the hires pass what has been chosen in its settings meanwhile."""
    from safegen.webui import host as asked

    own, calls = asked.checkpoint(), list[Any]()
    other = SimpleNamespace(filename=None, name="another")

    def loaded() -> Any:
        return other if len(calls) >= STEPS else own

    policy = {"allowed": {"checkpoints": [str(getattr(own, "name_for_extra", own.name))]}}
    with enforced(host, policy), mock.patch.object(asked, "checkpoint", loaded):
        for prompt in (BENIGN, HAZARD):
            assert host.make(prompt, None, **HIRES).good
            with host.listening(after_cfg=calls.append):
                made = host.make(prompt, None, **HIRES)
            assert len(calls) == STEPS, "the first pass came to its end"
            made.refused("SafeGen", "another")
            calls.clear()


@fact
def encodings_of_a_wrong_shape_or_kind_stop_the_picture(host: Host) -> None:
    from safegen.webui import host as asked

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
            with mock.patch.object(asked, "cond_at", lambda *a, change=change: change(cond_at(*a))):
                made = host.make(HAZARD, {**ROWS, "streams": streams})
            assert made.error is not None, (streams, name)
    assert host.make(HAZARD, ROWS).good


# ---------------------------------------------------------------------- messages


@fact
def a_failed_picture_may_be_black_and_says_why(host: Host) -> None:
    with host.options(safegen_on_failure="Black picture and a message"):
        left = [2]

        def spoil_second(params: Any) -> None:
            left[0] -= 1
            if left[0] == 0:
                poison(params)

        with host.listening(first=True, denoised=spoil_second):
            made = host.make(HAZARD, ON, n_iter=2).good
        kept = host.make(HAZARD, ON, n_iter=2)
    assert not made.images[0].any()
    assert same(made.images[1], kept.images[1]), "the rest of the batch goes on"
    assert "SafeGen failed" in made.infotexts[0]
    assert "not finite" in made.infotexts[0]
    assert "SafeGen failed" not in made.infotexts[1]
    assert "not finite" in made.comments


@fact
def another_version_of_the_host_is_refused(host: Host) -> None:
    with mock.patch.object(host.processing, "program_version", lambda: "v1.6.0"):
        host.make(HAZARD, ON).refused("1.6.0", "Switch SafeGen off")
        assert host.make(HAZARD, None).good
        with enforced(host, "basic"):
            host.make(HAZARD, None).refused("1.6.0", "nothing is generated")
            host.make(HAZARD).refused("1.6.0")


@fact
def settings_that_are_not_allowed_are_refused_by_name(host: Host) -> None:
    for named, *words in (
        ({"weight": 1.5}, "weight", "1.5"),
        ({"weight": "0.5"}, "weight"),
        ({"wieght": 0.5}, "wieght"),
        ({"context": "no such thing"}, "context", "no such thing"),
        ({"strategy": "magic"}, "strategy", "magic"),
        ({"tau": 0.5, "end": 0.4}, "tau", "end"),
        ({"strategy": "projection", "context": "custom", "safe_text": "a ball"}, "projection"),
    ):
        host.make(HAZARD, named).refused(*words)


@fact
def a_hires_pass_that_makes_nothing_is_refused_by_name(host: Host) -> None:
    nothing = {**HIRES, "denoising_strength": 0.0}
    host.make(HAZARD, ON, **nothing).refused("SafeGen", "denoising_strength", "above 0")
    if not host.is_stand_in:  # it makes no such pass
        assert host.make(BENIGN, AUTO, **nothing).good


@fact
def a_picture_that_did_not_come_through_the_door_is_stopped(host: Host) -> None:
    original = host.processing.process_images_inner.safegen_original
    with mock.patch.object(host.processing, "process_images_inner", original):
        host.make(HAZARD, ON).refused("SafeGen", "process_images")
        assert host.make(HAZARD, None).good


@fact
def watch_that_is_demanded_and_not_fitted_makes_nothing(host: Host) -> None:
    """Only the operator may fit it then; harmless prompts wait for that too."""
    host.make(BENIGN, {"mode": "watch"}).refused("must first be fitted", "a button there does it")
    with enforced(host, {"fixed": {"mode": "watch"}}):
        for named in (None, {"mode": "auto"}, {"enabled": False}):
            host.make(BENIGN, named).refused("must first be fitted", "Ask the operator")
    assert host.make(BENIGN, AUTO).good


@fact
def enforcement_goes_for_everything(host: Host) -> None:
    plain = host.make(HAZARD)
    with enforced(host, "basic"):
        for named in (None, {"enabled": False}, {**ON, "weight": 0.0}, {"threshold": 1.0}):
            made = host.make(HAZARD, named)
            assert not same(plain, made), named
            assert "SafeGen enforced: basic" in made.infotexts[0]
        assert "enforce" in made.comments.lower()
        assert host.args()[host.script().args_from] is False, "the API's default"
        assert not same(plain, host.make(HAZARD)), "a run without any script"
        override = {"safegen_enforce": "off"}
        assert not same(plain, host.make(HAZARD, {"enabled": False}, override_settings=override))
        host.shared.cmd_opts.safegen_enforce = "no such level"
        host.make(HAZARD, None).refused("no such level")
        host.make(HAZARD).refused()
    assert same(host.make(HAZARD), plain)
    assert same(host.make(BENIGN, AUTO), host.make(BENIGN))
