"""The pane that says how things stand."""

from __future__ import annotations

import time
from html import escape

import gradio as gr

from safegen.webui import markup, status
from safegen.webui.tab.parts import QUIET, button, html, on_arrival
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


def build() -> None:
    """The pane, within the tab that is being built."""
    with gr.Row(elem_classes=["safegen-buttons", "safegen-narrow"]):
        refresh = button("Refresh", "safegen_status_refresh")
    shown = html("safegen_status_report")
    refresh.click(report, None, shown, **QUIET)
    on_arrival(report, None, shown)
