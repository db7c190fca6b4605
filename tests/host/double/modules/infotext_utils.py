"""A picture's parameters as one line of text, and back."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import gradio as gr

_PARAMETER = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"(\d+)x(\d+)")


class PasteField(tuple):  # type: ignore[type-arg]
    """A control and where its value comes from: a label, or a function of all parameters."""

    def __new__(cls, component: Any, target: Any, *, api: str | None = None) -> PasteField:
        return super().__new__(cls, (component, target))

    def __init__(self, component: Any, target: Any, *, api: str | None = None) -> None:
        self.component, self.api = component, api
        self.label = target if isinstance(target, str) else None
        self.function = target if callable(target) else None


def quote(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r"[,\n:]", text) else text


def parse_generation_parameters(infotext: str, skip_fields: Any = None) -> dict[str, Any]:
    *lines, last = infotext.strip().split("\n")
    if len(_PARAMETER.findall(last)) < 3:
        lines.append(last)
        last = ""
    prompt: list[str] = []
    negative: list[str] = []
    target = prompt
    for line in (raw.strip() for raw in lines):
        if line.startswith("Negative prompt:"):
            target, line = negative, line.removeprefix("Negative prompt:").strip()
        target.append(line)
    found: dict[str, Any] = {}
    for key, value in _PARAMETER.findall(last):
        if value[:1] == '"' and value[-1:] == '"':
            value = json.loads(value)
        size = _SIZE.match(value)
        if size:
            found[f"{key}-1"], found[f"{key}-2"] = size.groups()
        else:
            found[key] = value
    return {**found, "Prompt": "\n".join(prompt), "Negative prompt": "\n".join(negative)}


def paste(fields: list[PasteField], infotext: str) -> list[Any]:
    """What a pasted infotext does to each control: its new value, or ``None`` to leave it.

    Values of labels take the type of the control's own value.
    """
    parameters = parse_generation_parameters(infotext)
    result: list[Any] = []
    for component, target in fields:
        value = target(parameters) if callable(target) else parameters.get(target)
        if value is not None and not callable(target):
            kind = type(component.value)
            value = value != "False" if kind is bool else kind(value)
        result.append(value)
    return result


@dataclass
class ParamBinding:
    """A button that sends an infotext to a tab."""

    paste_button: Any
    tabname: str
    source_text_component: Any = None


registered_param_bindings: list[ParamBinding] = []


def register_paste_params_button(binding: ParamBinding) -> None:
    """Connected by the page once all tabs are there."""
    registered_param_bindings.append(binding)


def connect(button: Any, source: Any, fields: list[PasteField]) -> None:
    """Let a click on ``button`` paste the infotext in ``source`` into ``fields``."""

    def pasted(infotext: str) -> list[Any]:
        values = paste(fields, infotext)
        return [gr.update() if value is None else gr.update(value=value) for value in values]

    button.click(pasted, [source], [field[0] for field in fields], show_progress=False)
