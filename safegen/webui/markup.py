"""What the panes show, as HTML. Every text comes from outside and is escaped here.

Fixed words stand in elements of their own, so that the host's localisations find them.
"""

from __future__ import annotations

import base64
import difflib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

from safegen.choice import Choice
from safegen.contexts.context import SafetyContext
from safegen.contexts.library import to_text
from safegen.plan import LEARNED_STRATEGIES

LONGEST_COMPARED = 4000
"""Characters of a text up to which its changed words are looked for: it takes quadratic time."""
SHORTENED = 160
"""Characters of a prompt that a table's row shows."""

Data = Mapping[str, Any]
"""One prompt's findings, as `safegen.webui.checking.to_data` gives them."""


def message(text: str, *, bad: bool = False) -> str:
    """A line that says what has happened, read out by screen readers."""
    if not text:
        return ""
    role, style = ("alert", "safegen-bad") if bad else ("status", "safegen-good")
    return f"<p role='{role}' class='safegen-message {style}'>{escape(text)}</p>"


def problem(text: str) -> str:
    """What is wrong with what stands there. It is not read out: it comes with every key."""
    return f"<p class='safegen-message safegen-bad'>{escape(text)}</p>"


def note(text: str) -> str:
    """A remark in small print."""
    return f"<p class='safegen-note'>{escape(text)}</p>"


def readable(category: str) -> str:
    """A category's name for people: ``self-harm`` is ``Self harm``."""
    return category.replace("-", " ").capitalize()


# ---------------------------------------------------------------------- prompts


def segments(text: str, spans: Iterable[tuple[int, int, str]]) -> list[tuple[str, tuple[str, ...]]]:
    """``text`` cut wherever a span begins or ends: each piece with the categories that cover it.

    Args:
        spans: Start, end and category; they may overlap and reach beyond the text.
    """
    found = [(max(start, 0), min(end, len(text)), category) for start, end, category in spans]
    found = [span for span in found if span[0] < span[1]]
    cuts = sorted({0, len(text), *(place for start, end, _ in found for place in (start, end))})
    pieces: list[tuple[str, tuple[str, ...]]] = []
    for start, end in itertools.pairwise(cuts):
        covering = tuple(dict.fromkeys(c for s, e, c in found if s <= start and end <= e))
        if pieces and covering == pieces[-1][1]:
            pieces[-1] = pieces[-1][0] + text[start:end], covering
        else:
            pieces.append((text[start:end], covering))
    return pieces


def highlighted(prompt: str, spans: Iterable[Data]) -> str:
    """``prompt`` with what the detectors found in it, each with its category beside it."""
    parts = []
    for text, categories in segments(
        prompt, ((s["start"], s["end"], s["category"]) for s in spans)
    ):
        if categories:
            names = escape(", ".join(readable(category) for category in categories))
            parts.append(f"<mark>{escape(text)} <small>{names}</small></mark>")
        else:
            parts.append(escape(text))
    return f"<p class='safegen-text'>{''.join(parts)}</p>"


def compared(before: str, after: str) -> str:
    """``after``, with the words that are not in ``before`` marked as inserted."""
    if len(before) + len(after) > LONGEST_COMPARED:
        return escape(after)
    old, new = (re.findall(r"\w+|\s+|[^\w\s]", text) for text in (before, after))
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    parts = []
    for kind, _, _, start, end in matcher.get_opcodes():
        text = escape("".join(new[start:end]))
        parts.append(text if kind == "equal" or not text.strip() else f"<ins>{text}</ins>")
    return "".join(parts)


def bars(categories: Mapping[str, float], threshold: float) -> str:
    """A bar for each category's score, 0 to 1, with the threshold marked on all of them."""
    rows = []
    for category, score in sorted(categories.items(), key=lambda item: (-item[1], item[0])):
        over = " class='safegen-over'" if score >= threshold else ""
        rows.append(
            f"<tr{over}><th scope='row'>{escape(readable(category))}</th>"
            f"<td class='safegen-bar'><span style='width:{100 * score:.1f}%'></span>"
            f"<i style='left:{100 * threshold:.1f}%'></i></td><td>{score:.2f}</td></tr>"
        )
    return (
        "<table class='safegen-bars'><caption><span>Scores by category; the line is the threshold"
        f"</span> <b>{threshold:.2f}</b></caption><tbody>{''.join(rows)}</tbody></table>"
    )


def reason(data: Data, labels: Mapping[str, str]) -> str:
    """Why Auto takes the context it takes, or none: which category, score and threshold.

    Args:
        labels: Context name to label and category's context, for names of categories.
    """
    scores: Mapping[str, float] = data["categories"]
    threshold = data["threshold"]
    limit = f"the threshold {threshold:.2f}"
    top = max(scores.items(), key=lambda item: item[1], default=None)
    if data["errors"]:
        return f"A detector failed, so the prompt counts as unsafe: {data['errors'][0]}"
    if top is None or top[1] < threshold:
        most = "" if top is None else f"; the highest is {readable(top[0])} with {top[1]:.2f}"
        return f"No category reaches {limit}{most}."
    if data["context"] is None:
        return (
            f"{readable(top[0])} reaches {limit} with {top[1]:.2f}, but no part of the prompt "
            "has a weight above 0: the model moves away from it anyway."
        )
    category = labels.get(data["context"], "")
    if category in scores and scores[category] >= threshold:
        first = (
            "" if category == top[0] else f" ({readable(top[0])} scores more and has no context)"
        )
        return f"{readable(category)} scores {scores[category]:.2f}, {limit} is reached{first}."
    return (
        f"{readable(top[0])} scores {top[1]:.2f}, {limit} is reached; there is no context for "
        "it alone."
    )


def safe_stream(prompt: str, data: Data) -> str:
    """What the safe stream sees of ``prompt``, part by part."""
    if data["context"] is None:
        return "<p>Nothing: the picture is the one without SafeGen.</p>"
    parts = data["safe_stream"]
    lines, notes = [], []
    for part in parts:
        if part is None:
            lines.append("<p class='safegen-text'><em>this part as it is</em></p>")
            continue
        lines.append(f"<p class='safegen-text'>{compared(prompt, part['text'])}</p>")
        notes.append(part["note"])
        if part["strategy"] in LEARNED_STRATEGIES:
            notes.append(f"its embedding is changed afterwards ({part['strategy']})")
    lines += [f"<p class='safegen-note'>{escape(n)}</p>" for n in dict.fromkeys(notes) if n]
    return "".join(lines)


def card(data: Data, number: int, contexts: Iterable[SafetyContext]) -> str:
    """All that is known about one prompt."""
    found = {context.name: context for context in contexts}
    context = found.get(data["context"] or "")
    style = "safegen-flagged" if data["unsafe"] >= data["threshold"] else "safegen-harmless"
    title = "No context" if context is None else context.label
    scores = {c.category: 0.0 for c in found.values() if c.category} | dict(data["categories"])
    labels = {name: one.category for name, one in found.items()}
    detectors = sorted({span["detector"] for span in data["spans"]})
    by = (
        f"<p class='safegen-note'>Found by: {escape(', '.join(detectors))}</p>" if detectors else ""
    )
    return (
        f"<section class='safegen-card {style}' aria-label='Prompt {number}'>"
        f"<h3><span>Auto takes:</span> <b>{escape(title)}</b></h3>"
        f"<p>{escape(reason(data, labels))}</p>"
        "<div class='safegen-columns'><div>"
        f"<h4>Prompt</h4>{highlighted(data['prompt'], data['spans'])}{by}"
        f"<h4>What the safe stream sees</h4>{safe_stream(data['prompt'], data)}"
        f"</div><div>{bars(scores, data['threshold'])}</div></div></section>"
    )


def table(all_data: Sequence[Data], contexts: Iterable[SafetyContext]) -> str:
    """One row for each prompt: highest score, its category, the context."""
    labels = {context.name: context.label for context in contexts}
    flagged = sum(data["context"] is not None for data in all_data)
    rows = []
    for number, data in enumerate(all_data, 1):
        top = max(data["categories"].items(), key=lambda item: item[1], default=("", 0.0))
        prompt = data["prompt"]
        short = prompt if len(prompt) <= SHORTENED else prompt[: SHORTENED - 1] + "…"
        style = " class='safegen-over'" if data["context"] else ""
        context = labels.get(data["context"] or "", data["context"] or "none")
        rows.append(
            f"<tr{style}><td>{number}</td><td>{escape(short)}</td>"
            f"<td>{data['unsafe']:.2f}<small>{escape(readable(top[0]))}</small></td>"
            f"<td>{escape(context)}</td></tr>"
        )
    return (
        "<div class='safegen-scroll'><table class='safegen-table'>"
        f"<caption><b>{flagged}</b> <span>flagged, of</span> <b>{len(all_data)}</b></caption>"
        "<thead><tr><th scope='col'>#</th><th scope='col'>Prompt</th>"
        "<th scope='col'>Score</th><th scope='col'>Context</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


# ---------------------------------------------------------------------- contexts


def preview(prompt: str, choice: Choice, auto: str, *, is_this: bool) -> str:
    """A sample prompt and what the safe stream would see under the context being edited.

    Args:
        auto: Label of the context that Auto would take, or empty for none.
        is_this: Whether that is the one being edited.
    """
    assert choice.conditioning is not None
    note = choice.conditioning.note
    notes = f"<p class='safegen-note'>{escape(note)}</p>" if note else ""
    takes = (
        "<span>Auto would take this context for it.</span>"
        if is_this
        else f"<span>Auto would take another context for it:</span> {escape(auto)}"
        if auto
        else "<span>Auto would take no context for it.</span>"
    )
    marked = [(start, end, "replaced") for start, end in _replaced(choice)]
    original = "".join(
        f"<mark>{escape(text)}</mark>" if covering else escape(text)
        for text, covering in segments(prompt, marked)
    )
    return (
        "<div class='safegen-preview'><h4>Your prompt</h4>"
        f"<p class='safegen-text'>{original}</p><h4>What the safe stream sees</h4>"
        f"<p class='safegen-text'>{compared(prompt, choice.conditioning.text)}</p>{notes}"
        f"<p class='safegen-note'>{takes}</p></div>"
    )


def _replaced(choice: Choice) -> list[tuple[int, int]]:
    """The stretches of the prompt that count as risky under the choice's context."""
    verdict = choice.verdict
    if choice.context is None:
        return []
    spans = replace(verdict, context=choice.context).risky_spans()
    return [(span.start, span.end) for span in spans]


def heading(context: SafetyContext | None, label: str, *, built_in: bool, unsaved: bool) -> str:
    """What the context is called, whose it is, and a link that hands on its file as saved."""
    title = f"<h3>{escape(label.strip() or 'New context')}</h3>"
    if context is None:
        return f"<div class='safegen-heading'>{title}<small>not saved yet</small></div>"
    kind = "built in: duplicate it to change it" if built_in else "your own"
    state = "<small class='safegen-unsaved'>● not saved</small>" if unsaved else ""
    content = base64.b64encode(to_text(context).encode()).decode()
    return (
        f"<div class='safegen-heading'>{title}<small>{kind}</small>{state}"
        f"<a class='safegen-export' download='{escape(context.name)}.json' "
        f"href='data:application/json;base64,{content}'>Export</a></div>"
    )


# ---------------------------------------------------------------------- status


def lines(title: str, rows: Iterable[tuple[str, str, str]]) -> str:
    """A titled list: each line's name, value, and style: good, bad, or empty."""
    body = "".join(
        f"<tr><th scope='row'>{escape(name)}</th>"
        f"<td{f' class=safegen-{style}' if style else ''}>{escape(value)}</td></tr>"
        for name, value, style in rows
    )
    return (
        f"<section class='safegen-lines'><h3>{escape(title)}</h3>"
        f"<table><tbody>{body}</tbody></table></section>"
    )
