"""The extension tab: one pane for each thing to do."""

from __future__ import annotations

import gradio as gr

from safegen.webui.tab import check as check
from safegen.webui.tab import compare as compare
from safegen.webui.tab import contexts as contexts
from safegen.webui.tab import status as status


def build() -> list[tuple[gr.Blocks, str, str]]:
    """The ``on_ui_tabs`` callback: the page, its label and its id."""
    with gr.Blocks(analytics_enabled=False) as page, gr.Tabs(elem_id="safegen_tabs"):
        with gr.Tab("Compare", elem_id="safegen_tab_compare"):
            compare.build()
        with gr.Tab("Contexts", elem_id="safegen_tab_contexts"):
            contexts.build()
        with gr.Tab("Check a prompt", elem_id="safegen_tab_check"):
            check.build()
        with gr.Tab("Status", elem_id="safegen_tab_status"):
            status.build()
    return [(page, "SafeGen", "safegen")]
