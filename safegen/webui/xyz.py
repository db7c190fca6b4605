"""X/Y/Z plot axes, made from `SETTINGS`.

A cell that can't be made is a black one on the host, and nothing says why. So the whole grid is
looked at before its first cell: the host confirms each axis by itself, and then makes the cells.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from safegen.errors import InvalidValue, SafeGenError
from safegen.plan import SETTINGS, SafetyPlan, Setting
from safegen.sentence import joined, told
from safegen.webui import host, lifecycle, mending
from safegen.webui.arguments import AXIS
from safegen.webui.errors import SafeGen, for_caller, for_page, plainly

PREFIX = "[SafeGen] "
GRID = "_safegen_grid"
"""Attribute of a grid's processing object, which its cells share: setting to values, as far as
they were confirmed and not looked at together."""
_RANGES = "re_range", "re_range_count", "re_range_float", "re_range_count_float"
"""How the host names its own patterns of a range of numbers."""


def find_module() -> Any:
    """The host's xyz_grid module, wherever its loader put it, or ``None``."""
    for data in host.scripts_data():
        if data.script_class.__module__ in ("xyz_grid.py", "scripts.xyz_grid"):
            return data.module
    return sys.modules.get("scripts.xyz_grid")


def apply(setting: Setting, p: Any, x: Any, _xs: Any) -> None:
    """What an axis does to a cell's processing object, which is a shallow copy.

    Raises:
        Exception: The first cell that can't be made, for whoever asked for the grid.
    """
    grid = vars(p).get(GRID)
    if grid:
        values = dict(grid)
        grid.clear()
        try:
            _look_at(p, values)
        except SafeGenError as error:
            raise for_caller(error, p) from None
    # A new table: cells share what they were copied with.
    setattr(p, AXIS, {**getattr(p, AXIS, {}), setting.name: setting.parse(str(x))})


def confirm(setting: Setting, contexts: Callable[[], list[str]], p: Any, xs: list[Any]) -> None:
    """Refuses values before the first cell is made."""
    try:
        if not xs:
            plain = told("Choose at least one value for {field}.", field=told(setting.label))
            raise InvalidValue(setting.name, "", setting.allowed, plain=plain)
        values = [setting.parse(str(x)) for x in xs]
        if setting.name == "context":
            values = [x.strip().lower() for x in values]
            for x in values:
                if x not in contexts():
                    raise InvalidValue("context", x, ", ".join(contexts()))
    except InvalidValue as error:
        raise for_caller(error, p) from None
    setattr(p, GRID, {**vars(p).get(GRID, {}), setting.name: values})


def _look_at(p: Any, grid: dict[str, list[Any]]) -> None:
    """Whether every cell can be made, and any of them is SafeGen's."""
    before = getattr(p, AXIS, {})
    acts = "enabled" in grid
    try:
        for values in itertools.product(*grid.values()):
            cell = dict(zip(grid, values, strict=True))
            setattr(p, AXIS, {**before, **cell})
            try:
                resolved = lifecycle.resolve(p)
                need = mending.missing(resolved.plan) if resolved.plan.active else None
            except SafeGenError as error:
                raise _refused(cell, plainly(error)) from error
            if need is not None:
                raise _refused(cell, need.text(may=resolved.policy is None, here=False))
            if resolved.policy is not None:
                _check_enforced(cell, resolved.plan)
            acts = acts or resolved.plan.enabled
    finally:
        setattr(p, AXIS, before)
    if not acts:
        raise InvalidValue(
            "enabled",
            False,
            "true, since an axis of SafeGen is chosen",
            plain=told("SafeGen is off, so all these pictures would be the same. Tick it first."),
        )


def _check_enforced(cell: dict[str, Any], plan: SafetyPlan) -> None:
    """Raise `InvalidValue` if the cell's picture would be another than its legend says."""
    if cell.get("enabled") is False:
        raise _refused(cell, told("SafeGen stays on: it is enforced here."))
    for name, value in cell.items():
        given = getattr(plan, name)
        if given != value:
            reason = told(
                "{setting}: {asked} is not allowed here; {given} is enforced.",
                setting=told(SETTINGS[name].label),
                asked=SETTINGS[name].format(value),
                given=SETTINGS[name].format(given),
            )
            raise _refused(cell, reason)


def _refused(cell: dict[str, Any], reason: str) -> InvalidValue:
    """Why this cell can't be made."""
    name, value = next(iter(cell.items()))
    named = joined(", ", (_named(SETTINGS[one], cell[one]) for one in cell))
    plain = told(
        "{reason} Because of this cell no grid was made: {cell}.", cell=named, reason=reason
    )
    return InvalidValue(name, value, reason, plain=plain)


def _named(setting: Setting, value: Any) -> str:
    """A setting with its value, unless a user has typed it: that stands in no message."""
    typed = setting.kind is str and not setting.choices and setting.name != "context"
    return told(setting.label) if typed else setting.named(setting.format(value))


def numbers(module: Any, setting: Setting, text: str) -> list[str]:
    """The host's own reading of a line of numbers and ranges; of anything else it would say
    something of Python's, and name no axis."""
    parts: list[str] = module.csv_string_to_list_strip(text)
    ranges = [vars(module)[name] for name in _RANGES if name in vars(module)]
    for part in filter(None, parts):
        if not any(re.fullmatch(pattern, part) for pattern in ranges):
            try:
                setting.kind(part)
            except ValueError:
                error = InvalidValue(setting.name, part, setting.allowed)
                raise SafeGen(for_page(error)) from None
    return parts


def legend(setting: Setting, _p: Any, _option: Any, x: Any) -> str:
    """What stands beside a row or above a column: it has the width of a picture."""
    shown = f"{round(x, 8):g}" if isinstance(x, float) else x
    return f"{setting.label}: {shown}"


def register(contexts: Callable[[], list[str]]) -> None:
    """The ``on_before_ui`` callback: adds each axis once."""
    module = find_module()
    if module is None:
        return
    present = {option.label for option in module.axis_options}
    for name, setting in SETTINGS.items():
        label = PREFIX + setting.label
        if label in present:
            continue
        kind: Any = setting.kind if setting.kind in (int, float) else str
        choices: Callable[[], list[str]] | None = None
        if setting.kind is bool:
            choices = module.boolean_choice()
        elif name == "context":
            choices = contexts
        elif setting.kind is tuple:
            choices = partial(
                list, dict.fromkeys((*setting.choices, setting.format(setting.default)))
            )
        elif setting.choices:
            choices = partial(list, setting.choices)
        module.axis_options.append(
            module.AxisOption(
                label,
                kind,
                partial(apply, setting),
                format_value=partial(legend, setting),
                confirm=partial(confirm, setting, contexts),
                choices=choices,
                prepare=partial(numbers, module, setting) if kind is not str else None,
            )
        )
