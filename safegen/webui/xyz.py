"""X/Y/Z plot axes, made from `SETTINGS`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from safegen.errors import InvalidValue
from safegen.plan import SETTINGS, Setting
from safegen.webui import host
from safegen.webui.arguments import AXIS
from safegen.webui.errors import for_caller

PREFIX = "[SafeGen] "
AXES = (
    "weight",
    "tau",
    "context",
    "strategy",
    "streams",
    "curve",
    "end",
    "strength",
    "region",
    "refresh",
    "threshold",
    "enabled",
)


def find_module() -> Any:
    """The host's xyz_grid module, wherever its loader put it, or ``None``."""
    for data in host.scripts_data():
        if data.script_class.__module__ in ("xyz_grid.py", "scripts.xyz_grid"):
            return data.module
    return sys.modules.get("scripts.xyz_grid")


def apply(setting: Setting) -> Callable[[Any, Any, Any], None]:
    """What an axis does to a cell's processing object, which is a shallow copy."""

    def fun(p: Any, x: Any, _xs: Any) -> None:
        value = setting.parse(str(x))
        # A new table: cells share what they were copied with.
        setattr(p, AXIS, {**getattr(p, AXIS, {}), setting.name: value})

    return fun


def confirm(
    setting: Setting, contexts: Callable[[], list[str]]
) -> Callable[[Any, list[Any]], None]:
    """Refuses values before the first cell is made."""

    def fun(p: Any, xs: list[Any]) -> None:
        try:
            for x in xs:
                setting.parse(str(x))
                if setting.name == "context" and str(x).strip().lower() not in contexts():
                    raise InvalidValue("context", x, ", ".join(contexts()))
        except InvalidValue as error:
            raise for_caller(error, p) from None

    return fun


def register(contexts: Callable[[], list[str]]) -> None:
    """The ``on_before_ui`` callback: adds each axis once."""
    module = find_module()
    if module is None:
        return
    present = {option.label for option in module.axis_options}
    for name in AXES:
        setting = SETTINGS[name]
        label = PREFIX + setting.label
        if label in present:
            continue
        kind: Any = setting.kind if setting.kind in (int, float) else str
        choices: Callable[[], list[str]] | None = None
        if setting.kind is bool:
            choices = module.boolean_choice()
        elif name == "context":
            choices = contexts
        elif setting.choices:
            choices = lambda setting=setting: list(setting.choices)  # noqa: E731
        module.axis_options.append(
            module.AxisOption(
                label,
                kind,
                apply(setting),
                confirm=confirm(setting, contexts),
                choices=choices,
            )
        )
