"""Where the host meets gradio: the queue before its buttons, and the accordion with a tick."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import gradio as gr

from standin.run import Txt2Img
from standin.scripting import RUNNERS
from standin.settings import queue, report, shared

FORM: dict[str, Any] = {
    "prompt": "",
    "negative_prompt": "",
    "n_iter": 1,
    "batch_size": 1,
    "cfg_scale": 4.0,
    "width": 128,
    "height": 128,
    "steps": 4,
    "seed": -1,
}
"""The fields of txt2img's form in the order in which a click on Generate sends them."""


finished: set[Any] = set()
"""The jobs that are over."""


class InputAccordion(gr.Checkbox):
    """A tick and an accordion below it; a context manager for what is in the accordion."""

    def __init__(self, value: bool, *, label: str, elem_id: str) -> None:
        super().__init__(value, label=f"{label} on", elem_id=f"{elem_id}-checkbox")
        self.accordion = gr.Accordion(label, open=False, elem_id=elem_id)

    def get_block_name(self) -> str:
        return "checkbox"

    def __enter__(self) -> InputAccordion:
        self.accordion.__enter__()
        return self

    def __exit__(self, *problem: Any) -> None:
        self.accordion.__exit__(*problem)


def queued(function: Callable[..., Any], extra_outputs: Sequence[Any] = ()) -> Callable[..., Any]:
    """``function`` alone with the model, as a job; an error's text in place of its last output."""

    @wraps(function)
    def run(id_task: Any, *given: Any, **named: Any) -> list[Any]:
        began = time.monotonic()
        with queue:
            shared.state.begin(id_task)
            try:
                *found, text = function(id_task, *given, **named)
            except Exception as error:
                report(f"a job failed: {error!r}", exc_info=True)
                said = html.escape(f"{type(error).__name__}: {error}")
                found, text = list(extra_outputs), f"<div class='error'>{said}</div>"
            finally:
                shared.state.end()
                finished.add(id_task)
        return [*found, f"{text}<p>Time taken: {time.monotonic() - began:.1f} s</p>"]

    return run


def create_processing(id_task: Any, request: Any, *values: Any) -> Txt2Img:
    """What a click on Generate in txt2img asks for."""
    fields = dict(zip(FORM, values, strict=False))
    more = {"scripts": RUNNERS["txt2img"], "script_args": values[len(FORM) :]}
    return Txt2Img(**fields, **more)


@dataclass
class ParamBinding:
    """A button that pastes an infotext into a tab."""

    paste_button: Any
    tabname: str
    source_text_component: Any = None


bindings: list[ParamBinding] = []
