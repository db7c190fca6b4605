"""How things stand: what the next picture of a tab will be made with, in one word and in full.

The badge near Generate and the line in the accordion say the same, for both come from here. They
are asked for when the page is loaded, when a control changes, after a run, and when settings may
have changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from safegen.errors import SafeGenError
from safegen.plan import (
    ALWAYS,
    AUTO,
    AWAY,
    CUSTOM,
    LEARNED_STRATEGIES,
    PUSH_ALL,
    WATCH,
    WORDS,
    SafetyPlan,
)
from safegen.webui import arguments, deciding, host, markup, mending, settings
from safegen.webui.arguments import Resolved
from safegen.webui.enforcement import Policy
from safegen.webui.errors import NOTHING_GENERATED, plainly
from safegen.webui.words import later, say, say_html, spoken


@dataclass(frozen=True)
class Badge:
    """A state's word, and what it means."""

    word: str
    meaning: str


BADGES = {
    "off": Badge(later("off"), later("SafeGen is off. Pictures are made as without it.")),
    "zero": Badge(
        later("off"), later("The safety weight is 0. Pictures are made as without SafeGen.")
    ),
    "auto": Badge(later("Auto"), later("SafeGen reads each prompt and guards those that need it.")),
    "watch": Badge(later("Watch"), later("SafeGen reads each prompt and watches each picture.")),
    "on": Badge(later("on"), later("SafeGen guards every picture.")),
    "enforced": Badge(later("enforced"), later("SafeGen stays on: it is enforced here.")),
    "blocked": Badge(later("blocked"), NOTHING_GENERATED),
    "invalid": Badge(later("can't run"), later("With these settings no picture is made.")),
    "failed": Badge(
        later("failed"), later("SafeGen stopped the last picture. The message is under it.")
    ),
}
"""Every state of the badge. ``failed`` is what the page sees itself, under its last picture."""


@dataclass(frozen=True)
class Standing:
    """How things stand.

    Args:
        state: One of `BADGES`.
        label: A word more beside the badge's: the weight, the context.
        text: What will happen, as HTML.
        enforced: Whether SafeGen can't be switched off.
        mend: What has to be made before this can run, if the user may make it.
    """

    state: str
    label: str
    text: str
    enforced: bool = False
    mend: mending.Need | None = None

    def html(self) -> str:
        """The line in the accordion, with what the page's badge needs."""
        badge, failed = BADGES[self.state], BADGES["failed"]
        data = {
            "state": self.state,
            "word": say(badge.word),
            "label": self.label,
            "meaning": say(badge.meaning),
            "failed-word": say(failed.word),
            "failed-meaning": say(failed.meaning),
            "enforced": say(BADGES["enforced"].meaning) if self.enforced else "",
        }
        attributes = " ".join(f'data-safegen-{key}="{escape(str(v))}"' for key, v in data.items())
        made = "" if self.mend is None else _mender(self.mend)
        return f"<div {attributes} {markup.asked()}>{self.text}{made}</div>"


def of(args: Sequence[Any], user: str | None = None) -> Standing:
    """How things stand with these values of the controls, for ``user``, at this moment."""
    try:
        policy = settings.active_policy(user)
    except SafeGenError as error:
        text = f"<p class='safegen-bad'>{escape(say(BADGES['blocked'].meaning))}</p>"
        text += details(plainly(error))
        return Standing("blocked", "", text, enforced=True)
    notice = "" if policy is None else enforced(policy)
    reason = host.why_unsupported()
    if policy is not None and reason is not None:
        return Standing("blocked", "", f"{notice}{_bad(reason)}", enforced=True)
    try:
        resolved = arguments.resolve(args, settings.base_plan(), policy)
        plan = resolved.plan
        if not plan.enabled:
            return Standing("off", "", say(BADGES["off"].meaning))
        if not plan.active:
            return Standing("zero", say("weight 0"), say(BADGES["zero"].meaning))
        if reason is not None:
            return Standing("invalid", "", _bad(reason))
        if settings.lexicon_file() is not None:
            deciding.chooser()  # says at once if that list can't be read
        need = mending.missing(plan)
    except SafeGenError as error:
        return Standing("invalid", "", f"{notice}{_bad(plainly(error))}", policy is not None)
    if need is not None:
        may = policy is None and bool(need.button)
        text = f"{notice}{_bad(need.text(may=may))}"
        return Standing("invalid", "", text, policy is not None, need if may else None)
    return _running(resolved, notice)


def _running(resolved: Resolved, notice: str) -> Standing:
    """What happens where nothing is in the way."""
    plan = resolved.plan
    text = f"<p>{_sentence(plan)}</p>"
    if resolved.notes:
        text += "".join(f"<p>{escape(spoken(note))}</p>" for note in resolved.notes)
    weight = f"{plan.weight:.0%}"
    if resolved.policy is not None:
        return Standing("enforced", weight, f"{notice}{text}", enforced=True)
    if plan.mode == ALWAYS:
        return Standing("on", f"{context_label(plan.context)} {weight}", text)
    state = "watch" if plan.mode == WATCH else "auto"
    label = weight if plan.context == AUTO else f"{context_label(plan.context)} {weight}"
    return Standing(state, label, text)


def _sentence(plan: SafetyPlan) -> str:
    """What will happen, as HTML."""
    weight = f"{plan.weight:.0%}"
    if plan.context == CUSTOM:
        what = say_html("Your own texts apply.")
    elif plan.context == AUTO:
        what = ""
    else:
        what = say_html("The context is {context}.", context=context_label(plan.context))
    when = {
        WORDS: say("Auto checks each prompt."),
        WATCH: say("Auto checks each prompt, and asks the model what it would draw."),
        ALWAYS: say("Every picture is guarded."),
    }[plan.mode]
    acts = {
        WORDS: say_html("If it is unsafe, the safe version counts {weight}.", weight=weight),
        WATCH: say_html("If either is unsafe, the safe version counts {weight}.", weight=weight),
        ALWAYS: say_html("The safe version counts {weight}.", weight=weight),
    }[plan.mode]
    cost = say_html("About {times} times the work then.", times=f"{work(plan):.2g}")
    learns = ""
    if plan.strategy in LEARNED_STRATEGIES:
        learns = say("The first picture with a model takes longer: its context is learned then.")
    return " ".join(filter(None, (what, when, acts, _span(plan), cost, learns)))


def _span(plan: SafetyPlan) -> str:
    """From when to when it counts, as HTML."""
    values = {"start": f"{plan.tau:.0%}", "end": f"{plan.end:.0%}"}
    if plan.tau > 0 and plan.end < 1:
        return say_html("It acts from {start} to {end} of the denoising.", **values)
    if plan.tau > 0:
        return say_html("It acts from {start} of the denoising on.", start=values["start"])
    if plan.end < 1:
        return say_html("It acts up to {end} of the denoising.", end=values["end"])
    return say_html("It acts from the first step on.")


def work(plan: SafetyPlan) -> float:
    """Model rows of a guarded call, as a multiple of an unguarded call's two."""
    pushed = plan.push and plan.pushed == PUSH_ALL
    rows = 1 if plan.strategy == AWAY or not pushed else 2
    if plan.streams == "independent":
        return (2 + rows + 1) / 2
    return (2 + rows / plan.refresh) / 2


def context_label(name: str) -> str:
    """A context's name for people."""
    if name in (AUTO, CUSTOM):
        return say("Auto") if name == AUTO else say("Custom")
    library = deciding.library()
    return spoken(library.get(name).label) if name in library else name


def enforced(policy: Policy) -> str:
    """What is enforced, as HTML: one sentence, and the limits behind "Details"."""
    limits = "".join(f"<li>{escape(spoken(line))}</li>" for line in policy.limits())
    return (
        f"<div class='safegen-enforced'><p>{escape(spoken(policy.headline()))}</p>"
        f"<details><summary>{escape(say('Details'))}</summary><ul>{limits}</ul></details></div>"
    )


def _mender(need: mending.Need) -> str:
    """The button that makes what is missing; `javascript/safegen_tab.js` presses it."""
    return (
        f"<p><button type='button' class='safegen-mend' data-safegen-mend='{need.name}'>"
        f"{escape(need.button)}</button></p>"
        "<div class='safegen-progress' role='status' hidden></div>"
    )


def details(text: str) -> str:
    """The technical part of a message, folded."""
    title, more = escape(say("Details")), escape(spoken(text))
    return f"<details><summary>{title}</summary><p>{more}</p></details>"


def _bad(text: str) -> str:
    return f"<p class='safegen-bad'>{escape(spoken(text))}</p>"
