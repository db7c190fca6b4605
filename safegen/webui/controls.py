"""The gradio component that each of `SETTINGS` has in the accordion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gradio as gr

from safegen.plan import AUTO, CUSTOM, SETTINGS, Setting
from safegen.webui.words import later

GROUPS: Mapping[str, tuple[str, ...]] = {
    later("Advanced: when"): ("tau", "end", "curve", "refresh", "hires"),
    later("Advanced: how"): ("strategy", "push", "pushed", "region", "dial", "streams", "strength"),
    later("Advanced: detection"): ("detectors", "threshold", "evidence"),
}
"""Where each advanced setting stands. One that is in no group stands in the last."""
TEXTS = ("safe_text", "unsafe_text")
"""Shown for custom texts only."""


def groups() -> dict[str, list[str]]:
    """The advanced settings by group."""
    found = {title: [name for name in names if name in SETTINGS] for title, names in GROUPS.items()}
    placed = {*TEXTS, *(name for names in found.values() for name in names)}
    rest = [name for name, one in SETTINGS.items() if one.advanced and name not in placed]
    next(reversed(found.values())).extend(rest)
    return found


def offered(contexts: Iterable[str]) -> list[str]:
    """What a choice of contexts offers: Auto, every context by name, custom texts."""
    return [AUTO, *contexts, CUSTOM]


def component(setting: Setting, contexts: list[str]) -> tuple[Any, dict[str, Any]]:
    """The kind of component for ``setting``, and its arguments but for value and label.

    Args:
        contexts: What a choice of contexts offers.
    """
    if setting.name == "context":
        return gr.Dropdown, {"choices": contexts}
    if setting.kind is bool:
        return gr.Checkbox, {}
    if setting.kind is tuple:
        return gr.CheckboxGroup, {"choices": list(setting.choices)}
    if setting.choices:
        kind = gr.Dropdown if len(setting.choices) > 3 else gr.Radio
        return kind, {"choices": list(setting.choices)}
    if setting.kind is str:
        return gr.Textbox, {"lines": 2, "max_lines": 6}
    return gr.Slider, {
        "minimum": setting.minimum,
        "maximum": setting.maximum,
        "step": setting.step,
    }
