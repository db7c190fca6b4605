"""SafeGen in a picture's infotext: what is written, and how every control is read back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safegen import __version__
from safegen.errors import InvalidValue
from safegen.plan import SETTINGS, SafetyPlan, Setting

VERSION = "SafeGen version"
CHOSEN = "SafeGen chose"
WHY = "SafeGen why"
HIRES_CHOSEN = "SafeGen hires chose"
ENFORCED = "SafeGen enforced"
SAW = "SafeGen saw"
NOTE = "SafeGen note"
"""What the comment under the picture says beyond the choice; the API sends no comments."""
FAILED = "SafeGen failed"
"""Why a picture is black."""
PRESENT = SETTINGS["enabled"].infotext
"""The key whose presence says that SafeGen was on."""

KEYS = (
    *(setting.infotext for setting in SETTINGS.values()),
    VERSION,
    CHOSEN,
    WHY,
    HIRES_CHOSEN,
    SAW,
    ENFORCED,
    NOTE,
    FAILED,
)
"""Every key of ours; all others belong to others."""


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
        if PRESENT not in params:
            return False if self.setting.name == "enabled" else None
        text = params.get(self.setting.infotext)
        if text is None:  # texts are left out when empty, and older versions know fewer settings
            value = self.setting.default
        else:
            try:
                value = self.setting.parse(str(text))
            except InvalidValue as error:
                print(f"SafeGen: pasted {error}")  # noqa: T201  the host's log
                return None
        return list(value) if isinstance(value, tuple) else value


PASTE_KEYS: Mapping[str, PasteKey] = {name: PasteKey(setting) for name, setting in SETTINGS.items()}


def remove(params: dict[str, Any]) -> None:
    """Take our keys out of ``p.extra_generation_params``, which X/Y/Z cells share."""
    for key in KEYS:
        params.pop(key, None)


def write(params: dict[str, Any], plan: SafetyPlan) -> None:
    """Put what repeats the picture into ``p.extra_generation_params``."""
    remove(params)
    params.update(plan.to_infotext())
    params[VERSION] = __version__
