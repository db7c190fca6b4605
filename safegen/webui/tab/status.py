"""The pane that says how things stand."""

from __future__ import annotations

import time

import gradio as gr

from safegen.webui import facts, markup
from safegen.webui.tab.parts import QUIET, button, html, on_arrival

_SECTIONS = (
    ("Last generation", facts.last_run),
    ("Last error", facts.last_error),
    ("Enforcement", facts.enforcement),
    ("Versions", facts.versions),
    ("Loaded model", facts.model),
    ("What is guarded", facts.paths),
    ("Contexts", facts.contexts),
)


def report() -> str:
    """All sections as HTML, with the time."""
    sections = []
    for title, of in _SECTIONS:
        rows = [(fact.name, fact.value, fact.kind) for fact in of()]
        sections.append(markup.facts(title, rows))
    now = time.strftime("%H:%M:%S")
    return (
        f"<p class='safegen-note'><span>As of</span> {now}</p>"
        f"<div class='safegen-status'>{''.join(sections)}</div>"
    )


def build() -> None:
    """The pane, within the tab that is being built."""
    with gr.Row(elem_classes=["safegen-buttons", "safegen-narrow"]):
        refresh = button("Refresh", "safegen_status_refresh")
    shown = html("safegen_status_report", report())
    refresh.click(report, None, shown, **QUIET)
    on_arrival(report, None, shown)
