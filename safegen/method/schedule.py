"""How strongly the safe stream counts at each moment of sampling: w(p)."""

from __future__ import annotations

import math

from safegen.errors import InvalidValue
from safegen.plan import SETTINGS, SafetyPlan
from safegen.sentence import told


def curve_at(curve: str, share: float) -> float:
    """The curve's height, 0 to 1, at ``share`` (0 to 1) of the guarded span.

    ``constant`` is 1; ``linear`` and ``cosine`` rise from 0 to 1.
    """
    if curve == "constant":
        return 1.0
    if curve == "linear":
        return share
    if curve == "cosine":
        return 0.5 - 0.5 * math.cos(math.pi * share)
    raise InvalidValue("curve", curve, "constant, linear, cosine")


def weight_at(plan: SafetyPlan, progress: float) -> float:
    """The blend weight w(p), 0 to 1, at sampling progress ``progress`` in [0, 1].

    Progress is read off the noise that is left (`noise_level.progress_at`).

    w(p) = 0 for p < tau or p >= end (an end of 1 includes the last call), else
    weight * curve((p - tau) / (end - tau)). The formula is ours, after the idea of
    arXiv 2411.13982.
    """
    if not 0.0 <= progress <= 1.0:
        raise InvalidValue("progress", progress, "a number from 0 to 1")
    if not plan.active or progress < plan.tau:
        return 0.0
    if progress >= plan.end and plan.end < 1.0:
        return 0.0
    share = (progress - plan.tau) / (plan.end - plan.tau)
    return plan.weight * curve_at(plan.curve, min(share, 1.0))


FEW = 8
"""Steps up to which no call is free: each of so few decides too much of the picture."""


def within(plan: SafetyPlan, calls: int, steps: int | None = None) -> SafetyPlan:
    """``plan`` as it counts in a run of ``calls`` denoiser calls, and of ``steps`` steps.

    In up to `FEW` steps the guard acts from the first call on, in full: tau counts as 0 and the
    curve as constant.

    Raises:
        InvalidValue: It would blend none of the calls, or its tau comes after the last of them.
    """
    few = (calls if steps is None else steps) <= FEW
    if not few or calls > 1:
        check_reach(plan, calls)
    if not few or not plan.active:
        return plan
    counts = plan.replace(tau=0.0, curve="constant")
    check_reach(counts, calls)
    return counts


def check_reach(plan: SafetyPlan, calls: int) -> None:
    """Refuse a plan that would blend none of ``calls`` denoiser calls, evenly spread in noise.

    Raises:
        InvalidValue: Names tau, or end where that is what leaves nothing.
    """
    if not plan.active or any(weight_at(plan, i / calls) > 0 for i in range(calls)):
        return
    last = (calls - 1) / calls
    steps = told("1 step") if calls == 1 else told("{n} steps", n=calls)
    if plan.tau > last:
        raise InvalidValue(
            "tau",
            plan.tau,
            f"up to {last:.3g} with {calls} steps, or nothing would be guarded",
            plain=told(
                "With {steps} nothing would be guarded. Use more steps, or set {tau} to at most "
                "{value}.",
                steps=steps,
                tau=told(SETTINGS["tau"].label),
                value=f"{math.floor(100 * last) / 100:g}",
            ),
        )
    raise InvalidValue(
        "end",
        plan.end,
        f"later, with {calls} steps from tau {plan.tau:g} on, or nothing would be guarded",
        plain=told(
            "With {steps} nothing would be guarded. Use more steps, or raise {end}.",
            steps=steps,
            end=told(SETTINGS["end"].label),
        ),
    )


def check_start(plan: SafetyPlan, progress: float) -> None:
    """Refuse a plan that has ended where a run begins, as one from a picture may.

    Args:
        progress: Of the run's first denoiser call.

    Raises:
        InvalidValue: Names end.
    """
    if plan.active and plan.end < 1.0 and progress >= plan.end:
        raise InvalidValue(
            "end",
            plan.end,
            f"above {progress:.3g}, where this run begins, or nothing would be guarded",
            plain=told(
                "This picture begins at {start} of the denoising, where nothing would be guarded "
                "any more. Raise {end}, or the denoising strength.",
                start=f"{progress:.0%}",
                end=told(SETTINGS["end"].label),
            ),
        )
