"""What a picture's infotext and the comment under it say about a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from safegen import __version__
from safegen.method.schedule import FEW
from safegen.plan import SETTINGS, SafetyPlan
from safegen.sentence import told
from safegen.webui import host, infotext, settings
from safegen.webui.batch import Batch
from safegen.webui.enforcement import Policy
from safegen.webui.errors import message
from safegen.webui.record import Picture, Record
from safegen.webui.words import say, spoken

SOFT = told(
    "this sampler adds noise at every step, which the safe stream lacks when streams are "
    "independent: expect a softer picture, or choose shared streams"
)


FROM_THE_FIRST = told(
    "in up to {n} steps the guard acts in full from the first on, whatever the threshold and the "
    "curve",
    n=FEW,
)


_NOISY = ("a", "sde", "lcm", "restart", "fast", "adaptive")
"""Last words that tell samplers which add noise while sampling."""


def _adds_noise(p: Any) -> bool:
    """Whether the pass's sampler adds noise while sampling, judged by its name."""
    words = str(p.sampler_name).lower().split()
    return any(word in _NOISY for word in words)


def write_infotext(p: Any, plan: SafetyPlan, policy: Policy | None, record: Record) -> None:
    """What repeats each picture and what was decided about it; only that if it came to nothing.

    The host asks for it when it has made the picture, and once before it samples, for what its
    *Read generation parameters* brings back: the settings stand there whatever will be decided.
    """
    params = p.extra_generation_params
    infotext.remove(params)
    if not plan.active:
        params[SETTINGS["weight"].infotext] = SETTINGS["weight"].format(plan.weight)
        return

    def of_picture(
        read: Callable[[Picture], str], *, always: bool = False, first: str | None = None
    ) -> Any:
        def value(
            p: Any = None, index: int = 0, use_main_prompt: bool = False, **given: Any
        ) -> str | None:
            if not record.pictures:  # nothing is decided yet
                return first
            number = 0 if use_main_prompt else _number(p, index, given.get("all_prompts"))
            picture = record.pictures.get(number)
            if picture is None or not (always or _came_to_something(picture)):
                return None
            return read(picture) or None

        return value

    params[infotext.DECIDED] = of_picture(lambda picture: picture.why, always=True)
    params[infotext.CHOSEN] = of_picture(
        lambda picture: "" if picture.context == plan.context else picture.context or "none"
    )
    if getattr(p, "enable_hr", False):
        params[infotext.HIRES_CHOSEN] = of_picture(lambda picture: picture.hires)
    fixed = {**infotext.differing(plan), infotext.VERSION: __version__}
    if policy is not None:
        fixed[infotext.ENFORCED] = policy.name
    for key, text in fixed.items():
        params[key] = of_picture(lambda _, text=text: text, first=text)  # type: ignore[misc]
    if plan.evidence:
        params[infotext.SAW] = of_picture(lambda picture: picture.evidence)
    params[infotext.NOTE] = of_picture(lambda _: "; ".join(dict.fromkeys(record.notes)))
    params[infotext.FAILED] = of_picture(lambda picture: picture.failure)


def _came_to_something(picture: Picture) -> bool:
    return bool(picture.context or picture.failure or (picture.hires and picture.hires != "none"))


def _number(p: Any, index: int, prompts: Any) -> int:
    """Which picture of the run is meant: the host counts within the batch whose prompts it
    hands over, or through all of them."""
    if p is None or prompts is None or len(prompts) >= len(p.all_prompts):
        return index
    return int(p.iteration * p.batch_size + index)


def comment(batch: Batch) -> None:
    """Say under the picture what was done about ``batch``, and what there is to know."""
    p, record = batch.p, batch.record
    if batch.guarding and batch.plan.streams == "independent" and _adds_noise(p):
        record.notes.append(SOFT)
    if any(guard.session.plan != batch.plan for guard in batch.guards):
        record.notes.append(FROM_THE_FIRST)
    if not host.option(settings.COMMENT, True):
        return
    lines = []
    for choices in batch.choices.values():
        for choice in choices:
            lines.append(choice.why)
            safe = choice.conditioning
            if safe is not None and safe.text != choice.verdict.prompt:
                lines.append(say("The safe version was made from: {text}", text=safe.text))
    lines += [line for guard in batch.guards for line in guard.evidence() if line]
    if batch.policy is not None:
        lines.append(say("Enforced here (level {name}).", name=batch.policy.name))
    for line in dict.fromkeys([*lines, *record.notes]):
        p.comment(message(spoken(line)))
