"""Enforcement: the values below which nobody can go, and how a plan is raised to them.

A policy comes from ``--safegen-enforce LEVEL`` or from the settings page; if both name one, the
plan has to satisfy both. LEVEL is a name in `LEVELS` or the path of a JSON file with the fields
of `Policy`, such as ``{"minimum": {"weight": 0.8}, "required": ["violence"]}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from safegen.errors import InvalidValue
from safegen.plan import AUTO, CUSTOM, SETTINGS, SafetyPlan
from safegen.sentence import joined, told
from safegen.webui.errors import Blocked, plainly
from safegen.webui.resources import allowed_from

ALL = "all"
OFF = "off"


STAYS_ON = told("SafeGen stays on: it is enforced here")


class PolicyError(Blocked):
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
                    raise _no_such("policy setting", name, [*SETTINGS][1:])
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
        notes = [STAYS_ON] if "enabled" in changes else []
        notes += [
            told(
                "{setting}: {before} became {after}",
                setting=told(SETTINGS[name].label),
                before=SETTINGS[name].format(getattr(plan, name)),
                after=SETTINGS[name].format(value),
            )
            for name, value in changes.items()
            if name != "enabled" and not name.endswith("_text")
        ]
        return plan.replace(**changes), tuple(notes)

    def headline(self) -> str:
        """In one sentence, that it is enforced."""
        return told(
            "SafeGen is enforced here and can't be switched off (level {name}).", name=self.name
        )

    def limits(self) -> list[str]:
        """What is limited, a line each."""
        label = {name: told(setting.label) for name, setting in SETTINGS.items()}
        only = {  # a floor or a ceiling at the end of the range leaves one value
            **{n: v for n, v in self.minimum.items() if v == SETTINGS[n].maximum},
            **{n: v for n, v in self.maximum.items() if v == SETTINGS[n].minimum},
            **self.fixed,
        }
        found: list[str] = [
            told("{setting}: at least {value}", setting=label[name], value=f"{value:g}")
            for name, value in self.minimum.items()
            if name not in only
        ]
        found += [
            told("{setting}: at most {value}", setting=label[name], value=f"{value:g}")
            for name, value in self.maximum.items()
            if name not in only
        ]
        found += [
            told("{setting}: always {value}", setting=label[name], value=_text(name, value))
            for name, value in only.items()
        ]
        if ALL in self.required:
            found.append(told("Any context that Auto finds in a prompt applies."))
        elif self.required:
            names = ", ".join(self.required)
            found.append(told("Where Auto finds them, these contexts apply: {names}", names=names))
        return found

    def explain(self) -> str:
        """The headline and the limits in one text."""
        return f"{self.headline()} {'; '.join(self.limits())}"


def _text(name: str, value: Any) -> str:
    """A setting's value for people."""
    if isinstance(value, bool):
        return told("on") if value else told("off")
    if isinstance(value, list | tuple):
        return ", ".join(value)
    return SETTINGS[name].format(value)


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
        # A share of the prompt that is left grows with emphasis, and with the CFG scale beside a
        # negative prompt that is the safe text.
        minimum={"weight": 1.0, "push": 2.0},
        maximum={"tau": 0.0, "threshold": 0.5, "refresh": 1},
        fixed={**_WHOLE, "strategy": "counterpart"},
    ),
}
"""The levels that need no file. Our choice of values, after measurements on the embedded model."""


def is_off(level: str | None) -> bool:
    """Whether ``level`` enforces nothing."""
    return level is None or level.strip().lower() in ("", OFF)


def load(level: str | None) -> Policy | None:
    """The policy that ``level`` names; ``None`` for no enforcement.

    Raises:
        PolicyError: It names none, or its file can't be used. The caller refuses to generate.
    """
    if level is None or is_off(level):
        return None
    name = level.strip()
    if name.lower() in LEVELS:
        return LEVELS[name.lower()]
    file = Path(name)
    if file.suffix.lower() != ".json":
        names = [OFF, *LEVELS]
        known = told("Allowed: {names}, or the path of a .json file.", names=", ".join(names))
        unknown = told("There is no enforcement level {name}.", name=repr(name))
        raise PolicyError(joined(" ", (unknown, _meant(name.lower(), names) or known)))
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise InvalidValue("policy", data, "a table")
        users = data.pop("users", {})
        if not isinstance(users, dict):
            raise InvalidValue("policy users", users, "a table: name to policy")
        own = {user: _policy(f"{file.stem}, {user}", table) for user, table in users.items()}
        return replace(_policy(file.stem, data), users=own)
    except OSError as error:
        raise _unusable(file, told("it can't be read ({error}).", error=error.strerror)) from error
    except json.JSONDecodeError as error:
        raise _unusable(file, told("it is not written as JSON ({error}).", error=error)) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise _unusable(file, plainly(error)) from error


def _unusable(file: Path, why: str) -> PolicyError:
    return PolicyError(
        told("The policy {name} can't be used: {reason}", name=file.name, reason=why)
    )


def _no_such(what: str, name: str, known: Iterable[str]) -> InvalidValue:
    """The error for an unknown ``name`` in a policy."""
    names = list(known)
    known = ", ".join(names)
    hint = _meant(str(name), names) or told("Allowed: {names}.", names=known)
    plain = joined(" ", (told("{name} is unknown.", name=repr(name)), hint))
    return InvalidValue(what, name, known, plain=plain)


def _meant(name: str, known: list[str]) -> str:
    """Which of ``known`` was meant, as a question; empty if none is like ``name``."""
    found = get_close_matches(name, known, 1)
    return told("Did you mean {name}?", name=found[0]) if found else ""


_ENTRIES = ("minimum", "maximum", "fixed", "required", "allowed", "users")


def _policy(name: str, data: Any) -> Policy:
    """The policy that a table of a file describes."""
    if not isinstance(data, dict):
        raise InvalidValue("policy", data, "a table")
    for entry in data:
        if entry not in _ENTRIES or entry == "users":  # they have been taken out at the top
            raise _no_such("policy entry", entry, _ENTRIES)
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
