"""Between the script's positional arguments, the API's named ones, and a `SafetyPlan`.

The arguments stand in the order of `SETTINGS`. New settings go to the end: a shorter list, as
an older client sends it, keeps the defaults of what it leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from safegen.contexts.context import SafetyContext
from safegen.errors import InvalidValue
from safegen.plan import SETTINGS, SafetyPlan
from safegen.webui.enforcement import Policy


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
        return {**values, "enabled": True, **named}
    if len(args) > len(SETTINGS):
        raise InvalidValue("args", f"{len(args)} values", f"up to {len(SETTINGS)}")
    for name, value in zip(SETTINGS, args, strict=False):
        if value is not None:  # a control that the host knows no value for
            values[name] = value
    return values


def plan_from(args: Sequence[Any], base: SafetyPlan, changes: Mapping[str, Any]) -> SafetyPlan:
    """The plan that a script's arguments describe, with an X/Y/Z axis's ``changes``.

    A script that is off has no say on its other values: whatever they are, the plan is valid.

    Raises:
        InvalidValue: Something is not allowed.
    """
    values = {**values_from(args, base), **changes}
    if SETTINGS["enabled"].check(values["enabled"]) is False:
        return SafetyPlan(enabled=False)
    if isinstance(values["context"], str):
        values["context"] = values["context"].strip().lower()
    return SafetyPlan.from_dict(values)


def suggested(
    context: SafetyContext, args: Sequence[Any], base: SafetyPlan, rules: Policy | None
) -> dict[str, float]:
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
        plan = plan_from(args, base, {**changes, "enabled": True})
        if rules is not None:
            plan, _ = rules.apply(plan)
    except InvalidValue:  # beside what else is set there; the summary says what is wrong
        return {}
    return {name: getattr(plan, name) for name in changes}
