"""How one setting is named, limited, written and read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from safegen.errors import InvalidValue
from safegen.sentence import Told, told

_FRAGILE = re.compile(r"""^[\s"']|\s\Z|^\d+x\d+\Z""")
"""Texts that a host changes on the way through its infotext: it strips blanks, takes outer
quotes for its own, and splits 512x512 in two. They travel in single quotes."""


@dataclass(frozen=True)
class Setting:
    """How one field of `SafetyPlan` is named, limited and explained.

    Args:
        label: What a user reads beside the control, unique among all settings.
        help: One sentence of tooltip.
        infotext: Key in a picture's infotext.
        minimum, maximum, step: Range of a number, both ends allowed, and its slider's step.
        choices: The allowed words of a choice, or of each member of a list.
        advanced: Whether the control is hidden until asked for.
    """

    label: str
    help: str
    infotext: str
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    advanced: bool = True
    name: str = ""
    kind: type = str
    default: Any = None

    @property
    def allowed(self) -> str:
        """What is allowed, in words for an error message."""
        if self.kind is bool:
            return told("true or false")
        if self.kind is tuple:
            return told("a list of {names}, at least one", names=", ".join(self.choices))
        if self.choices:
            return ", ".join(self.choices)
        if self.kind is str:
            return told("a text")
        ends = {"least": f"{self.minimum:g}", "most": f"{self.maximum:g}"}
        if self.kind is int:
            return told("a whole number from {least} to {most}", **ends)
        return told("a number from {least} to {most}", **ends)

    def named(self, value: str) -> Told:
        """The label with a value, for people."""
        return told("{setting}: {value}", setting=told(self.label), value=told(value))

    def check(self, value: Any) -> Any:
        """Return ``value`` in this setting's own type, or raise `InvalidValue`."""
        refusal = InvalidValue(self.name, value, self.allowed)
        if self.kind is bool:
            if not isinstance(value, bool):
                raise refusal
            return value
        if self.kind is tuple:
            if isinstance(value, str) or not isinstance(value, (list, tuple)) or not value:
                raise refusal
            if any(member not in self.choices for member in value):
                raise refusal
            return tuple(dict.fromkeys(value))
        if self.kind is str:
            if not isinstance(value, str) or (self.choices and value not in self.choices):
                raise refusal
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise refusal
        assert self.minimum is not None
        assert self.maximum is not None
        if not self.minimum <= value <= self.maximum:  # nor is NaN
            raise refusal
        if self.kind is int and value != int(value):
            raise refusal
        return self.kind(value)

    def format(self, value: Any) -> str:
        """``value`` as infotext writes it; `parse` reads it back."""
        if self.kind is tuple:
            return "+".join(value)
        if self.kind is float:
            return repr(float(value)).removesuffix(".0")
        text = str(value)
        return f"'{text}'" if _FRAGILE.search(text) or text == self.infotext else text

    def parse(self, text: str) -> Any:
        """Read what `format` wrote, or what a person typed. Raises `InvalidValue`."""
        refusal = InvalidValue(self.name, text, self.allowed)
        stripped = text.strip()
        if self.kind is bool:
            if stripped.lower() not in ("true", "false"):
                raise refusal
            return stripped.lower() == "true"
        if self.kind is tuple:
            return self.check([part.strip() for part in stripped.split("+")])
        if self.kind is str:
            if self.choices:
                return self.check(stripped.lower())
            quoted = len(text) > 1 and text[0] == text[-1] == "'"
            return self.check(text[1:-1] if quoted else text)
        try:
            return self.check(float(stripped))
        except ValueError:
            raise refusal from None
