"""The pane that says how things stand."""

from __future__ import annotations

import time
from html import escape

from safegen.webui import markup, status
from safegen.webui.tab.fields import button, place, row
from safegen.webui.words import later, say

_SECTIONS = (
    (later("Last generation"), status.last_run),
    (later("Last error"), status.last_error),
    (later("Enforcement"), status.enforcement),
    (later("Versions"), status.versions),
    (later("Loaded model"), status.model),
    (later("What is guarded"), status.paths),
    (later("Contexts"), status.contexts),
)


def report() -> str:
    """All sections as HTML, with the time."""
    sections = []
    for title, of in _SECTIONS:
        rows = [(line.name, line.value, line.kind) for line in of()]
        sections.append(markup.lines(say(title), rows))
    now = time.strftime("%H:%M:%S")
    return (
        f"<p class='safegen-note'>{escape(say('As of {time}', time=now))}</p>"
        f"<div class='safegen-status'>{''.join(sections)}</div>"
    )


def html() -> str:
    """The pane, before anything is asked."""
    refresh = button("safegen_status_refresh", say("Refresh"))
    return row(refresh, style="safegen-buttons safegen-narrow") + place("safegen_status_report")
