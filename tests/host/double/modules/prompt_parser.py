"""Prompts to conds: schedules for ``[from:to:when]``, parts for ``AND``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class SdConditioning(list):  # type: ignore[type-arg]
    """Prompts with what else the text encoder wants to know."""

    def __init__(
        self,
        prompts: Any,
        is_negative_prompt: bool = False,
        width: int | None = None,
        height: int | None = None,
        copy_from: Any = None,
    ) -> None:
        super().__init__(prompts)
        self.is_negative_prompt, self.width, self.height = is_negative_prompt, width, height


@dataclass
class ScheduledPromptConditioning:
    end_at_step: int
    cond: Any


@dataclass
class ComposableScheduledPromptConditioning:
    schedules: list[ScheduledPromptConditioning]
    weight: float = 1.0


class MulticondLearnedConditioning:
    def __init__(self, shape: Any, batch: list[list[ComposableScheduledPromptConditioning]]):
        self.shape, self.batch = shape, batch


class DictWithShape(dict):  # type: ignore[type-arg]
    """Conds of a model that takes several, such as SDXL; ``shape`` is that of ``crossattn``."""

    def __init__(self, values: Any, shape: Any = None) -> None:
        super().__init__()
        self.update(values)

    @property
    def shape(self) -> Any:
        return self["crossattn"].shape


_EDIT = re.compile(r"\[([^\[\]:]*):([^\[\]:]*):([\d.]+)\]")
_WEIGHT = re.compile(r"^(.*?)(?:\s*:\s*([-+]?(?:\d+\.?|\d*\.\d+)))?\s*$", re.S)


def _schedule(prompt: str, steps: int, hires: int | None, old: bool) -> list[tuple[int, str]]:
    """The text that applies until each step, the last step being ``steps``."""
    total = steps if hires is None else hires
    ends = {total}
    for match in _EDIT.finditer(prompt):
        when = float(match[3])
        if "." in match[3]:
            # Shares above 1 are meant for the second pass.
            share = when if hires is None else when - 1.0
            end = int(share * total)
        else:
            end = int(when) - (0 if hires is None else steps)
        if 1 <= end < total:
            ends.add(end)

    def at(step: int) -> str:
        def choose(match: re.Match[str]) -> str:
            when = float(match[3])
            if "." in match[3]:
                share = when if hires is None else when - 1.0
                end = int(share * total)
            else:
                end = int(when) - (0 if hires is None else steps)
            return match[1] if step <= end else match[2]

        return _EDIT.sub(choose, prompt)

    return [(end, at(end)) for end in sorted(ends)]


def get_learned_conditioning(
    model: Any, prompts: Any, steps: int, hires_steps: int | None = None, use_old: bool = False
) -> list[list[ScheduledPromptConditioning]]:
    found: dict[str, list[ScheduledPromptConditioning]] = {}
    for prompt in prompts:
        if prompt in found:
            continue
        entries = []
        for end, text in _schedule(prompt, steps, hires_steps, use_old):
            encoded = {key: value[0] for key, value in model.encode([text]).items()}
            cond = encoded if model.is_sdxl else encoded["crossattn"]
            entries.append(ScheduledPromptConditioning(end, cond))
        found[prompt] = entries
    return [found[prompt] for prompt in prompts]


def get_multicond_learned_conditioning(
    model: Any, prompts: Any, steps: int, hires_steps: int | None = None, use_old: bool = False
) -> MulticondLearnedConditioning:
    batch = []
    for prompt in prompts:
        parts = []
        for part in re.split(r"\bAND\b", prompt):
            match = _WEIGHT.search(part)
            assert match is not None
            schedules = get_learned_conditioning(model, [match[1]], steps, hires_steps, use_old)
            weight = float(match[2]) if match[2] else 1.0
            parts.append(ComposableScheduledPromptConditioning(schedules[0], weight))
        batch.append(parts)
    return MulticondLearnedConditioning((len(prompts),), batch)


def _at(schedule: list[ScheduledPromptConditioning], step: int) -> Any:
    return next((e.cond for e in schedule if step <= e.end_at_step), schedule[0].cond)


def _stack(conds: list[Any]) -> Any:
    if isinstance(conds[0], dict):
        return DictWithShape({key: _stack([c[key] for c in conds]) for key in conds[0]})
    longest = max(c.shape[0] for c in conds)
    return torch.stack([_lengthened(c, longest) for c in conds])


def _lengthened(cond: Tensor, length: int) -> Tensor:
    if cond.ndim < 2 or cond.shape[0] == length:
        return cond
    return torch.cat([cond, cond[-1:].repeat(length - cond.shape[0], 1)])


def reconstruct_cond_batch(c: list[list[ScheduledPromptConditioning]], step: int) -> Any:
    return _stack([_at(schedule, step) for schedule in c])


def reconstruct_multicond_batch(
    c: MulticondLearnedConditioning, step: int
) -> tuple[list[list[tuple[int, float]]], Any]:
    """For each image its rows and their weights; and the rows, image by image."""
    layout: list[list[tuple[int, float]]] = []
    conds: list[Any] = []
    for parts in c.batch:
        layout.append([(len(conds) + i, part.weight) for i, part in enumerate(parts)])
        conds += [_at(part.schedules, step) for part in parts]
    return layout, _stack(conds)
