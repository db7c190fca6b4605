"""What the panes show, as HTML. Every text comes from outside and is escaped here."""

from __future__ import annotations

import base64
import difflib
import itertools
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

from safegen.choice import Choice
from safegen.contexts.context import SafetyContext
from safegen.contexts.library import to_text
from safegen.plan import LEARNED_STRATEGIES
from safegen.webui.words import say, say_html, spoken

LONGEST_COMPARED = 4000
"""Characters of a text up to which its changed words are looked for: it takes quadratic time."""
SHORTENED = 160
"""Characters of a prompt that a table's row shows."""
SHOWN = 0.01
"""A score below is next to nothing: none is the highest."""

Data = Mapping[str, Any]
"""One prompt's findings, as `safegen.webui.checking.to_data` gives them."""


def message(text: str, *, bad: bool = False) -> str:
    """A line that says what has happened, read out by screen readers."""
    if not text:
        return ""
    role, style = ("alert", "safegen-bad") if bad else ("status", "safegen-good")
    return f"<p role='{role}' class='safegen-message {style}' {asked()}>{escape(spoken(text))}</p>"


def problem(text: str) -> str:
    """What is wrong with what stands there. It is not read out: it comes with every key."""
    return f"<p class='safegen-message safegen-bad'>{escape(spoken(text))}</p>"


def asked() -> str:
    """An attribute by which the page's script knows an answer from the one before it."""
    return f'data-safegen-asked="{time.monotonic_ns()}"'


def note(text: str) -> str:
    """A remark in small print."""
    return f"<p class='safegen-note'>{escape(text)}</p>"


def readable(category: str) -> str:
    """A category's name for people: ``self-harm`` is ``Self harm``."""
    return spoken(category.replace("-", " ").capitalize())


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
    rows, limit = [], f"{threshold:.2f}"
    for category, score in sorted(categories.items(), key=lambda item: (-item[1], item[0])):
        over = " class='safegen-over'" if score >= threshold else ""
        rows.append(
            f"<tr{over}><th scope='row'>{escape(readable(category))}</th>"
            f"<td class='safegen-bar'><span style='width:{100 * score:.1f}%'></span>"
            f"<i style='left:{100 * threshold:.1f}%'></i></td><td>{score:.2f}</td></tr>"
        )
    return (
        "<table class='safegen-bars'><caption>"
        f"{say_html('Scores. From the line on, {limit}, it counts as unsafe.', limit=limit)}"
        f"</caption><tbody>{''.join(rows)}</tbody></table>"
    )


def reason(data: Data, labels: Mapping[str, str]) -> str:
    """Why Auto takes the context it takes, or none: which category, score and threshold.

    Args:
        labels: Context name to label and category's context, for names of categories.
    """
    scores: Mapping[str, float] = data["categories"]
    limit = f"{data['threshold']:.2f}"
    top = max(scores.items(), key=lambda item: item[1], default=None)
    if data["errors"]:
        error = data["errors"][0]
        return say("A detector failed, so the prompt counts as unsafe: {error}", error=error)
    why = say("{text}.", text=spoken(data["why"]))
    if top is None or top[1] < SHOWN:
        return why
    name, score = readable(top[0]), f"{top[1]:.2f}"
    if top[1] < data["threshold"]:
        more = say("Highest score: {name}, {score}.", name=name, score=score)
        return f"{why} {more}"
    if data["context"] is None:
        return say(
            "{name} scores {score}, but every part of the prompt has a weight of 0 or less: the "
            "model moves away from it anyway.",
            name=name,
            score=score,
        )
    own = labels.get(data["context"], "")
    if own == top[0] or scores.get(own, 0.0) < data["threshold"]:
        return say(
            "{name} scores {score}. That counts as unsafe from {limit}.",
            name=name,
            score=score,
            limit=limit,
        )
    return say(
        "{name} scores {score}. That counts as unsafe from {limit}. {other} scores more and has no "
        "context.",
        name=readable(own),
        score=f"{scores[own]:.2f}",
        limit=limit,
        other=name,
    )


def safe_stream(prompt: str, data: Data) -> str:
    """What the safe stream sees of ``prompt``, part by part."""
    if data["context"] is None:
        return f"<p>{escape(say('Nothing: the picture is made as without SafeGen.'))}</p>"
    parts = data["safe_stream"]
    lines, notes = [], []
    for part in parts:
        if part is None:
            lines.append(
                f"<p class='safegen-text'><em>{escape(say('this part as it is'))}</em></p>"
            )
            continue
        lines.append(f"<p class='safegen-text'>{compared(prompt, part['text'])}</p>")
        notes.append(spoken(part["note"]))
        if part["strategy"] in LEARNED_STRATEGIES:
            notes.append(say("Its embedding is changed then: {how}", how=part["strategy"]))
    lines += [f"<p class='safegen-note'>{escape(n)}</p>" for n in dict.fromkeys(notes) if n]
    return "".join(lines)


def card(data: Data, number: int, contexts: Iterable[SafetyContext]) -> str:
    """All that is known about one prompt."""
    found = {context.name: context for context in contexts}
    context = found.get(data["context"] or "")
    style = "safegen-flagged" if data["unsafe"] >= data["threshold"] else "safegen-harmless"
    title = say("nothing") if context is None else spoken(context.label)
    scores = {c.category: 0.0 for c in found.values() if c.category} | dict(data["categories"])
    labels = {name: one.category for name, one in found.items()}
    detectors = sorted({span["detector"] for span in data["spans"]})
    by = note(say("Found by: {detectors}", detectors=", ".join(detectors))) if detectors else ""
    takes = say_html("Auto takes: {context}", context=title)
    seen = escape(say("What the safe version is made from"))
    return (
        f"<section class='safegen-card {style}' aria-label='{escape(say('Prompt {n}', n=number))}'>"
        f"<h3>{takes}</h3>"
        f"<p>{escape(reason(data, labels))}</p>"
        "<div class='safegen-columns'><div>"
        f"<h4>{escape(say('Prompt'))}</h4>{highlighted(data['prompt'], data['spans'])}{by}"
        f"<h4>{seen}</h4>{safe_stream(data['prompt'], data)}"
        f"</div><div>{bars(scores, data['threshold'])}</div></div></section>"
    )


def table(all_data: Sequence[Data], contexts: Iterable[SafetyContext]) -> str:
    """One row for each prompt: highest score, its category, the context."""
    labels = {context.name: spoken(context.label) for context in contexts}
    flagged = sum(data["context"] is not None for data in all_data)
    titles = (say("Prompt"), say("Score"), say("Context"))
    heads = "".join(f"<th scope='col'>{escape(title)}</th>" for title in titles)
    rows = []
    for number, data in enumerate(all_data, 1):
        name, score = max(data["categories"].items(), key=lambda item: item[1], default=("", 0.0))
        highest = readable(name) if score >= SHOWN else ""
        prompt = data["prompt"]
        short = prompt if len(prompt) <= SHORTENED else prompt[: SHORTENED - 1] + "…"
        style = " class='safegen-over'" if data["context"] else ""
        context = labels.get(data["context"] or "", data["context"] or "–")
        rows.append(
            f"<tr{style}><td>{number}</td><td>{escape(short)}</td>"
            f"<td>{data['unsafe']:.2f}<small>{escape(highest)}</small></td>"
            f"<td>{escape(context)}</td></tr>"
        )
    return (
        "<div class='safegen-scroll'><table class='safegen-table'>"
        f"<caption>{say_html('Unsafe: {n} of {all}', n=flagged, all=len(all_data))}</caption>"
        f"<thead><tr><th scope='col'>#</th>{heads}</tr></thead>"
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
    notes = f"<p class='safegen-note'>{escape(spoken(note))}</p>" if note else ""
    takes = (
        say_html("Auto would take this context for it.")
        if is_this
        else say_html("Auto would take another context for it: {context}", context=auto)
        if auto
        else say_html("Auto would find nothing unsafe in it.")
    )
    seen = say("What the safe version is made from")
    marked = [(start, end, "replaced") for start, end in _replaced(choice)]
    original = "".join(
        f"<mark>{escape(text)}</mark>" if covering else escape(text)
        for text, covering in segments(prompt, marked)
    )
    return (
        f"<div class='safegen-preview'><h4>{escape(say('Your prompt'))}</h4>"
        f"<p class='safegen-text'>{original}</p><h4>{escape(seen)}</h4>"
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
    title = f"<h3>{escape(label.strip() or say('New context'))}</h3>"
    begin = f"<div class='safegen-heading' {asked()}>{title}"
    if context is None:
        fresh = escape(say("not saved yet"))
        return f"{begin}<small>{fresh}</small></div>"
    kind = escape(say("Built in. Duplicate it to change it.") if built_in else say("your own"))
    unsure = f"<small class='safegen-unsaved'>● {escape(say('not saved'))}</small>"
    content = base64.b64encode(to_text(context).encode()).decode()
    return (
        f"{begin}<small>{kind}</small>{unsure if unsaved else ''}"
        f"<a class='safegen-export' download='{escape(context.name)}.json' "
        f"href='data:application/json;base64,{content}'>{escape(say('Export'))}</a></div>"
    )


# ---------------------------------------------------------------------- status


def lines(title: str, rows: Iterable[tuple[str, str, str]]) -> str:
    """A titled list: each line's name, value, and style: good, bad, or empty."""
    body = "".join(
        f"<tr><th scope='row'>{escape(spoken(name))}</th>"
        f"<td{f' class=safegen-{style}' if style else ''}>{escape(spoken(value))}</td></tr>"
        for name, value, style in rows
    )
    return (
        f"<section class='safegen-lines'><h3>{escape(title)}</h3>"
        f"<table><tbody>{body}</tbody></table></section>"
    )
