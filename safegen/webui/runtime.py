"""The life of a guarded generation in the WebUI, from the script's hooks to the verdict.

The host catches, prints and forgets whatever a hook or a callback raises. Nothing here depends
on one of them, therefore:

- every hook *arms* the run: it puts `Run.sample` in front of the ``sample`` method of the
  processing object, which the host calls directly. Whatever went wrong before is raised there,
  as an ordinary exception that the user reads. One hook of several is enough.
- within, each sampling pass has a `PassGuard` on its denoiser. Its callbacks are needed in every
  call, and its own second line stops the pass if one did not do its work.
- under enforcement the host's ``process_images_inner`` arms every run, also those that other
  extensions start with a choice of scripts in which SafeGen is not.

State belongs to the processing object; a copy of it (X/Y/Z makes them) starts with none.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from safegen.choice import PROBE, Choice, Chooser
from safegen.contexts.context import SafetyContext
from safegen.contexts.library import ContextError
from safegen.errors import GuardFailure, InvalidValue, SafeGenError, Unsupported
from safegen.hosts.a1111.guard import PassGuard, check_pass
from safegen.learned.embedding import LearnedEmbedding
from safegen.method.session import Verdict
from safegen.plan import AUTO, CUSTOM, SafetyPlan
from safegen.webui import controls, encoder, host, infotext, last, settings
from safegen.webui import enforcement as policy
from safegen.webui.errors import as_http

RUN = "_safegen_run"
LEFT_OFF = "_safegen_off"
"""Attribute of a processing object that is not guarded: the plan that says so, for the record."""
AXIS = "_safegen_axis"
"""Attribute of a processing object: what X/Y/Z axes changed, setting to value."""

_chooser: Chooser | None = None
_calling: tuple[Run, PassGuard] | None = None
"""The guard whose denoiser is between its two callbacks; the second one names no denoiser."""
_outer: weakref.ref[Any] | None = None
"""The processing object of the guarded run that is under way, for runs nested in it."""


def chooser() -> Chooser:
    """The contexts and detectors, loaded once."""
    global _chooser
    if _chooser is None:
        _chooser = Chooser.default(settings.contexts_folder(), settings.lexicon_file())
    return _chooser


def active_policy() -> policy.Policy | None:
    """What is enforced now. Raises `PolicyError` if that can't be read."""
    named = (host.flag("safegen_enforce"), host.option(settings.ENFORCE, policy.OFF))
    found = [policy.load(level) for level in named]
    return policy.strongest([p for p in found if p is not None])


def enforcing() -> bool:
    """Whether anything is enforced, be it a policy that can't be read."""
    try:
        return active_policy() is not None
    except SafeGenError:
        return True


def own_fault(error: BaseException) -> SafeGenError:
    """``error`` itself if it was meant for the user, else what they should read instead."""
    if isinstance(error, SafeGenError):
        return error
    return GuardFailure(f"SafeGen stopped this picture because of an error of its own: {error!r}")


@contextmanager
def owning_up() -> Iterator[None]:
    """Around our own work: whatever it raises is `own_fault`, the host's errors are not."""
    try:
        yield
    except Exception as error:
        fault = own_fault(error)
        if fault is error:
            raise
        raise fault from error


def readable(error: SafeGenError, p: Any) -> Exception:
    """``error`` as whoever asked for the picture can read it."""
    return as_http(error) if getattr(p, "is_api", False) else error


class Run:
    """One ``process_images`` under guard.

    Args:
        p: The host's processing object.
        plan: The settings, or ``None`` where they could not be read: ``failure`` says why.
        enforced: The policy that was applied, and in words what it changed.
        failure: Why nothing may be sampled.
        scripted: Whether SafeGen's script has a part in it; runs nested in it follow it.
        around: The run that this one is nested in; what it does counts as that one's.
    """

    def __init__(
        self,
        p: Any,
        plan: SafetyPlan | None,
        *,
        enforced: policy.Policy | None = None,
        notes: Sequence[str] = (),
        failure: BaseException | None = None,
        scripted: bool = False,
        around: Run | None = None,
    ) -> None:
        self._p = weakref.ref(p)
        self.nested = around is not None
        self.tally: last.Tally = around.tally if around is not None else new_tally(p, plan, notes)
        self.scripted = scripted
        self.plan, self.enforced, self.failure = plan, enforced, failure
        self.notes = list(notes)
        self.started = False
        self.choices: dict[str, Choice] = {}
        self.hires_choices: dict[str, Choice] = {}
        self.verdicts: list[Verdict] = []
        self.failures: dict[int, str] = {}
        self.broken: BaseException | None = None
        self._parts: dict[bool, list[Choice]] = {}
        self._guards: list[PassGuard] = []
        self._caches: dict[bool, list[Any]] = {False: [None, None], True: [None, None]}
        self._joined: weakref.ref[Any] | None = None

    @property
    def stands_before_sampling(self) -> bool:
        """Whether the host is within this run's own `sample`, which meets every error."""
        return self.sampling and self._joined is None

    @property
    def sampling(self) -> bool:
        """Whether the host is within this run's `sample`."""
        return bool(self._parts)

    def joined_other_pass(self, p: Any) -> bool:
        """Whether this run was taken over in a pass before the one that is under way."""
        return self._joined is not None and self._joined() is not p.sampler

    def belongs_to(self, p: Any) -> bool:
        """Whether this is the run of ``p`` itself and not of what ``p`` was copied from."""
        return self._p() is p

    def fail(self, error: BaseException) -> None:
        """Remember the first error that concerns every batch; `sample` raises it."""
        self.failure = self.failure or error

    def fail_batch(self, error: BaseException) -> None:
        """Remember the first error in the batch that is being sampled; the next may go well."""
        self.broken = self.broken or error

    # ------------------------------------------------------------------ deciding

    def _choose(self, text: str) -> Choice:
        assert self.plan is not None
        plan, rules = self.plan, self.enforced

        def learned(context: SafetyContext) -> LearnedEmbedding:
            return encoder.learned(context, plan.strategy)

        if PROBE in plan.detectors:
            chooser().detectors[PROBE] = encoder.probe()
        try:
            choice = chooser().choose_parts(text, plan, learned=learned)
            if rules is None or plan.context == AUTO:
                return choice
            auto = plan.replace(context=AUTO, strategy="context")
            found = chooser().choose_parts(text, auto).context
            if found is None or not rules.requires(found.name) or found.name == plan.context:
                return choice
            required = plan.replace(context=found.name)
            forced = chooser().choose_parts(text, required, learned=learned)
            return replace(
                forced, why=f"{found.label} instead of {plan.context}: enforced ({rules.name})"
            )
        except ContextError:
            names = [AUTO, *chooser().library.names(), CUSTOM]
            raise InvalidValue("context", plan.context, ", ".join(names)) from None

    def _decide(self, p: Any) -> bool:
        """Choose for this batch's prompts; whether there is any picture to guard."""
        assert self.plan is not None
        self._parts = {False: [self._choose(text) for text in p.prompts]}
        first = p.iteration * p.batch_size
        originals = p.all_prompts[first : first + len(p.prompts)]
        self.choices.update(zip(originals, self._parts[False], strict=False))
        if getattr(p, "enable_hr", False) and self.plan.hires:
            self._parts[True] = [self._choose(text) for text in p.hr_prompts]
            hires = p.all_hr_prompts[first : first + len(p.hr_prompts)]
            self.hires_choices.update(zip(hires, self._parts[True], strict=False))
        return any(c.context is not None for of_pass in self._parts.values() for c in of_pass)

    def _expects(self, p: Any) -> bool:
        """Whether the pass that is under way has a picture to guard."""
        choices = self._parts.get(bool(getattr(p, "is_hr_pass", False)), [])
        return any(choice.context is not None for choice in choices)

    # ------------------------------------------------------------------ the record

    def _open_batch(self, p: Any) -> None:
        """A place in the record for each picture of the batch that is about to be sampled."""
        if self.nested:
            return
        tally, choices = self.tally, self._parts[False]
        tally.contexts += [c.context.name if c.context is not None else None for c in choices]
        tally.why += [choice.why for choice in choices]
        if tally.checks:
            tally.evidence += [""] * len(choices)
        if tally.maps:
            tally.disagreement += [np.zeros(host.latent_size(p), dtype=np.float32) for _ in choices]

    def _close_batch(self) -> None:
        """What the batch's passes did; the first pass's check counts, and the last one's map."""
        tally = self.tally
        for guard in sorted(self._guards, key=lambda guard: guard.hires):
            seen = guard.session.so_far()
            tally.calls += seen.calls
            tally.needed += seen.needed
            tally.guarded += seen.guarded
            tally.evaluated += seen.evaluated
            tally.count(seen.calls * len(guard.images), guard.own_rows)
            if self.nested:
                continue
            first = len(tally.contexts) - len(guard.images)
            if tally.checks:
                for image, line in enumerate(guard.evidence(), first):
                    tally.evidence[image] = tally.evidence[image] or line
            for image, found in enumerate(guard.maps(), first):
                tally.disagreement[image] = found
        self._guards = []
        last.record(tally.close())

    def passed_over(self, p: Any) -> None:
        """A denoiser call of a pass with nothing to guard."""
        self.tally.calls += 1
        self.tally.count(len(p.prompts), 0)

    def _blame(self, error: Exception) -> None:
        """Why no picture came of it, for the record; of the host's errors only their kind."""
        fault = error if self.failure is None else own_fault(self.failure)
        self.tally.error = self.tally.error or (
            str(fault)
            if isinstance(fault, SafeGenError)
            else f"the WebUI itself stopped with {type(error).__name__}"
        )

    def record_failure(self, error: Exception) -> None:
        """Put ``error`` on record at once: what raises it may never come back to us."""
        self._blame(error)
        last.record(self.tally.close())

    # ------------------------------------------------------------------ sampling

    def sample(self, p: Any, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the host calls instead of ``p.sample``: the same, under guard.

        Raises:
            SafeGenError: Something was not allowed, is not supported or went unguarded.
        """
        global _outer
        self.started = True
        try:
            with owning_up():
                self._check(p)
                assert self.plan is not None
                self._guards, self.broken = [], None
                guarding = self._decide(p)
                self._open_batch(p)
                if guarding:
                    check_pass(host, p, None, self.plan)
                else:
                    self._say(p)
            if not guarding:
                return original(*args, **kwargs)
            samples = original(*args, **kwargs)
            with owning_up():
                self._verify(p)
                if self.scripted:
                    _outer = weakref.ref(p)
                self._say(p)
            return samples
        except GuardFailure as error:
            self._blame(error)
            if host.option(settings.ON_FAILURE, settings.STOP) == settings.STOP:
                raise readable(error, p) from error
            p.comment(f"SafeGen: {error}")
            self.failures[p.iteration] = str(error)
            return host.black_pictures(p)
        except Exception as error:
            self._blame(error)
            if isinstance(error, SafeGenError):
                raise readable(error, p) from error
            raise
        finally:
            for guard in self._guards:
                guard.detach()
            self._parts = {}
            self._close_batch()

    def _check(self, p: Any) -> None:
        if self.failure is not None:
            raise own_fault(self.failure) from self.failure.__cause__
        reason = host.why_unsupported()
        if reason is not None:
            way_out = (
                "and the operator enforces SafeGen, so nothing is generated"
                if self.enforced is not None
                else "switch SafeGen off to generate without a guard"
            )
            raise Unsupported(f"{reason}; {way_out}")
        if not self.belongs_to(p):
            raise GuardFailure("SafeGen met a copy of a generation that it does not know")

    def attach(self, p: Any, denoiser: Any) -> PassGuard | None:
        """The guard of the pass that ``denoiser`` runs; ``None`` if nothing is to be guarded."""
        if self.plan is None or not self._expects(p):
            return None
        for guard in self._guards:
            if guard.denoiser is denoiser:
                return guard
        hires = bool(getattr(p, "is_hr_pass", False))
        guard = PassGuard(
            host,
            p,
            denoiser,
            self.plan,
            [choice.parts for choice in self._parts[hires]],
            hires=hires,
            cache=self._caches[hires],
            maps=self.tally.maps and not self.nested,
            floor=0.0 if self.enforced is None else self.enforced.floor("weight"),
        )
        self._guards.append(guard)
        return guard

    def attach_before(self, p: Any) -> None:
        """Attach to the sampler that is about to run, so that it is verified when it returns."""
        sampler = p.sampler
        guard = self.attach(p, sampler.model_wrap_cfg)
        if guard is None:
            return
        original = sampler.launch_sampling

        def launch_sampling(steps: Any, func: Callable[[], Any]) -> Any:
            try:
                samples = original(steps, guard.watching(func))
                self._close(guard)
                return samples
            finally:
                guard.detach()
                vars(sampler).pop("launch_sampling", None)

        sampler.launch_sampling = launch_sampling

    def join(self, p: Any) -> None:
        """Take over a pass whose sampling has begun: nothing stands before its ``sample``.

        The last method of the sampler that the host calls before it hands the latent on then
        verifies the pass. The next pass or batch of the same run is taken over anew.
        """
        self.started = True
        self._joined = weakref.ref(p.sampler)
        self._guards, self.broken = [], None
        self._decide(p)
        hires = bool(getattr(p, "is_hr_pass", False))
        self._parts = {hires: self._parts.get(hires, [])}
        if not self._expects(p):
            return
        check_pass(host, p, None, self.plan or SafetyPlan())
        sampler = p.sampler
        original = sampler.add_infotext

        def add_infotext(*args: Any, **kwargs: Any) -> Any:
            vars(sampler).pop("add_infotext", None)
            try:
                self._verify(p)
            except SafeGenError as error:
                self._blame(error)
                raise readable(error, p) from error
            finally:
                self._close_batch()
            return original(*args, **kwargs)

        sampler.add_infotext = add_infotext

    def _close(self, guard: PassGuard) -> None:
        if guard.verdict is not None:
            return
        with owning_up():
            earlier = bool(self.verdicts) or not self._parts.get(False)
            verdict = guard.finish(verified_input=guard.hires and earlier)
            if verdict is not None:
                self.verdicts.append(verdict)

    def _verify(self, p: Any) -> None:
        """Every pass that had a picture to guard had a guard, and each is content."""
        if self.broken is not None:
            raise own_fault(self.broken) from self.broken.__cause__
        for guard in self._guards:
            self._close(guard)
        wanted = {
            hires
            for hires, choices in self._parts.items()
            if any(choice.context is not None for choice in choices)
        }
        if getattr(p, "firstpass_image", None) is not None and getattr(p, "enable_hr", False):
            wanted.discard(False)  # there was none: the picture came from outside
        if host.stopping() and {guard.hires for guard in self._guards} == {False}:
            wanted.discard(True)  # stopped before it
        missing = wanted - {guard.hires for guard in self._guards}
        if missing:
            which = "second" if missing == {True} else "first"
            raise GuardFailure(
                "SafeGen stopped this picture because it could not guard it: the guard was never "
                f"called in the {which} pass"
            )

    # ------------------------------------------------------------------ telling

    def write(self, p: Any) -> None:
        """The plan into the infotext, and for each image what was chosen."""
        if self.plan is None:
            return
        params = p.extra_generation_params
        infotext.write(params, self.plan)

        def of_prompt(prompt_text: Any, attribute: str) -> str | None:
            choice = self.choices.get(prompt_text)
            if choice is None:
                return None
            if attribute == "why":
                return choice.why
            return choice.context.name if choice.context is not None else "none"

        def chosen(prompt_text: Any = None, **_: Any) -> str | None:
            return of_prompt(prompt_text, "name")

        def why(prompt_text: Any = None, **_: Any) -> str | None:
            return of_prompt(prompt_text, "why")

        def hires_chosen(p: Any = None, index: int = 0, prompt_text: Any = None, **_: Any) -> Any:
            prompts = getattr(p, "all_hr_prompts", None) or []
            text = prompts[index] if index < len(prompts) else prompt_text
            choice = self.hires_choices.get(text) if text != prompt_text else None
            return None if choice is None else choice.context.name if choice.context else "none"

        def saw(index: int = 0, **_: Any) -> str | None:
            lines = self.tally.evidence
            return (lines[index] or None) if index < len(lines) else None

        def note(**_: Any) -> str | None:
            return "; ".join(dict.fromkeys(self.notes)) or None

        def failed(p: Any = None, **_: Any) -> str | None:
            return self.failures.get(getattr(p, "iteration", 0))

        params[infotext.CHOSEN] = chosen
        params[infotext.WHY] = why
        if self.plan.evidence:
            params[infotext.SAW] = saw
        params[infotext.NOTE] = note
        params[infotext.FAILED] = failed
        if getattr(p, "enable_hr", False):
            params[infotext.HIRES_CHOSEN] = hires_chosen
        if self.enforced is not None:
            params[infotext.ENFORCED] = self.enforced.name

    def _say(self, p: Any) -> None:
        guarding = any(choice.context is not None for choice in self.choices.values())
        independent = self.plan is not None and self.plan.streams == "independent"
        if guarding and independent and host.adds_noise(p):
            self.notes.append(
                "this sampler adds noise of its own at every step, which independent streams "
                "leave out of the safe stream: expect a softer picture, or use shared"
            )
        if not host.option(settings.COMMENT, True):
            return
        for choices in (self.choices, self.hires_choices):
            for choice in choices.values():
                p.comment(f"SafeGen: {choice.why}")
                safe = choice.conditioning
                if safe is not None and safe.text != choice.verdict.prompt:
                    p.comment(f"SafeGen: the safe stream saw: {safe.text}")
        for line in dict.fromkeys(line for guard in self._guards for line in guard.evidence()):
            if line:
                p.comment(f"SafeGen: {line}")
        if self.enforced is not None:
            p.comment(f"SafeGen: {self.enforced.explain()}")
        for note in dict.fromkeys(self.notes):
            p.comment(f"SafeGen: {note}")


# ---------------------------------------------------------------------- arming


def new_tally(p: Any, plan: SafetyPlan | None, notes: Sequence[str]) -> last.Tally:
    """An empty record of the run of ``p``."""
    settings_used = {} if plan is None else plan.to_dict()
    checks = plan is not None and plan.evidence
    return last.Tally(
        host.tab_of(p), settings_used, maps=last.maps_wanted(), checks=checks, notes=notes
    )


def run_of(p: Any) -> Run | None:
    """The run of ``p`` itself, or ``None``."""
    run = vars(p).get(RUN)
    return run if isinstance(run, Run) and run.belongs_to(p) else None


def forget(p: Any) -> None:
    """Leave ``p`` as if SafeGen had never seen it."""
    vars(p).pop(RUN, None)
    vars(p).pop(LEFT_OFF, None)
    _unwrap(p)


def _unwrap(p: Any) -> None:
    if getattr(vars(p).get("sample"), "is_safegen", False):
        del p.sample


def _wrap(p: Any, run: Run) -> None:
    """Put `Run.sample` before ``p.sample``, for one call."""
    current = vars(p).get("sample")
    if getattr(current, "is_safegen", False):
        if getattr(current, "run", None) is run:
            return
        _unwrap(p)
    own = "sample" in vars(p)
    original = p.sample

    def sample(*args: Any, **kwargs: Any) -> Any:
        # Removed first: copies that other extensions make of p while or after it samples must
        # not carry it along. The next batch's hooks put it back. Another extension's method that
        # stands before this one (ControlNet puts one there, once for all batches) stays.
        if vars(p).get("sample") is sample:
            if own:
                p.sample = original
            else:
                del p.sample
        if run.sampling:  # one of an earlier hook, behind the other extension's
            return original(*args, **kwargs)
        return run.sample(p, original, *args, **kwargs)

    sample.is_safegen = True  # type: ignore[attr-defined]
    sample.run = run  # type: ignore[attr-defined]
    p.sample = sample


def _plan_of(
    args: Sequence[Any] | None, changes: Mapping[str, Any]
) -> tuple[SafetyPlan, policy.Policy | None, tuple[str, ...]]:
    rules = active_policy()
    base = settings.base_plan()
    if args is not None:
        plan = controls.plan_from(args, base, changes)
    else:
        around = _around(None)
        plan = SafetyPlan(enabled=False) if around is None else around.plan or base
    if rules is None:
        return plan, None, ()
    if not plan.enabled:
        plan = base
    raised, notes = rules.apply(plan)
    return raised, rules, notes


def prepare(p: Any, args: Sequence[Any] | None) -> None:
    """Begin anew with ``p``: read the settings, arm it if it is to be guarded. Never raises.

    ``args`` are the script's, or ``None`` for a run in which the script has no part.
    """
    global _outer
    inherited = vars(p).get(RUN)
    copied = isinstance(inherited, Run) and not inherited.belongs_to(p)
    forget(p)
    if copied:
        # ADetailer calls the hooks with a copy of p after each batch; the copy shares the table
        # of what the infotext of p, whose generation goes on, says.
        p.extra_generation_params = dict(p.extra_generation_params)
    elif args is not None:
        _outer = None
    try:
        plan, rules, notes = _plan_of(args, vars(p).get(AXIS, {}))
    except Exception as error:
        run = Run(p, None, failure=error, scripted=args is not None, around=_around_for(p, args))
    else:
        infotext.remove(p.extra_generation_params)
        if not plan.enabled:
            setattr(p, LEFT_OFF, plan)
            return
        run = Run(
            p,
            plan,
            enforced=rules,
            notes=notes,
            scripted=args is not None,
            around=_around_for(p, args),
        )
        try:
            run.write(p)
        except Exception as error:
            run.fail(error)
        if not plan.active:  # weight 0: noted in the infotext, and nothing else happens
            setattr(p, LEFT_OFF, plan)
            return
    setattr(p, RUN, run)
    _wrap(p, run)


def arm(p: Any, args: Sequence[Any] | None) -> None:
    """Make sure that ``p`` is armed, whichever hooks ran before this one. Never raises."""
    run = run_of(p)
    if run is None:
        prepare(p, args)
    elif not run.sampling:
        _wrap(p, run)


def arm_anew(p: Any, args: Sequence[Any] | None) -> None:
    """Like `arm`, but a run that has sampled already belongs to an earlier generation."""
    run = run_of(p)
    if run is None or run.started:
        prepare(p, args)
    else:
        _wrap(p, run)


def before_sampling(p: Any) -> None:
    """The ``process_before_every_sampling`` hook: encode and attach. Never raises.

    If it is missed, the first callback does it.
    """
    run = run_of(p)
    if run is None:
        return
    try:
        run.attach_before(p)
    except Exception as error:
        run.fail_batch(error)


def done(p: Any) -> None:
    """The ``postprocess`` hook: the generation is over."""
    global _outer
    if _outer is not None and _outer() is p:
        _outer = None
    plan = vars(p).get(LEFT_OFF)
    if plan is not None:
        last.record(last.LastRun(time.time(), host.tab_of(p), last.OFF, plan.to_dict()))
    forget(p)


# ---------------------------------------------------------------------- callbacks


def _around(p: Any) -> Run | None:
    """The guarded run that is under way and that ``p``, being another, is nested in."""
    outer = None if _outer is None else _outer()
    if outer is None or outer is p:
        return None
    if outer.sampler is None and outer.c is None:
        return None  # the host has closed it, though ``postprocess`` never came
    return run_of(outer)


def _around_for(p: Any, args: Sequence[Any] | None) -> Run | None:
    """The run around ``p``, if ``p`` is one in which the script has no part."""
    return _around(p) if args is None else None


def _nested(p: Any) -> Run | None:
    """The run of a ``p`` that nothing armed, if it is to be guarded all the same.

    Other extensions start inner runs with a choice of scripts in which SafeGen is not. Such a
    run is guarded with the settings of the run around it.
    """
    around = _around(p)
    if around is None or around.plan is None or not host.option(settings.NESTED, True):
        return None
    run = Run(p, around.plan, enforced=around.enforced, around=around)
    setattr(p, RUN, run)
    run.join(p)
    return run


def _missed(p: Any, denoiser: Any) -> Run | None:
    """A run that has to be guarded, though not one of the script's hooks armed it."""
    args = find_script_args(p) if denoiser.step == 0 or enforcing() else None
    if args is None and not enforcing():
        return None
    plan, _, _ = _plan_of(args, vars(p).get(AXIS, {}))
    if not plan.active:
        return None
    return Run(
        p,
        plan,
        failure=GuardFailure(
            "SafeGen stopped this picture because it could not guard it: none of its hooks ran"
        ),
    )


def on_cfg_denoiser(params: Any) -> None:
    """The host's callback before each UNet call."""
    global _calling
    _calling = None
    denoiser = params.denoiser
    p = getattr(denoiser, "p", None)
    if p is None:
        return
    run = run_of(p)
    try:
        if run is None or not run.sampling:
            run = _nested(p) or _missed(p, denoiser)
            if run is None:
                return
        elif run.joined_other_pass(p):
            run.join(p)
        failure = run.failure or run.broken
        if failure is not None:
            raise failure
        guard = run.attach(p, denoiser)
        if guard is None:
            run.passed_over(p)
            return
        _calling = run, guard
        guard.before(params)
    except Exception as error:
        _stop(denoiser, run, error)


def on_cfg_denoised(params: Any) -> None:
    """The host's callback after each UNet call."""
    global _calling
    if _calling is None:
        return
    (run, guard), _calling = _calling, None
    try:
        guard.after(params)
    except Exception as error:
        _stop(guard.denoiser, run, error)


def _stop(denoiser: Any, run: Run | None, error: Exception) -> None:
    """Let the next thing that the host calls directly raise ``error``."""
    shown: Exception = own_fault(error)
    if run is not None:
        run.fail_batch(error)
    (run or run_of(denoiser.p) or Run(denoiser.p, None)).record_failure(error)
    if run is None or not run.stands_before_sampling:  # else that tells the user, or paints black
        shown = readable(own_fault(error), denoiser.p)

    def combine_denoised(*_args: Any, **_kwargs: Any) -> Any:
        vars(denoiser).pop("combine_denoised", None)
        raise shown from error

    denoiser.combine_denoised = combine_denoised


# ---------------------------------------------------------------------- enforcement


def find_script(p: Any) -> Any | None:
    """SafeGen's script among those of this run, or ``None`` if it has no part in it."""
    for script in getattr(getattr(p, "scripts", None), "alwayson_scripts", None) or []:
        if getattr(script, "is_safegen", False) and script.args_to is not None:
            return script
    return None


def find_script_args(p: Any) -> Sequence[Any] | None:
    """What SafeGen's script is called with in this run, or ``None`` if it has no part in it."""
    script = find_script(p)
    if script is None:
        return None
    args = getattr(p, "script_args", None) or []
    return list(args[script.args_from : script.args_to])


def guard_inner(p: Any) -> None:
    """Before every ``process_images_inner``: under enforcement nothing goes unarmed."""
    if enforcing():
        arm_anew(p, find_script_args(p))


def policy_to_show() -> policy.Policy | None:
    """What is enforced, for the UI; one that can't be read shows as what it does: refuse."""
    try:
        return active_policy()
    except SafeGenError as error:
        return policy.Policy(f"unreadable, so nothing is generated: {error}")
