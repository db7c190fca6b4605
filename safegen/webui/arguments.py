"""From the arguments of SafeGen's script to a plan: of the page, the API, an axis, an infotext.

`resolve` is the only way from one to the other. The arguments stand in the order of `SETTINGS`.
New settings go to the end: a shorter list, as an older client sends it, keeps the defaults of
what it leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from safegen.contexts.context import SafetyContext
from safegen.errors import InvalidValue
from safegen.plan import SETTINGS, SafetyPlan
from safegen.webui.enforcement import Policy

AXIS = "_safegen_axis"
"""Attribute of a processing object: what X/Y/Z axes changed, setting to value."""
NO_CHANGES: Mapping[str, Any] = MappingProxyType({})
OFF = (False,)
"""Arguments that switch SafeGen off."""


@dataclass(frozen=True)
class Resolved:
    """What a run is made with.

    Args:
        plan: The settings, raised to ``policy``.
        policy: What is enforced, if anything.
        notes: In words, what the policy changed.
    """

    plan: SafetyPlan
    policy: Policy | None = None
    notes: tuple[str, ...] = ()


def script_of(p: Any) -> Any | None:
    """SafeGen's script among those of ``p``'s run, or ``None`` if it has no part in it."""
    for script in getattr(getattr(p, "scripts", None), "alwayson_scripts", None) or []:
        if getattr(script, "is_safegen", False) and script.args_to is not None:
            return script
    return None


def args_of(p: Any) -> Sequence[Any] | None:
    """What SafeGen's script is called with in ``p``'s run, or ``None`` if it has no part in it."""
    script = script_of(p)
    if script is None:
        return None
    args = getattr(p, "script_args", None) or []
    return list(args[script.args_from : script.args_to])


def values_from(args: Sequence[Any], base: SafetyPlan) -> dict[str, Any]:
    """Setting to value, from what a script is called with, completed from ``base``.

    ``args`` is either the controls' values in order, or one table of named values as the API
    takes it: ``[{"weight": 0.8, "context": "violence"}]``, which is enabled unless it says not.

    Raises:
        InvalidValue: An unknown name, too many values, or a value of the wrong type.
    """
    values = base.to_dict()
    if args and isinstance(args[0], Mapping):
        named = args[0]
        for name in named:
            if name not in SETTINGS:
                raise InvalidValue("setting", name, ", ".join(SETTINGS))
        return _with_own_mode(values, {"enabled": True, **named})
    if len(args) > len(SETTINGS):
        raise InvalidValue("args", f"{len(args)} values", f"up to {len(SETTINGS)}")
    given = zip(SETTINGS, args, strict=False)
    # None: a control that the host knows no value for
    return _with_own_mode(values, {name: value for name, value in given if value is not None})


def _with_own_mode(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with ``changes``; with another context and no mode, the context's own mode."""
    if changes.get("context", values["context"]) != values["context"]:
        changes = {"mode": "", **changes}
    return {**values, **changes}


def plan_from(
    args: Sequence[Any], base: SafetyPlan, changes: Mapping[str, Any] = NO_CHANGES
) -> SafetyPlan:
    """The plan that a script's arguments describe, with an X/Y/Z axis's ``changes``.

    A script that is off has no say on its other values: whatever they are, the plan is valid.

    Raises:
        InvalidValue: Something is not allowed.
    """
    values = _with_own_mode(values_from(args, base), changes)
    if SETTINGS["enabled"].check(values["enabled"]) is False:
        return SafetyPlan(enabled=False)
    if isinstance(values["context"], str):
        values["context"] = values["context"].strip().lower()
    return SafetyPlan.from_dict(values)


def resolve(
    args: Sequence[Any],
    base: SafetyPlan,
    policy: Policy | None,
    changes: Mapping[str, Any] = NO_CHANGES,
) -> Resolved:
    """The plan that a run is made with.

    Args:
        args: See `values_from`.
        base: The defaults. They also apply where the policy switches on what was off.
        policy: What is enforced, if anything.
        changes: What X/Y/Z axes changed, setting to value.

    Raises:
        InvalidValue: Something is not allowed.
    """
    plan = plan_from(args, base, changes)
    if policy is None:
        return Resolved(plan)
    raised, notes = policy.apply(plan if plan.enabled else base)
    return Resolved(raised, policy, notes)


def suggested(
    context: SafetyContext, args: Sequence[Any], base: SafetyPlan, rules: Policy | None
) -> dict[str, Any]:
    """What the dials become when ``context`` is chosen by hand: setting to value.

    Only settings that the context has a suggestion for; never below what is enforced, and
    never a threshold at or behind the end of the guarded span.

    Args:
        context: What was chosen.
        args: The controls' values as they stand.
        base: The defaults.
        rules: What is enforced, if anything.
    """
    wanted = {"weight": context.weight, "tau": context.tau}
    changes = {name: value for name, value in wanted.items() if value is not None}
    if not changes:
        return {}
    try:
        plan = resolve(args, base, rules, {**changes, "enabled": True}).plan
    except InvalidValue:  # beside what else is set there; the summary says what is wrong
        return {}
    return {name: getattr(plan, name) for name in changes}
