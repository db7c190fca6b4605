"""Controls of the host's own."""

from __future__ import annotations

from typing import Any

import gradio as gr


class InputAccordion(gr.Checkbox):
    """A checkbox that shows as an accordion: ticked means open."""

    def __init__(self, value: bool, **kwargs: Any) -> None:
        self.accordion_id = kwargs.get("elem_id") or "input-accordion"
        hidden = {**kwargs, "elem_id": f"{self.accordion_id}-checkbox", "visible": False}
        super().__init__(value, **hidden)
        shown = {"label": "Accordion", **kwargs, "elem_id": self.accordion_id}
        self.accordion = gr.Accordion(**shown, open=value, elem_classes=["input-accordion"])

    def get_block_name(self) -> str:
        return "checkbox"

    def __enter__(self) -> InputAccordion:
        self.accordion.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self.accordion.__exit__(*exc)
