"""Enforcement: the values below which nobody can go, and how a plan is raised to them.

A policy comes from ``--safegen-enforce LEVEL`` or from the settings page; if both name one, the
plan has to satisfy both. LEVEL is a name in `LEVELS` or the path of a JSON file with the fields
of `Policy`, such as ``{"minimum": {"weight": 0.8}, "required": ["violence"]}``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safegen.errors import InvalidValue, SafeGenError
from safegen.plan import AUTO, CUSTOM, SETTINGS, SafetyPlan
from safegen.webui.resources import allowed_from

ALL = "all"
OFF = "off"


class PolicyError(SafeGenError):
    """A policy that cannot be read; generation is refused until it can."""


@dataclass(frozen=True)
class Policy:
    """What an operator insists on. SafeGen can't be switched off under any policy.

    Args:
        name: For messages.
        minimum: Number setting to its floor.
        maximum: Number setting to its ceiling.
        fixed: Setting to the only value it may have.
        required: Contexts that apply whenever Auto finds their category in a prompt, whatever
            context was asked for; ``("all",)`` means every one.
        allowed: Lists of files that pictures may be made with; all must be satisfied. See
            `resources`.
        users: What goes for single users in place of all the rest, by their name.
    """

    name: str
    minimum: Mapping[str, float] = field(default_factory=dict)
    maximum: Mapping[str, float] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = (ALL,)
    allowed: tuple[Mapping[str, tuple[str, ...]], ...] = ()
    users: Mapping[str, Policy] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for table in (self.minimum, self.maximum, self.fixed):
            for name, value in table.items():
                if name not in SETTINGS or name == "enabled":
                    raise InvalidValue("policy setting", name, ", ".join([*SETTINGS][1:]))
                SETTINGS[name].check(tuple(value) if isinstance(value, list) else value)
        for name in (*self.minimum, *self.maximum):
            if SETTINGS[name].minimum is None:
                raise InvalidValue("policy setting", name, "a setting that is a number")
        # A policy whose own limits leave no plan must be found at the start, not at a picture.
        self.apply(SafetyPlan())

    def requires(self, context: str) -> bool:
        """Whether ``context`` can't be left out where Auto finds it."""
        return ALL in self.required or context in self.required

    def of_user(self, name: str | None) -> Policy:
        """What goes for the user of this name, or for whoever has none."""
        return self if name is None else self.users.get(name, self)

    def floor(self, name: str) -> float:
        """The least value that number setting ``name`` may have; 0 if none is named."""
        return float(self.fixed.get(name, self.minimum.get(name, 0.0)))

    def apply(self, plan: SafetyPlan) -> tuple[SafetyPlan, tuple[str, ...]]:
        """``plan`` raised to this policy, and in words what was changed."""
        changes: dict[str, Any] = {}
        if not plan.enabled:
            changes["enabled"] = True
        for name, floor in self.minimum.items():
            if getattr(plan, name) < floor:
                changes[name] = SETTINGS[name].kind(floor)
        for name, ceiling in self.maximum.items():
            if getattr(plan, name) > ceiling:
                changes[name] = SETTINGS[name].kind(ceiling)
        for name, value in self.fixed.items():
            wanted = tuple(value) if isinstance(value, list) else value
            if getattr(plan, name) != wanted:
                changes[name] = wanted
        if plan.context == CUSTOM and "context" not in changes:
            # A text that anybody may write is no protection.
            changes["context"] = AUTO
            changes.update(safe_text="", unsafe_text="")
        if not changes:
            return plan, ()
        notes = tuple(
            f"{name} {SETTINGS[name].format(getattr(plan, name))} became "
            f"{SETTINGS[name].format(value)}"
            for name, value in changes.items()
            if not name.endswith("_text")
        )
        return plan.replace(**changes), notes

    def explain(self) -> str:
        """One sentence for the user."""
        limits = [f"{name} at least {value:g}" for name, value in self.minimum.items()]
        limits += [f"{name} at most {value:g}" for name, value in self.maximum.items()]
        limits += [
            f"{name} {SETTINGS[name].format(tuple(v) if isinstance(v, list) else v)}"
            for name, v in self.fixed.items()
        ]
        contexts = "every context" if ALL in self.required else ", ".join(self.required)
        return (
            f"The operator of this server enforces SafeGen (level {self.name}): it can't be "
            f"switched off; {'; '.join(limits) or 'no limits'}; where the prompt calls for it, "
            f"applies: {contexts}."
        )


_WHOLE = {
    "end": 1.0,
    "curve": "constant",
    "dial": "conditioning",
    "hires": True,
    "detectors": ("lexicon", "ngram"),
}
LEVELS: Mapping[str, Policy] = {
    "basic": Policy(
        "basic",
        minimum={"weight": 0.7, "push": 1.0},
        maximum={"tau": 0.1, "threshold": 0.6, "refresh": 2},
        fixed=_WHOLE,
    ),
    "strict": Policy(
        "strict",
        minimum={"weight": 1.0, "push": 2.0},
        maximum={"tau": 0.0, "threshold": 0.5, "refresh": 1},
        fixed={**_WHOLE, "strategy": "counterpart"},
    ),
}
"""The levels that need no file. Our choice of values, after measurements on the embedded model."""


def load(level: str | None) -> Policy | None:
    """The policy that ``level`` names; ``None`` for no enforcement.

    Raises:
        PolicyError: It names none, or its file can't be used. The caller refuses to generate.
    """
    if level is None or not level.strip() or level.strip().lower() == OFF:
        return None
    name = level.strip()
    if name.lower() in LEVELS:
        return LEVELS[name.lower()]
    file = Path(name)
    if file.suffix.lower() != ".json":
        raise PolicyError(
            f"enforcement level {name!r} is not allowed; allowed: {OFF}, {', '.join(LEVELS)}, "
            "or the path of a .json file"
        )
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise InvalidValue("policy", data, "a table")
        users = data.pop("users", {})
        if not isinstance(users, dict):
            raise InvalidValue("policy users", users, "a table: name to policy")
        own = {user: _policy(f"{file.stem}, {user}", table) for user, table in users.items()}
        return replace(_policy(file.stem, data), users=own)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise PolicyError(f"enforcement policy {file}: {error}") from error


def _policy(name: str, data: Any) -> Policy:
    """The policy that a table of a file describes."""
    if not isinstance(data, dict):
        raise InvalidValue("policy", data, "a table")
    unknown = set(data) - {"minimum", "maximum", "fixed", "required", "allowed"}
    if unknown:
        entries = "minimum, maximum, fixed, required, allowed, and users at the top"
        raise InvalidValue("policy", sorted(unknown)[0], entries)
    required = data.get("required", [ALL])
    if not isinstance(required, list) or not all(isinstance(r, str) for r in required):
        raise InvalidValue("policy required", required, "a list of context names, or all")
    limits = {table: data.get(table, {}) for table in ("minimum", "maximum", "fixed")}
    allowed = allowed_from(data.get("allowed", {}))
    return Policy(name, required=tuple(required), allowed=(allowed,) if allowed else (), **limits)


def strongest(policies: list[Policy]) -> Policy | None:
    """One policy that satisfies all of ``policies``; ``None`` for an empty list."""
    if not policies:
        return None
    if len(policies) == 1 or policies[0] == policies[1]:
        return policies[0]
    minimum: dict[str, float] = {}
    maximum: dict[str, float] = {}
    fixed: dict[str, Any] = {}
    for policy in policies:
        for name, value in policy.minimum.items():
            minimum[name] = max(minimum.get(name, value), value)
        for name, value in policy.maximum.items():
            maximum[name] = min(maximum.get(name, value), value)
        for name, value in policy.fixed.items():
            fixed.setdefault(name, value)  # the command line comes first and prevails
    required = tuple(dict.fromkeys(r for policy in policies for r in policy.required))
    name = " and ".join(policy.name for policy in policies)
    allowed = tuple(one for policy in policies for one in policy.allowed)
    return Policy(name, minimum, maximum, fixed, required, allowed)
