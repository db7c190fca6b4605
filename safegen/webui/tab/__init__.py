"""The extension tab: one pane for each thing to do.

Gradio makes each of its components when the page is loaded, whoever may look at them. So the panes
are HTML of ours, fetched when the tab is first opened, and what they ask goes to routes of ours.
"""

from __future__ import annotations

from html import escape

import gradio as gr

from safegen.webui import settings
from safegen.webui.tab import check as check
from safegen.webui.tab import compare as compare
from safegen.webui.tab import contexts as contexts
from safegen.webui.tab import defaults as defaults
from safegen.webui.tab import status as status
from safegen.webui.words import later, say

PANES = {
    "compare": (later("Compare"), compare.html),
    "contexts": (later("Contexts"), contexts.html),
    "check": (later("Check a prompt"), check.html),
    "defaults": (later("Defaults"), defaults.html),
    "status": (later("Status"), status.html),
}


def html() -> str:
    """The tab's panes. Their script is `javascript/safegen_tab.js`."""
    tabs, panes = "", ""
    shown = [name for name in PANES if name != "defaults" or settings.may_keep_defaults()]
    for number, name in enumerate(shown):
        title, inside = PANES[name]
        tabs += (
            f"<button type='button' role='tab' id='safegen_open_{name}' "
            f"aria-controls='safegen_tab_{name}' aria-selected='{'false' if number else 'true'}' "
            f"tabindex='{-1 if number else 0}'>{escape(say(title))}</button>"
        )
        panes += (
            f"<section role='tabpanel' id='safegen_tab_{name}' "
            f"aria-labelledby='safegen_open_{name}'{' hidden' if number else ''}>{inside()}"
            "</section>"
        )
    return (
        f"<div id='safegen_tabs' data-lost='{_lost()}'>"
        f"<div class='safegen-nav' role='tablist'>{tabs}</div>{panes}</div>"
    )


def _lost() -> str:
    """What the page says where no answer comes."""
    return escape(say("The WebUI did not answer. Is it still running? Try again."))


def build() -> list[tuple[gr.Blocks, str, str]]:
    """The ``on_ui_tabs`` callback: the page, its label and its id."""
    with gr.Blocks(analytics_enabled=False) as page:
        gr.HTML(
            f"<p class='safegen-note' data-lost='{_lost()}'>{escape(say('One moment …'))}</p>",
            elem_id="safegen_place",
        )
        compare.build()
    return [(page, "SafeGen", "safegen")]
