"""The one door: every run of the host comes through `process_images_inner`, and SafeGen with it.

The host catches, prints and forgets whatever a script's hook or a callback raises. Nothing here
depends on one of them, therefore:

- the door stands in ``modules.processing.process_images_inner``, which the host's
  ``process_images`` calls by that name, whoever asked for the picture: the page, the API, X/Y/Z,
  or another extension in the midst of a run, with or without SafeGen's script. What the door
  raises reaches the user.
- for the time of a run that is guarded, `Run.sample` stands before the ``sample`` of the
  processing object, which the host calls directly before it decodes or saves anything.
- within, each sampling pass has a `PassGuard` on its denoiser. Its callbacks are needed in every
  call, and its own second line stops the pass if one did not do its work.

Runs are nested as calls are: `_current` is the innermost.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from safegen.errors import GuardFailure, SafeGenError, certain
from safegen.webui import arguments, audit, host, neighbours, record, settings, users
from safegen.webui.arguments import AXIS, NO_CHANGES, Resolved
from safegen.webui.enforcement import Policy
from safegen.webui.errors import SafeGen, explained, explaining, for_caller
from safegen.webui.run import GUARDING, Run

_current: ContextVar[Run | None] = ContextVar("safegen_run", default=None)
"""The innermost run that is under way in this thread."""

# ---------------------------------------------------------------------- the door

INNER = "process_images_inner"
_doors: list[tuple[str, Any]] = []
"""The doors that stand now, each with its name in ``host.processing``."""


def install() -> None:
    """Put the door in the host, or put it there anew.

    Another extension may stand around the host's function, and keep that one in the same module
    (ControlNet does). There stands a second door: ADetailer makes its inner pictures past the
    first, by what ControlNet has kept.
    """
    remove()
    processing = host.processing
    original = getattr(processing, INNER)
    kept = [
        name
        for name, value in vars(processing).items()
        if name != INNER and value is not original and _is_the_host_s(_behind(value))
    ]
    for name in (INNER, *kept):
        door = _door_before(_behind(getattr(processing, name)), within=name != INNER)
        _doors.append((name, door))
        setattr(processing, name, door)


def remove() -> None:
    """Leave nothing of ours in the host's modules.

    Another extension may have put a function of its own around a door. It stays, and the door
    in it only passes on what comes.
    """
    for name, door in _doors:
        door.is_open = False
        if vars(host.processing).get(name) is door:
            setattr(host.processing, name, door.safegen_original)
    _doors.clear()


def stands() -> bool:
    """Whether the door is in the host, be it behind a function that another extension keeps."""
    kept = list(vars(host.processing).values())
    return any(door.is_open and any(door is one for one in kept) for _, door in _doors)


def _behind(function: Any) -> Any:
    """``function``, or what it stands before if it is a door of this package loaded before."""
    while hasattr(function, "safegen_original"):
        function = function.safegen_original
    return function


def _is_the_host_s(function: Any) -> bool:
    own = host.processing.StableDiffusionProcessingTxt2Img.__module__
    return getattr(function, "__name__", "") == INNER and function.__module__ == own


def _door_before(original: Any, *, within: bool = False) -> Any:
    """A door before ``original``; ``within``, it lets pass what came through the other one."""

    def process_images_inner(p: Any) -> Any:
        run = _current.get()
        passed = within and run is not None and run.p is p
        if passed or not process_images_inner.is_open:  # type: ignore[attr-defined]
            return original(p)
        with _run_of_its_own(p) as own, neighbours.reading(own):
            processed = original(p)
            with explaining():
                own.check(processed)
            return processed

    process_images_inner.is_open = True  # type: ignore[attr-defined]
    process_images_inner.safegen_original = original  # type: ignore[attr-defined]
    return process_images_inner


@contextmanager
def _run_of_its_own(p: Any) -> Iterator[Run]:
    """The run of ``p``, from here to the end of the block. What it raises is for the caller."""
    _unwrap(p)
    try:
        run = None
        with explaining():
            audit.check()
            run = Run(
                p,
                resolve(p),
                scripted=arguments.script_of(p) is not None,
                around=_current.get(),
            )
            run.begin()
    except SafeGenError as error:
        _put_on_record(p, run, error)
        raise for_caller(error, p) from error
    token = _current.set(run)
    try:
        with explaining():
            if certain(run.guarding, GUARDING) is not False:
                _wrap(p)
        yield run
    except SafeGen:  # the run has told it, and put it on record
        raise
    except SafeGenError as error:
        _put_on_record(p, run, error)
        raise for_caller(error, p) from error
    finally:
        _current.reset(token)
        _unwrap(p)
        if run.record is not None:
            run.record.publish()
        _log(p, run, run.record, sys.exc_info()[1])
        outer = _find(p)
        if outer is not None:  # it was made once more within its own run, which goes on
            setattr(p, record.ATTRIBUTE, outer.record)
            if outer.guarding and outer.batch is None:
                _wrap(p)


def _put_on_record(p: Any, run: Run | None, error: SafeGenError) -> None:
    """Note that nothing came of ``p``, even if its settings could not be read."""
    kept = None if run is None else run.record
    if kept is None:
        kept = record.Record(p, host.tab_of(p), None)
    kept.fail(error)
    kept.publish()
    if run is None or _find(p) is not run:
        _log(p, run, kept)


def _log(
    p: Any, run: Run | None, kept: record.Record | None, error: BaseException | None = None
) -> None:
    """The operator's log; that it could be written was seen before anything was made."""
    try:
        audit.note(p, run, kept, error)
    except Exception:
        host.report("SafeGen: the audit log could not be written")


def resolve(p: Any) -> Resolved:
    """The plan of ``p``'s run, the policy, and what it changed.

    Raises:
        SafeGenError: A setting is not allowed, or the policy can't be read.
    """
    policy = settings.active_policy(users.of(p) or _user_around())
    if policy is None and not certain(settings.nothing_enforced(), "whether nothing is enforced"):
        raise GuardFailure("SafeGen stopped this picture: what is enforced came to nothing")
    args = arguments.args_of(p)
    if args is None and arguments.script_of(p) is not None:
        raise GuardFailure("SafeGen stopped this picture: its settings could not be read")
    if args is None:  # another extension's own run: as the one that it is in
        around, inherited, changes = _current.get(), None, NO_CHANGES
        if around is not None and certain(_passes_on(policy), "whether settings are passed on"):
            inherited = around.plan
        args = arguments.OFF if inherited is None else [inherited.to_dict()]
    else:
        changes = vars(p).get(AXIS, NO_CHANGES)
    return arguments.resolve(args, settings.base_plan(), policy, changes)


def _user_around() -> str | None:
    """For whom the run around is made: another extension's own run names nobody."""
    run = _current.get()
    while run is not None:
        name = users.of(run.p)
        if name is not None:
            return name
        run = run.around
    return None


def _passes_on(policy: Policy | None) -> bool:
    """Whether a run passes its settings on to those within it."""
    return policy is not None or settings.guards_nested() is not False


# ---------------------------------------------------------------------- before p.sample


def _wrap(p: Any) -> None:
    """Put `Run.sample` before ``p.sample``."""
    own = vars(p).get("sample")
    original = p.sample

    def sample(*args: Any, **kwargs: Any) -> Any:
        run = _find(p)
        # Another extension may have kept this one from an earlier run, or called it from within.
        if run is None or not run.guarding or run.batch is not None:
            return original(*args, **kwargs)
        # Copies that other extensions make of p while it samples must not carry it along.
        foremost = vars(p).get("sample") is sample
        if foremost:
            _unwrap(p)
        try:
            return run.sample(original, *args, **kwargs)
        finally:
            if foremost:
                p.sample = sample

    sample.safegen_own = own  # type: ignore[attr-defined]
    p.sample = sample


def _unwrap(p: Any) -> None:
    """Take `Run.sample` off ``p``, or off what ``p`` was copied from."""
    current = vars(p).get("sample")
    if not hasattr(current, "safegen_own"):
        return
    if current.safegen_own is None:
        del p.sample
    else:
        p.sample = current.safegen_own


def _find(p: Any) -> Run | None:
    """The run of ``p`` that is under way, or ``None``."""
    run = _current.get()
    while run is not None and run.p is not p:
        run = run.around
    return run


# ---------------------------------------------------------------------- the hook


def before_every_sampling(p: Any) -> None:
    """The ``process_before_every_sampling`` hook: encode and attach. Never raises.

    If it is missed, the first callback does it.
    """
    run = _find(p)
    if run is None or run.batch is None:
        # The hook is the script's, which then has a part in the run.
        if run is not None and run.record is None:
            error = GuardFailure("SafeGen stopped this picture: its settings were not read")
            _stop(p.sampler.model_wrap_cfg, run, error)
        return
    try:
        with explaining():
            run.batch.attach_before_sampling()
    except Exception as error:
        run.batch.fail(error)


# ---------------------------------------------------------------------- callbacks


def on_cfg_denoiser(params: Any) -> None:
    """The host's callback before each UNet call."""
    denoiser = params.denoiser
    p = getattr(denoiser, "p", None)
    if p is None:
        return
    innermost = _current.get()
    if innermost is not None and innermost.batch is not None:
        innermost.batch.open = None  # its second callback never came
    run = _find(p)
    try:
        with explaining():
            _before_call(run, p, params)
    except Exception as error:
        _stop(denoiser, run, error)


def _before_call(run: Run | None, p: Any, params: Any) -> None:
    """Let the guard of the call's pass prepare it, or raise if it has none and should."""
    if run is None:
        _refuse_what_came_past(p)
        return
    if certain(run.guarding, GUARDING) is False:
        return
    if run.batch is None:
        raise GuardFailure(_PAST.format(neighbours.samples_itself(p)))
    if run.batch.error is not None:
        raise run.batch.error
    run.batch.check_call(params.denoiser)
    guard = run.batch.attach(params.denoiser)
    if guard is None:
        run.batch.passed_over(params.denoiser)
        return
    run.batch.open = guard
    guard.before(params)


def on_cfg_denoised(params: Any) -> None:
    """The host's callback after each UNet call."""
    run = _current.get()
    if run is None or run.batch is None or run.batch.open is None:
        return
    guard, run.batch.open = run.batch.open, None
    try:
        with explaining():
            guard.after(params)
    except Exception as error:
        _stop(guard.denoiser, run, error)


_PAST = "SafeGen stopped this picture because it could not guard it: {}"


def _refuse_what_came_past(p: Any) -> None:
    """Raise if a picture that did not come through the door had to be guarded."""
    if resolve(p).plan.active:
        raise GuardFailure(_PAST.format("it is not made by the WebUI's process_images"))


def _stop(denoiser: Any, run: Run | None, error: Exception) -> None:
    """Let the next thing that the host calls directly raise ``error``."""
    if run is not None:
        if run.batch is not None:
            run.batch.open = None  # else the second callback would raise another error over it
        shown = run.fail_call(error)
    else:
        shown = for_caller(explained(error), denoiser.p)
        _put_on_record(denoiser.p, None, explained(error))
    # What stopped a guard is the error's own cause: it must not become its own.
    host.adapter().stop(denoiser, shown, shown.__cause__ if shown is error else error)
