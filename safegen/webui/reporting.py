"""What a picture's infotext and the comment under it say about a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from safegen.method.schedule import FEW
from safegen.plan import SafetyPlan
from safegen.webui import host, infotext, settings
from safegen.webui.batch import Batch
from safegen.webui.enforcement import Policy
from safegen.webui.errors import message
from safegen.webui.record import Picture, Record

SOFT = (
    "this sampler adds noise of its own at every step, which independent streams leave out of "
    "the safe stream: expect a softer picture, or use shared"
)


FROM_THE_FIRST = (
    f"in up to {FEW} steps the guard acts in full from the first on, whatever the threshold and "
    "the curve"
)


_NOISY = ("a", "sde", "lcm", "restart", "fast", "adaptive")
"""Last words that tell samplers which add noise while sampling."""


def _adds_noise(p: Any) -> bool:
    """Whether the pass's sampler adds noise while sampling, judged by its name."""
    words = str(p.sampler_name).lower().split()
    return any(word in _NOISY for word in words)


def write_infotext(p: Any, plan: SafetyPlan, policy: Policy | None, record: Record) -> None:
    """The plan into the infotext, and for each picture what its entry in the record says.

    The host asks for the latter when it has made the picture.
    """
    params = p.extra_generation_params
    infotext.write(params, plan)

    def of_picture(read: Callable[[Picture], str]) -> Callable[..., str | None]:
        def value(
            p: Any = None, index: int = 0, use_main_prompt: bool = False, **given: Any
        ) -> str | None:
            number = 0 if use_main_prompt else _number(p, index, given.get("all_prompts"))
            picture = record.pictures.get(number)
            return None if picture is None else read(picture) or None

        return value

    def note(**_: Any) -> str | None:
        return "; ".join(dict.fromkeys(record.notes)) or None

    params[infotext.CHOSEN] = of_picture(
        lambda picture: picture.context or ("none" if picture.why else "")
    )
    params[infotext.WHY] = of_picture(lambda picture: picture.why)
    if plan.evidence:
        params[infotext.SAW] = of_picture(lambda picture: picture.evidence)
    params[infotext.NOTE] = note
    params[infotext.FAILED] = of_picture(lambda picture: picture.failure)
    if getattr(p, "enable_hr", False):
        params[infotext.HIRES_CHOSEN] = of_picture(lambda picture: picture.hires)
    if policy is not None:
        params[infotext.ENFORCED] = policy.name


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
                lines.append(f"the safe stream saw: {safe.text}")
    lines += [line for guard in batch.guards for line in guard.evidence() if line]
    if batch.policy is not None:
        lines.append(batch.policy.explain())
    for line in dict.fromkeys([*lines, *record.notes]):
        p.comment(message(line))
