"""The parts that the panes are made of, as HTML. What they are called is said by the caller, in
the page's language; it is escaped here.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from safegen.plan import SETTINGS
from safegen.webui.words import say


def attributes(**given: str | bool | None) -> str:
    """HTML attributes; ``True`` is one without a value, ``False`` and ``None`` are left out."""
    parts = []
    for key, value in given.items():
        name = key.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(name)
        elif value not in (None, False):
            parts.append(f'{name}="{escape(str(value))}"')
    return " ".join(parts)


def _titled(label: str, info: str) -> str:
    more = f"<small>{escape(info)}</small>" if info else ""
    return f"<span class='safegen-title'>{escape(label)}</span>{more}"


def text(
    elem_id: str,
    label: str,
    info: str = "",
    *,
    value: str = "",
    lines: int = 1,
    placeholder: str = "",
    disabled: bool = False,
    choices: Iterable[str] = (),
) -> str:
    """A field for text, of one line or several.

    Args:
        choices: What is offered; anything else may be written too.
    """
    given = attributes(name=elem_id, placeholder=placeholder, disabled=disabled, autocomplete="off")
    offered = "".join(f"<option {attributes(value=choice)}></option>" for choice in choices)
    if lines > 1:
        rows = attributes(rows=str(lines), style=f"--safegen-rows: {lines}")
        field = f"<textarea {rows} {given}>{escape(value)}</textarea>"
    elif offered:
        field = f"<input type='text' list='{elem_id}_choices' {given} {attributes(value=value)}>"
        field += f"<datalist hidden id='{elem_id}_choices'>{offered}</datalist>"
    else:
        field = f"<input type='text' {given} {attributes(value=value)}>"
    return f"<label class='safegen-field' id='{elem_id}'>{_titled(label, info)}{field}</label>"


def slider(elem_id: str, setting: str, value: float) -> str:
    """A setting's number, as a slider and to be typed."""
    one = SETTINGS[setting]
    range_ = attributes(
        min=f"{one.minimum:g}", max=f"{one.maximum:g}", step=f"{one.step:g}", value=f"{value:g}"
    )
    label, info = say(one.label), say(one.help)
    return (
        f"<div class='safegen-field safegen-slider' id='{elem_id}'>{_titled(label, info)}"
        f"<span><input type='range' {range_} {attributes(aria_label=label)}>"
        f"<input type='number' {range_} {attributes(name=elem_id, aria_label=label)}></span></div>"
    )


def tick(elem_id: str, label: str, info: str = "", *, checked: bool = False) -> str:
    """A box to tick."""
    more = f"<small>{escape(info)}</small>" if info else ""
    return (
        f"<label class='safegen-tick' id='{elem_id}'><input type='checkbox' "
        f"{attributes(name=elem_id, checked=checked)}><span>{escape(label)}{more}</span></label>"
    )


def select(elem_id: str, label: str, info: str, *, choices: Iterable[str], chosen: str) -> str:
    """One of many."""
    options = "".join(
        f"<option {attributes(selected=one == chosen)}>{escape(one)}</option>" for one in choices
    )
    return (
        f"<label class='safegen-field' id='{elem_id}'>{_titled(label, info)}"
        f"<select {attributes(name=elem_id)}>{options}</select></label>"
    )


def choice(
    elem_id: str,
    label: str,
    info: str = "",
    *,
    choices: Iterable[str],
    chosen: Iterable[str],
    several: bool = False,
) -> str:
    """One of a few, or several of them."""
    kind, wanted = ("checkbox" if several else "radio"), set(chosen)
    boxes = "".join(
        f"<label class='safegen-tick'><input type='{kind}' "
        f"{attributes(name=elem_id, value=one, checked=one in wanted)}>"
        f"<span>{escape(one)}</span></label>"
        for one in choices
    )
    more = f"<small>{escape(info)}</small>" if info else ""
    return (
        f"<fieldset class='safegen-field' id='{elem_id}'><legend class='safegen-title'>"
        f"{escape(label)}</legend>{more}<div class='safegen-ticks'>{boxes}</div></fieldset>"
    )


def button(elem_id: str, label: str, kind: str = "", *, disabled: bool = False) -> str:
    """A button; ``kind`` is ``primary``, ``stop`` or nothing."""
    style = f"safegen-button safegen-button-{kind}" if kind else "safegen-button"
    given = attributes(id=elem_id, class_=style, disabled=disabled)
    return f"<button type='button' {given}>{escape(label)}</button>"


def place(elem_id: str, html: str = "") -> str:
    """Where HTML is shown."""
    return f"<div class='safegen-pane' id='{elem_id}'>{html}</div>"


def progress(elem_id: str) -> str:
    """Where it is said how far work has come, by `javascript/safegen_tab.js`."""
    return f"<div class='safegen-progress' id='{elem_id}' role='status' hidden></div>"


def row(*parts: str, style: str = "safegen-buttons") -> str:
    """Parts beside each other."""
    return f"<div class='{style}'>{''.join(parts)}</div>"


def split(*columns: tuple[int, str]) -> str:
    """Columns, each with its share of the width; below each other where there is no room."""
    made = "".join(
        f"<div class='safegen-column' style='--safegen-share: {share}'>{inside}</div>"
        for share, inside in columns
    )
    return f"<div class='safegen-split'>{made}</div>"
