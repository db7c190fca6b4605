"""What the panes have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import gradio as gr
from gradio.context import Context

Component = TypeVar("Component")

QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
"""For events that answer at once: no waiting behind pictures, no veil over the page."""


def not_in_config(component: Component) -> Component:
    """``component``, whose value the host is not to keep as a default for the next start."""
    component.do_not_save_to_config = True  # type: ignore[attr-defined]
    return component


def html(elem_id: str, value: str = "") -> Any:
    """A place for HTML."""
    return not_in_config(gr.HTML(value, elem_id=elem_id, elem_classes=["safegen-pane"]))


def button(label: str, elem_id: str, variant: str = "secondary", **more: Any) -> Any:
    """A button of the usual size."""
    return not_in_config(
        gr.Button(label, elem_id=elem_id, variant=variant, size="sm", min_width=90, **more)
    )


def on_arrival(function: Callable[..., Any], inputs: Any, outputs: Any) -> None:
    """Call ``function`` whenever this pane's tab is chosen, and not before."""
    Context.block.select(function, inputs, outputs, **QUIET)
