"""A picture's parameters as text, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from standin.scripting import protected

_NAME = re.compile(r"\w[\w /-]+")


def _quoted(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if set(text) & set(",:\n") else text


def written(p: Any, index: int) -> str:
    """The text of picture ``index`` of ``p``'s batch."""
    prompt = p.prompts[index]
    fields: dict[str, Any] = {
        "Steps": p.steps,
        "Sampler": p.sampler_name,
        "CFG scale": p.cfg_scale,
        "Seed": p.seeds[index],
        "Size": f"{p.width}x{p.height}",
        "Model": p.sd_model_name,
        "Denoising strength": p.denoising_strength if p.is_given_a_picture else None,
    }
    for name, value in p.extra_generation_params.items():
        if callable(value):
            named = {"use_main_prompt": False, "all_prompts": p.prompts, "prompt_text": prompt}
            value = protected(value, p=p, index=index, **named)
        fields[name] = value
    fields["Version"] = "v1.10.1"
    shown = [
        name if name == value else f"{name}: {_quoted(value)}"
        for name, value in fields.items()
        if value is not None
    ]
    lines = [prompt, *([f"Negative prompt: {p.negative_prompt}"] if p.negative_prompt else [])]
    return "\n".join([*lines, ", ".join(shown)])


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    """Names and values of ``name: value, name: "quoted, value", lonely``."""
    rest = line
    while rest:
        name, colon, after = rest.partition(": ")
        if not colon:
            return
        name = name.rpartition(", ")[2]
        if after.startswith('"'):
            value, end = json.JSONDecoder().raw_decode(after)
            rest = after[end:].removeprefix(", ")
        else:
            value, _, rest = after.partition(", ")
        if _NAME.fullmatch(name):
            yield name, value


def parse_generation_parameters(text: str, _skip: Any = None) -> dict[str, str]:
    """Names to values; the prompts under ``Prompt`` and ``Negative prompt``."""
    *prompts, last = text.strip().split("\n")
    if "Steps: " not in last:
        prompts, last = [*prompts, last], ""
    found = {"Prompt": "", "Negative prompt": ""}
    target = "Prompt"
    for line in prompts:
        if line.startswith("Negative prompt: "):
            target, line = "Negative prompt", line.removeprefix("Negative prompt: ")
        found[target] = f"{found[target]}\n{line}".strip()
    for name, value in _pairs(last):
        size = re.fullmatch(r"(\d+)x(\d+)", value)
        if size:
            found.update({f"{name}-1": size[1], f"{name}-2": size[2]})
        else:
            found[name] = value
    return found
