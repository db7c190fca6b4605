"""What the host makes of a prompt: ``AND`` parts, edits by step, emphasis, and their encodings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from standin.model import DictWithShape, Model, number

_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_EMPHASIS = re.compile(r"\(([^()]*)\)")
_WORD = re.compile(r"(\w+|[^\w\s^])(?:\^(\d+\.?\d*))?")


class SdConditioning(list[str]):
    """Texts to encode, with the picture's size and whether they are negative ones."""

    def __init__(
        self,
        texts: Sequence[str],
        is_negative_prompt: bool = False,
        width: Any = None,
        height: Any = None,
    ) -> None:
        super().__init__(texts)
        self.is_negative_prompt, self.width, self.height = is_negative_prompt, width, height


@dataclass
class Span:
    """An encoding, and the last step that it is for."""

    end_at_step: int
    cond: Any


@dataclass
class Part:
    """One ``AND`` part of one image."""

    weight: float
    schedules: list[Span]


@dataclass
class Parts:
    """The parts of each image of a batch."""

    batch: list[list[Part]] = field(default_factory=list)


def _edited(text: str, step: int, steps: int) -> str:
    """``text`` as its brackets want it at ``step`` (from 1)."""

    def choose(match: re.Match[str]) -> str:
        inside = match[1]
        if "|" in inside:
            options = inside.split("|")
            return options[(step - 1) % len(options)]
        *texts, last = inside.split(":")
        when = number(last)
        if not texts or len(texts) > 2 or when is None:
            return f"({inside}:0.909)"
        begin = int(when * steps) if when < 1 else int(when)
        before, after = ("", *texts) if len(texts) == 1 else texts
        return before if step <= begin else after

    while _BRACKETS.search(text):
        text = _BRACKETS.sub(choose, text)
    return text


def words_of(text: str) -> list[tuple[str, float]]:
    """The words and marks of a text without brackets, each with its emphasis."""

    def spread(match: re.Match[str]) -> str:
        inside, colon, last = match[1].rpartition(":")
        factor = number(last) if colon else None
        if factor is None:
            inside, factor = match[1], 1.1
        return " ".join(f"{w}^{factor * float(own or 1):.4f}" for w, own in _WORD.findall(inside))

    while _EMPHASIS.search(text):
        text = _EMPHASIS.sub(spread, text)
    return [(word, float(own or 1)) for word, own in _WORD.findall(text.lower())]


def get_learned_conditioning(
    model: Model, prompts: Sequence[str], steps: int, hires_steps: int | None = None, *_: Any
) -> list[list[Span]]:
    """Each text's encodings, in the order of their steps."""
    count = hires_steps or steps
    found = []
    for text in prompts:
        spans: list[Span] = []
        before = None
        for step in range(1, count + 1):
            now = _edited(text, step, count)
            if now == before:
                spans[-1].end_at_step = step
            else:
                spans.append(Span(step, model.read(words_of(now))))
            before = now
        found.append(spans)
    return found


def get_parts(model: Model, prompts: Sequence[str], steps: int, *more: Any) -> Parts:
    """The same for texts with ``AND``."""
    found = Parts()
    for text in prompts:
        parts = []
        for piece in re.split(r"\bAND\b", text):
            body, colon, last = piece.rpartition(":")
            weight = number(last) if colon else None
            if weight is None:
                body, weight = piece, 1.0
            (spans,) = get_learned_conditioning(model, [body], steps, *more)
            parts.append(Part(weight, spans))
        found.batch.append(parts)
    return found


def reconstruct_cond_batch(schedules: Sequence[Sequence[Span]], step: int) -> Any:
    """The encodings at ``step``, below each other; shorter ones are filled up with zeros."""
    conds = [
        next((s for s in spans if step <= s.end_at_step), spans[-1]).cond for spans in schedules
    ]
    if not isinstance(conds[0], dict):
        return torch.nn.utils.rnn.pad_sequence(conds, batch_first=True)
    texts = torch.nn.utils.rnn.pad_sequence([c["crossattn"] for c in conds], batch_first=True)
    return DictWithShape(crossattn=texts, vector=torch.stack([c["vector"] for c in conds]))
