"""The pane that makes one prompt at several weights and lays two of them over each other.

What is asked for is written on the page; but only gradio knows what stands in txt2img. So a
hidden button asks, with the inputs of Generate.
"""

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
from safegen.webui.tab import fields
from safegen.webui.words import say

_generate: list[Any] = []
"""The Generate button of txt2img on the page that is being built."""

_built: list[Any] = []
"""What txt2img's Generate is called with, on the page that was built last."""

_START = "(...given) => [...window.safegenCompares(), ...given.slice(3, {end})]"
"""The task's id, the prompt and the weights, from `javascript/safegen_compare.js`.

The browser gives the outputs, too. Gradio 4 takes as many values as there are inputs for one each;
of any other number it thinks that those of the session's states are left out.
"""


def notice(component: Any, **kwargs: Any) -> None:
    """The ``on_after_component`` callback."""
    if kwargs.get("elem_id") == "txt2img_generate":
        _generate[:] = [component]


def forget() -> None:
    """A new page is going to be built."""
    _generate.clear()
    _built.clear()


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
    if settings.policy_to_show() is not None:
        text += (
            "<p class='safegen-enforced'>"
            f"{say('SafeGen is enforced here: the original is not made.')}</p>"
        )
    return text


def html() -> str:
    """The pane, before anything is asked."""
    weights = comparison.default_weights(settings.policy_to_show())
    missing = markup.message(say("There is no txt2img on this page to compare."), bad=True)
    asks = (
        fields.place("safegen_compare_introduction", _introduction()),
        fields.text(
            "safegen_compare_prompt",
            say("Prompt"),
            placeholder=say("Empty: the prompt in txt2img"),
            lines=3,
        ),
        fields.text(
            "safegen_compare_weights",
            say("Weights"),
            say("Separated by commas; 0 is the original."),
            value=", ".join(f"{weight:g}" for weight in weights),
        ),
        # The host's keys Esc and Alt+Enter look for buttons with these endings in whichever tab
        # is open.
        fields.row(
            fields.button(
                "safegen_compare_generate", say("Compare"), "primary", disabled=not _built
            ),
            fields.button("safegen_compare_interrupt", say("Interrupt"), "stop"),
            fields.button("safegen_compare_skip", say("Skip")),
            fields.button("safegen_compare_send", say("Send to txt2img"), disabled=True),
        ),
        fields.place("safegen_compare_message", "" if _built else missing),
    )
    start = markup.note(say("Pictures appear here. The original is blurred until you ask."))
    shown = fields.place("safegen_compare_stage", start)
    return fields.split((2, "".join(asks)), (5, f"<div id='safegen_compare_panel'>{shown}</div>"))


def interrupt() -> None:
    """Stop what is under way."""
    host.interrupt()


def _inert(message: str, shown: str = "") -> str:
    """An answer as the page's script takes it: what to say, and what to show in place of the last
    comparison, if anything. The browser makes nothing of it before that.
    """
    return f"<template {markup.asked()}><div>{message}</div><div>{shown}</div></template>"


def build() -> None:
    """What gradio is needed for, all of it hidden."""
    inputs = generate_inputs()
    if inputs is None:
        return
    _built[:] = inputs
    infotext = gr.Textbox(visible=False, elem_id="safegen_compare_infotext")
    ask = gr.Button(visible=False, elem_id="safegen_compare_ask")
    send = gr.Button(visible=False, elem_id="safegen_compare_paste")
    answer = gr.HTML(visible=False, elem_id="safegen_compare_answer")
    for component in (infotext, ask, send, answer):
        component.do_not_save_to_config = True
    host.paste_button(send, infotext)

    def save(image: Any) -> str:
        return page.url_of(image, answer)

    def compare(
        id_task: str, request: gr.Request, own_prompt: str, given: str, *values: Any
    ) -> list[Any]:
        try:
            result = comparison.compare(request, own_prompt, given, id_task, *values)
        except SafeGenError as error:
            record.refuse(error, "Compare")
            return [_inert(markup.message(plainly(error), bad=True))]
        shown = comparison_markup.comparison(result, save)
        return [_inert(comparison_markup.summary(result), shown or markup.note(""))]

    asked = [infotext] * 3 + inputs[1:]
    ask.click(
        making.queued(compare, []),
        inputs=asked,
        outputs=[answer],
        **page.js(_START.format(end=len(asked))),
        show_progress=False,
    )
