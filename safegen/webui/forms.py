"""A context as the page's form shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from safegen.contexts.context import SafetyContext
from safegen.contexts.library import clean_name
from safegen.errors import InvalidValue
from safegen.plan import SETTINGS
from safegen.sentence import told

ARROW = "=>"
"""Between a risky word and its replacement, one pair a line."""


@dataclass(frozen=True)
class Form:
    """A context as the page's text fields show it.

    Args:
        neutral: One ``risky => neutral`` a line; nothing behind the arrow drops the word.
        weight, tau: A number, or empty for the plan's own.
    """

    name: str = ""
    label: str = ""
    category: str = ""
    description: str = ""
    safe_text: str = ""
    unsafe_text: str = ""
    neutral: str = ""
    fallback: str = ""
    weight: str = ""
    tau: str = ""

    @classmethod
    def of(cls, context: SafetyContext) -> Form:
        """The form that shows ``context``."""
        lines = (
            f"{word} {ARROW} {text}".rstrip() for word, text in sorted(context.neutral.items())
        )
        return cls(
            name=context.name,
            label=context.label,
            category=context.category,
            description=context.description,
            safe_text=context.safe_text,
            unsafe_text=context.unsafe_text,
            neutral="\n".join(lines),
            fallback=context.fallback,
            weight="" if context.weight is None else f"{context.weight:g}",
            tau="" if context.tau is None else f"{context.tau:g}",
        )

    @classmethod
    def from_data(cls, data: Any) -> Form:
        """The form that the page sends.

        Raises:
            InvalidValue: It is no table of texts, or has other fields.
        """
        known = {one.name for one in fields(cls)}
        if (
            not isinstance(data, dict)
            or not known.issuperset(data)
            or not all(isinstance(text, str) for text in data.values())
        ):
            raise InvalidValue("form", data, f"a table of texts: {', '.join(sorted(known))}")
        return cls(**data)

    def values(self) -> tuple[str, ...]:
        """The fields' values, in order."""
        return tuple(getattr(self, one.name) for one in fields(self))

    def to_context(self, saved: SafetyContext | None = None) -> SafetyContext:
        """The context that the form describes.

        Without a name its label gives one. What the form shows as in ``saved`` stays exactly as
        it is there: a form rounds numbers, and knows no replacement of several lines.

        Raises:
            InvalidValue: Names the field, what is in it and what is allowed.
        """
        shown = None if saved is None else Form.of(saved)

        def read(name: str, parse: Callable[[str], Any]) -> Any:
            text = getattr(self, name)
            same = shown is not None and text == getattr(shown, name)
            return getattr(saved, name) if same else parse(text)

        neutral = read("neutral", _replacements)
        weight = read("weight", partial(_number, "weight"))
        tau = read("tau", partial(_number, "tau"))
        for field, text in (("Label", self.label), ("Safe text", self.safe_text)):
            if not text.strip():
                plain = told("Fill in {field}.", field=told(field))
                raise InvalidValue(field, text, "a text that is not empty", plain=plain)
        return SafetyContext(
            name=clean_name(self.name.strip() or self.label),
            label=self.label.strip(),
            category=self.category.strip(),
            description=self.description.strip(),
            safe_text=self.safe_text.strip(),
            unsafe_text=self.unsafe_text.strip(),
            neutral=neutral,
            fallback=self.fallback.strip(),
            weight=weight,
            tau=tau,
        )


def suggestion_label(name: str) -> str:
    """What the form calls a context's own value of a setting."""
    label = SETTINGS[name].label
    return f"Suggested {label[:1].lower()}{label[1:]}"


def _number(name: str, text: str) -> float | None:
    if not text.strip():
        return None
    setting = SETTINGS[name]
    try:
        return float(setting.check(float(text.strip().replace(",", "."))))
    except ValueError:
        allowed = told(
            "a number from {least} to {most}, or nothing",
            least=f"{setting.minimum:g}",
            most=f"{setting.maximum:g}",
        )
        raise InvalidValue(suggestion_label(name), text, allowed) from None


def _replacements(text: str) -> dict[str, str]:
    """The table that ``text`` lists."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        word, arrow, other = line.partition(ARROW)
        key = " ".join(word.lower().split())
        allowed = told("a word or phrase, {arrow} and its replacement, on each line", arrow=ARROW)
        if not arrow or not key:
            raise InvalidValue(told("Replacements, line {n}", n=number), line.strip(), allowed)
        if key in found:
            raise InvalidValue(
                told("Replacements, line {n}", n=number), key, told("each word or phrase once")
            )
        found[key] = " ".join(other.split())
    return found
