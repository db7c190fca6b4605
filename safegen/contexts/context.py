"""What a safety context is: the text that describes safety, and the words it replaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from safegen.errors import InvalidValue
from safegen.plan import SETTINGS

SCHEMA_VERSION = 1


class FrozenDict(dict[str, str]):
    """A table that cannot be changed: hashable, and copied by everything that copies a dict.

    ``types.MappingProxyType`` would do but for ``copy.deepcopy`` and ``dataclasses.asdict``,
    which cannot copy it.
    """

    def _refuse(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise TypeError("this table cannot be changed; make a copy: dict(table)")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __copy__(self) -> FrozenDict:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> FrozenDict:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)


@dataclass(frozen=True)
class SafetyContext:
    """One kind of harm and what to show instead.

    Args:
        name: Unique key, lower case words joined by ``-``, such as ``self-harm``.
        label: What the user reads in a list.
        category: The detector category that triggers it; ``""`` for one only chosen by hand.
        description: One sentence a user understands.
        safe_text: Positive description of what the picture should be like.
        unsafe_text: What it should move away from; used by learned directions and peers.
        neutral: Risky word or phrase to its neutral replacement, ``""`` to drop it. The keys
            are kept in lower case, with single blanks.
        fallback: Replacement of a risky span that ``neutral`` does not list.
        weight: Suggested weight, or ``None`` for the plan's. Choosing the context by hand sets
            the dial to it; a request or an infotext that names a weight is not changed.
        tau: The same for the global-context threshold.

    Raises `InvalidValue` naming the field, the value and what is allowed.
    """

    name: str
    label: str
    category: str
    description: str
    safe_text: str
    unsafe_text: str
    neutral: Mapping[str, str] = field(default_factory=dict)
    fallback: str = ""
    weight: float | None = None
    tau: float | None = None

    def __post_init__(self) -> None:
        for name in ("name", "label", "safe_text"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise InvalidValue(f"context {name}", value, "a text that is not empty")
        for name in ("weight", "tau"):
            value = getattr(self, name)
            setting = SETTINGS[name]
            try:
                if value is not None:
                    setting.check(value)
            except InvalidValue:
                allowed = f"{setting.minimum:g} to {setting.maximum:g}, or nothing"
                raise InvalidValue(f"context {name}", value, allowed) from None
        lowered = {" ".join(key.lower().split()): text for key, text in self.neutral.items()}
        object.__setattr__(self, "neutral", FrozenDict(lowered))
