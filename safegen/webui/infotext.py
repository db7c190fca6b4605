"""SafeGen in a picture's infotext: what is written, and how every control is read back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safegen.errors import InvalidValue
from safegen.plan import SETTINGS, SafetyPlan, Setting

DECIDED = "SafeGen"
"""What was decided about the picture. Where nothing had to be done, that is all."""
VERSION = "SafeGen version"
CHOSEN = "SafeGen chose"
HIRES_CHOSEN = "SafeGen hires chose"
ENFORCED = "SafeGen enforced"
SAW = "SafeGen saw"
NOTE = "SafeGen note"
"""What the comment under the picture says beyond the choice; the API sends no comments."""
FAILED = "SafeGen failed"
"""Why a picture is black."""

KEYS = (
    *(setting.infotext for setting in SETTINGS.values()),
    DECIDED,
    VERSION,
    CHOSEN,
    "SafeGen why",  # as earlier versions wrote it
    HIRES_CHOSEN,
    SAW,
    ENFORCED,
    NOTE,
    FAILED,
)
"""Every key of ours; all others belong to others. Any of them says that SafeGen was on."""


class PasteKey(str):
    """An infotext label that also reads its control's value out of a pasted infotext.

    The host treats a label as a name to look up and a callable as a function of all
    parameters. It needs both: the name for "Send to", the function to restore *off*, lists and
    numbers as what they are.
    """

    setting: Setting

    def __new__(cls, setting: Setting) -> PasteKey:
        key = super().__new__(cls, setting.infotext)
        key.setting = setting
        return key

    def __call__(self, params: Mapping[str, Any]) -> Any:
        """The control's value; ``None`` leaves it as it is."""
        if not any(key in params for key in KEYS):
            return False if self.setting.name == "enabled" else None
        value = self._read(params)
        return list(value) if isinstance(value, tuple) else value

    def _read(self, params: Mapping[str, Any]) -> Any:
        try:
            return getattr(SafetyPlan.from_infotext(params), self.setting.name)
        except InvalidValue:  # somewhere in it: what can be read is read
            text = params.get(self.setting.infotext)
        if text is None:
            return self.setting.default
        try:
            return self.setting.parse(str(text))
        except InvalidValue as error:
            print(f"SafeGen: pasted {error}")  # noqa: T201  the host's log
            return None


PASTE_KEYS: Mapping[str, PasteKey] = {name: PasteKey(setting) for name, setting in SETTINGS.items()}


def remove(params: dict[str, Any]) -> None:
    """Take our keys out of ``p.extra_generation_params``, which X/Y/Z cells share."""
    for key in KEYS:
        params.pop(key, None)


def differing(plan: SafetyPlan) -> dict[str, str]:
    """Keys and values that repeat ``plan``, without what `SafetyPlan.from_infotext` adds itself."""
    wanted = plan.to_dict()
    found = {name for name, one in SETTINGS.items() if getattr(plan, name) != one.default}
    try:
        back = SafetyPlan.from_infotext(_texts(plan, found)).to_dict()
    except InvalidValue:  # two of them belong together
        back = {}
    return _texts(plan, found | {name for name in wanted if back.get(name) != wanted[name]})


def _texts(plan: SafetyPlan, names: set[str]) -> dict[str, str]:
    keys = plan.to_infotext()
    texts = {name: SETTINGS[name].infotext for name in SETTINGS if name in names}
    return {key: keys[key] for key in texts.values() if key in keys}
