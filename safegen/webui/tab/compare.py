"""The pane that makes one prompt at several weights and lays two of them over each other."""

from __future__ import annotations

from typing import Any

import gradio as gr

from safegen.errors import SafeGenError
from safegen.webui import (
    comparison,
    comparison_markup,
    host,
    making,
    markup,
    page,
    record,
    settings,
)
from safegen.webui.errors import plainly
from safegen.webui.tab.parts import QUIET, button, html, not_in_config
from safegen.webui.words import say

_generate: list[Any] = []
"""The Generate button of txt2img on the page that is being built."""

_START = (
    "(...given) => { const id = randomId(); document.dispatchEvent("
    'new CustomEvent("safegen:comparing", {detail: {task: id}})); '
    "return [id, ...given.slice(1)]; }"
)
"""Gives the task its id, and lets the page's script show the progress of it."""


def notice(component: Any, **kwargs: Any) -> None:
    """The ``on_after_component`` callback."""
    if kwargs.get("elem_id") == "txt2img_generate":
        _generate[:] = [component]


def forget() -> None:
    """A new page is going to be built."""
    _generate.clear()


def generate_inputs() -> list[Any] | None:
    """The components whose values Generate in txt2img is called with, or ``None``."""
    if not _generate or host.hides_tab("txt2img"):
        return None
    return page.inputs_of_click(_generate[0], "submit")


def _introduction() -> str:
    text = markup.note(
        say(
            "One prompt at several weights, with one seed and the settings of txt2img. "
            "Nothing is saved."
        )
    )
    rules = settings.policy_to_show()
    if rules is not None:
        text += (
            "<p class='safegen-enforced'>"
            f"{say('SafeGen is enforced here: the original is not made.')}</p>"
        )
    return text


def build() -> None:
    """The pane, within the tab that is being built."""
    rules = settings.policy_to_show()
    inputs = generate_inputs()
    with gr.Row(elem_classes=["safegen-split"]):
        with gr.Column(scale=2, min_width=300):
            html("safegen_compare_introduction", _introduction())
            prompt = not_in_config(
                gr.Textbox(
                    label="Prompt",
                    placeholder="Empty: the prompt in txt2img",
                    lines=3,
                    elem_id="safegen_compare_prompt",
                )
            )
            weights = not_in_config(
                gr.Textbox(
                    label="Weights",
                    info="Separated by commas; 0 is the original.",
                    value=", ".join(f"{w:g}" for w in comparison.default_weights(rules)),
                    elem_id="safegen_compare_weights",
                )
            )
            with gr.Row(elem_classes=["safegen-buttons"]):
                go = button(
                    "Compare", "safegen_compare_generate", "primary", interactive=inputs is not None
                )
                # The host's keys Esc and Alt+Enter look for buttons with these endings in
                # whichever tab is open.
                stop = button("Interrupt", "safegen_compare_interrupt", "stop")
                skip = button("Skip", "safegen_compare_skip")
                send = button("Send to txt2img", "safegen_compare_send", interactive=False)
            message = html(
                "safegen_compare_message",
                ""
                if inputs is not None
                else markup.message(say("There is no txt2img on this page to compare."), bad=True),
            )
        with gr.Column(scale=5, min_width=300, elem_id="safegen_compare_panel"):
            shown = html(
                "safegen_compare_stage",
                markup.note(say("Pictures appear here. The original is blurred until you ask.")),
            )
            infotext = not_in_config(
                gr.Textbox(visible=False, elem_id="safegen_compare_infotext", label="Infotext")
            )
            task = not_in_config(
                gr.Textbox(visible=False, elem_id="safegen_compare_task", label="Task")
            )
    stop.click(host.interrupt, None, None, **QUIET)
    skip.click(host.interrupt, None, None, **QUIET)
    if inputs is None:
        return
    host.paste_button(send, infotext)

    unchanged = [gr.update(), gr.update(), gr.update()]  # the last comparison stays

    def save(image: Any) -> str:
        return page.url_of(image, shown)

    def compare(
        id_task: str, request: gr.Request, own_prompt: str, given: str, *values: Any
    ) -> list[Any]:
        try:
            result = comparison.compare(request, own_prompt, given, id_task, *values)
        except SafeGenError as error:
            record.refuse(error, "Compare")
            return [*unchanged, markup.message(plainly(error), bad=True)]
        chosen = result.chosen
        return [
            comparison_markup.comparison(result, save),
            "" if chosen is None else chosen.infotext,
            gr.update(interactive=chosen is not None),
            comparison_markup.summary(result),
        ]

    go.click(
        making.queued(compare, unchanged),
        inputs=[task, prompt, weights, *inputs[1:]],
        outputs=[shown, infotext, send, message],
        **page.js(_START),
        show_progress=False,
    )
