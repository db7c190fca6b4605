"""What has to be made in the loaded model before a plan can run, and making it.

The strategies `LEARNED_STRATEGIES` need what is learned for a context in the model's own text
encoder, and the probe has to be fitted there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from safegen.choice import PROBE
from safegen.errors import SafeGenError
from safegen.learned.probe import ProbeError, ProbeStore
from safegen.learned.store import LearnedStore
from safegen.plan import AUTO, CUSTOM, LEARNED_STRATEGIES, SETTINGS, WATCH, SafetyPlan
from safegen.webui import deciding, encoder, host, settings, watching
from safegen.webui.words import say


@dataclass(frozen=True)
class Need:
    """What is missing.

    Args:
        what: What needs it, such as ``Safe stream: direction``.
        contexts: The contexts for which nothing has been learned yet.
        probe: Whether the probe has not been fitted.
        watch: Whether what watches has not been fitted.
        never: Whether it can't be made at all.
    """

    what: str
    contexts: Sequence[str] = ()
    probe: bool = False
    watch: bool = False
    never: bool = False

    @property
    def button(self) -> str:
        """What the button that makes it says; empty if there is nothing to press."""
        if self.never:
            return ""
        if self.watch:
            return say("Fit it now")
        return say("Fit the probe now") if self.probe else say("Learn it now")

    def text(self, *, may: bool) -> str:
        """What is missing and what to do.

        Args:
            may: Whether the user may make it, by pressing `button`.
        """
        if self.never:
            return say("{what} can't be used with custom texts. Choose another.", what=self.what)
        if self.probe or self.watch:
            lacks = say("{what} must first be fitted for this model.", what=self.what)
        else:
            names = ", ".join(_label(name) for name in self.contexts)
            lacks = say(
                "{what} must first be learned for this model. Missing: {names}.",
                what=self.what,
                names=names,
            )
        if may:
            return f"{lacks} {say('It takes a minute or more; press the button.')}"
        return f"{lacks} {say('Ask the operator of this server, or choose another.')}"


PROBE_MISSING = Need(f"{SETTINGS['detectors'].label}: {PROBE}", probe=True)
WATCH_MISSING = Need(f"{SETTINGS['mode'].label}: {WATCH}", watch=True)


def _label(name: str) -> str:
    return deciding.chooser().library.get(name).label


def missing(plan: SafetyPlan) -> Need | None:
    """What ``plan`` lacks in the loaded model; ``None`` if nothing, or if it can't be told now."""
    if plan.mode == WATCH and not watching.is_fitted():
        return WATCH_MISSING
    learned = plan.strategy in LEARNED_STRATEGIES
    if not learned and PROBE not in plan.detectors:
        return None
    strategy = f"{SETTINGS['strategy'].label}: {plan.strategy}"
    if learned and plan.context == CUSTOM:
        return Need(strategy, never=True)
    identity = encoder.identity_at_once()
    if identity is None:
        return None
    if learned:
        lacking = [name for name in _may_apply(plan) if not _has(name, identity)]
        if lacking:
            return Need(strategy, contexts=lacking)
    if PROBE in plan.detectors:
        try:
            ProbeStore(settings.contexts_folder()).get(identity)
        except ProbeError:
            return PROBE_MISSING
    return None


def _may_apply(plan: SafetyPlan) -> list[str]:
    """The contexts that may come to apply under ``plan``."""
    library = deciding.chooser().library
    if plan.context != AUTO:
        return [plan.context] if plan.context in library else []
    return [context.name for context in library if context.category]


def _has(context: str, identity: str) -> bool:
    try:
        LearnedStore(settings.contexts_folder()).get(context, identity)
    except SafeGenError:
        return False
    return True


def make(need: Need, told: Callable[[float, str], Any]) -> None:
    """Make what is missing. Waits for a picture that is being made.

    Args:
        told: Told how far it has come, 0 to 1, and with what.

    Raises:
        SafeGenError: It can't be made; says why.
    """
    folder = settings.contexts_folder()
    told(0.0, say("Waiting for the model"))
    with host.exclusively():
        if need.watch:
            watching.fit(progress=lambda done, of: told(done / of, need.what))
            return
        own = encoder.HostEncoder()
        if need.probe:
            ProbeStore(folder).fit(own, progress=lambda done, of: told(done / of, need.what))
        for number, name in enumerate(need.contexts):
            context = deciding.chooser().library.get(name)
            share = number / len(need.contexts)
            told(share, context.label)
            LearnedStore(folder).learn(context, own)
