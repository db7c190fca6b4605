"""A prompt with its risky stretches replaced, everything else left character for character."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from safegen.contexts.context import SafetyContext
from safegen.contexts.replacements import replacement
from safegen.detectors.protocol import Span
from safegen.errors import InvalidValue

_ARTICLE = re.compile(r"\b(an?)(\s+[(\[]*)$", re.IGNORECASE)
_VOWEL_SOUND = re.compile(
    r"(?!uni(?![dmn])|us[aeiu]|eu|ewe|one\b|once\b)[aeiou]|hour|honest|honou?r|heir",
    re.IGNORECASE,
)


def _fit_article(before: str, following: str) -> str:
    """``before`` with its closing "a" or "an" made to fit the word that now follows.

    Goes by spelling, with the commonest exceptions ("a unicorn", "an hour").
    """
    match, following = _ARTICLE.search(before), following.lstrip("([")
    if match is None or not following[:1].isalpha():
        return before
    article = match.group(1)
    wanted = "an" if _VOWEL_SOUND.match(following) else "a"
    if article.lower() == wanted:
        return before
    fitted = wanted.capitalize() if article[0].isupper() else wanted
    return before[: match.start(1)] + fitted + match.group(2)


def _close_gap(before: str, after: str) -> tuple[str, str]:
    """What stands around a dropped word, without the blank or the comma it leaves over."""
    left, right = before.rstrip(" "), after.lstrip(" ")
    begins = not before or before[-1].isspace() or before[-1] in "([|:"
    if right.startswith(",") and (not left or left[-1] in ",([|:"):
        right = right[1:]
        return before, right.removeprefix(" ") if begins else right
    if left.endswith(",") and (not right or right[0] in ")]|:"):
        return left[:-1], right
    if begins and after.startswith(" "):
        return before, right
    if before.endswith(" ") and (not after or after[0].isspace() or after[0] in ",.;:|)]"):
        return before[:-1], after
    return before, after


_NUMBER = r"\s*[-+]?(?:\d+\.?\d*|\.\d+)\s*"
_EMPTIED = tuple(
    (re.compile(rf"(?<!\\)(?:\\\\)*(?P<opened>{opened})\Z"), re.compile(closed))
    for opened, closed in (
        (r"\(\s*", rf"\s*(?::{_NUMBER})?\)"),  # () and (:1.2)
        (r"\[\s*(?:\|\s*)*", r"\s*(?:\|\s*)*\]"),  # [] and [||]
        (r"\[\s*(?::\s*)?", rf"\s*(?::\s*)?:{_NUMBER}\]"),  # [:0.5] and [::0.5]
    )
)
"""What stands before and behind a dropped word that was all there was in its brackets."""


def _drop_empty(before: str, after: str) -> tuple[str, str]:
    """What stands around a dropped word, without the brackets that have nothing in them now.

    Emphasis and prompt editing of nothing say nothing; ``[|cat]`` and ``[cat::0.5]`` do.
    """
    for opened, closed in _EMPTIED:
        left, right = opened.search(before), closed.match(after)
        if left and right:
            return _drop_empty(before[: left.start("opened")], after[right.end() :])
    return before, after


def merge_spans(spans: Iterable[Span]) -> list[tuple[int, int]]:
    """The stretches that ``spans`` cover, in order, overlapping ones joined."""
    merged: list[tuple[int, int]] = []
    for span in sorted(spans):
        if merged and span.start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], span.end))
        else:
            merged.append((span.start, span.end))
    return merged


def _letters(text: str) -> str:
    return "".join(text.split())


def _pieces(prompt: str, spans: Sequence[Span], context: SafetyContext) -> dict[Span, str]:
    """What takes the place of the pieces of words that syntax cuts: one replacement for each
    word, in its first piece, and nothing in the others."""
    found: dict[Span, str] = {}
    missing: dict[tuple[str, str, str], str] = {}
    for span in sorted(spans):
        if not span.whole:
            continue
        key = (span.whole, span.category, span.detector)
        piece, rest = _letters(prompt[span.start : span.end]), missing.get(key, "")
        if rest.startswith(piece):
            found[span] = ""
        else:
            rest = _letters(span.whole)
            found[span] = replacement(span.whole, context)
        missing[key] = rest.removeprefix(piece)
    return found


def rewrite(prompt: str, spans: Sequence[Span], context: SafetyContext) -> str:
    """``prompt`` with each span replaced by the context's neutral words.

    Everything outside the spans stays as it is, character for character, but for what a dropped
    word leaves over (blanks, a comma, brackets with nothing else in them) and the article before
    the span. A word that
    is cut by syntax, such as ``(bl:1.2)ood``, has one replacement, not one for each piece.

    Raises `InvalidValue` for a span that lies outside the prompt.
    """
    result, position = "", 0
    of_pieces = {
        (span.start, span.end): word for span, word in _pieces(prompt, spans, context).items()
    }
    for start, end in merge_spans(spans):
        if not 0 <= start < end <= len(prompt):
            raise InvalidValue("span", (start, end), f"a stretch within 0 to {len(prompt)}")
        result += prompt[position:start]
        rest = prompt[max(position, end) :]
        word = of_pieces.get((start, end))
        if word is None:
            word = replacement(prompt[start:end], context)
        if not word:
            result, rest = _close_gap(*_drop_empty(result, rest))
        result = _fit_article(result, word or rest) + word
        position = len(prompt) - len(rest)
    return result + prompt[position:]
