"""What has to be made in the loaded model before a plan can run, and making it.

What the strategies `LEARNED_STRATEGIES` need is learned with the first picture that needs it; the
probe, and what watches the model, are fitted by a button.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from safegen.choice import PROBE
from safegen.learned.probe import ProbeError, ProbeStore
from safegen.plan import CUSTOM, LEARNED_STRATEGIES, SETTINGS, WATCH, SafetyPlan
from safegen.webui import encoder, host, settings, watching
from safegen.webui.words import say, spoken


@dataclass(frozen=True)
class Need:
    """What is missing.

    Args:
        what: What needs it, such as ``Safe stream: direction``.
        probe: Whether the probe has not been fitted.
        watch: Whether what watches has not been fitted.
        never: Whether it can't be made at all.
    """

    what: str
    probe: bool = False
    watch: bool = False
    never: bool = False

    @property
    def name(self) -> str:
        """By which the page's button asks for it; see `NEEDS`."""
        return "watch" if self.watch else "probe"

    @property
    def button(self) -> str:
        """What the button that makes it says; empty if there is nothing to press."""
        if self.never:
            return ""
        return say("Fit it now") if self.watch else say("Fit the probe now")

    def text(self, *, may: bool, here: bool = True) -> str:
        """What is missing and what to do.

        Args:
            may: Whether the user may make it, by pressing `button`.
            here: Whether that button is beside this text.
        """
        if self.never:
            return say("{what} can't be used with custom texts. Choose another.", what=self.what)
        lacks = say("{what} must first be fitted for this model.", what=self.what)
        if may and here:
            return f"{lacks} {say('It takes a minute or more; press the button.')}"
        if may:
            return f"{lacks} {say('Choose it where SafeGen is ticked: a button there does it.')}"
        return f"{lacks} {say('Ask the operator of this server, or choose another.')}"


PROBE_MISSING = Need(SETTINGS["detectors"].named(PROBE), probe=True)
WATCH_MISSING = Need(SETTINGS["mode"].named(WATCH), watch=True)

NEEDS = {need.name: need for need in (PROBE_MISSING, WATCH_MISSING)}
"""What a button can make."""


def missing(plan: SafetyPlan) -> Need | None:
    """What ``plan`` lacks in the loaded model; ``None`` if nothing, or if it can't be told now."""
    # Forge loads its model for the first picture, which then says it.
    if plan.mode == WATCH and host.is_loaded() and not watching.is_fitted():
        return WATCH_MISSING
    if plan.strategy in LEARNED_STRATEGIES and plan.context == CUSTOM:
        return Need(SETTINGS["strategy"].named(plan.strategy), never=True)
    identity = encoder.identity_at_once() if PROBE in plan.detectors else None
    if identity is None:
        return None
    try:
        ProbeStore(settings.contexts_folder()).get(identity)
    except ProbeError:
        return PROBE_MISSING
    return None


def make(need: Need, tell: Callable[[float, str], Any]) -> None:
    """Make what is missing. Waits for a picture that is being made.

    Args:
        tell: Told how far it has come, 0 to 1, and with what.

    Raises:
        SafeGenError: It can't be made; says why.
    """
    what = spoken(need.what)
    tell(0.0, say("Waiting for the model"))
    with host.exclusively():
        if need.watch:
            watching.fit(progress=lambda done, of: tell(done / of, what))
            return
        ProbeStore(settings.contexts_folder()).fit(
            encoder.HostEncoder(), progress=lambda done, of: tell(done / of, what)
        )
