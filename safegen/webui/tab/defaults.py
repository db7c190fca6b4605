"""The pane that says what the controls and the API begin with."""

from __future__ import annotations

from typing import Any

from safegen.errors import InvalidValue, SafeGenError
from safegen.plan import AUTO, SETTINGS, Setting
from safegen.webui import accordion, markup, settings
from safegen.webui.controls import groups
from safegen.webui.errors import plainly
from safegen.webui.jobs import Answer
from safegen.webui.tab import asked, fields
from safegen.webui.tab.asked import Body
from safegen.webui.words import say

ID = "safegen_defaults_"
MESSAGE = f"{ID}message"


def _contexts() -> list[str]:
    """The contexts to choose from: none of one's own texts, which have no default."""
    return accordion.context_choices()[:-1]


def _field(setting: Setting, value: Any) -> str:
    """A field for ``setting``, which `javascript/safegen_tab.js` reads by its kind."""
    elem_id, label, info = ID + setting.name, say(setting.label), say(setting.help)
    if setting.kind is bool:
        return fields.tick(elem_id, label, info, checked=value)
    if setting.name == "context":
        return fields.select(elem_id, label, info, choices=_contexts(), chosen=value)
    if setting.kind is tuple or setting.choices:
        chosen = value if setting.kind is tuple else [value]
        several = setting.kind is tuple
        return fields.choice(
            elem_id, label, info, choices=setting.choices, chosen=chosen, several=several
        )
    return fields.slider(elem_id, setting.name, value)


def html() -> str:
    """The pane, before anything is asked."""
    base = settings.base_plan()
    names = [name for name in settings.WITH_DEFAULT if not SETTINGS[name].advanced]
    names += [name for group in groups().values() for name in group]
    made = [_field(SETTINGS[name], getattr(base, name)) for name in names]
    note = markup.note(
        say(
            "What the controls and the API begin with. The API has it at once, the page after "
            "Reload UI."
        )
    )
    ticked = fields.tick(
        f"{ID}ticked",
        say("Tick SafeGen when the page is loaded"),
        say("It can still be switched off; enforcement is something else."),
        checked=settings.ticked(),
    )
    save = fields.row(
        fields.button(f"{ID}save", say("Save"), "primary"), style="safegen-buttons safegen-narrow"
    )
    grid = f"<div class='safegen-defaults'>{ticked}{''.join(made)}</div>"
    return note + grid + save + fields.place(MESSAGE)


def on_defaults(body: Body) -> Answer:
    """Keep what the page sends."""
    values = body.get("values")
    if not isinstance(values, dict):
        raise InvalidValue("values", values, "a table of settings")
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    try:
        if given.get("context", AUTO) not in _contexts():
            raise InvalidValue("context", given["context"], ", ".join(_contexts()))
        settings.keep_defaults(given, ticked=asked.tick(body, "ticked"))
    except SafeGenError as error:
        return {"html": {MESSAGE: markup.message(plainly(error), bad=True)}}
    return {"html": {MESSAGE: markup.message(say("Saved."))}}
