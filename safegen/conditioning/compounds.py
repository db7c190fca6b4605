"""Stretches that cover a part of a word, made to cover all of it: *self-gratification*, not its
second half, or a hyphen and half a word are left over."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from safegen.detectors.protocol import Span

_LETTER = "A-Za-zÀ-ɏ"
_BEFORE = re.compile(rf"[{_LETTER}]*(?:[{_LETTER}]-[{_LETTER}]*)*\Z")
_AFTER = re.compile(rf"[{_LETTER}]*(?:-[{_LETTER}]+)*")
_LONGEST = 40
"""Letters to either side that are looked at."""


def widened(text: str, spans: Sequence[Span]) -> list[Span]:
    """``spans``, those in a word of Latin letters or a hyphenated compound as long as that is.

    What a span was read as is kept unless it is of a compound. Pieces of words that syntax cuts
    stay as they are.
    """
    return sorted(span if span.whole else _widened(text, span) for span in spans)


def _widened(text: str, span: Span) -> Span:
    start, end = span.start, span.end
    if re.match(rf"[{_LETTER}-]", text[start]):
        found = _BEFORE.search(text[max(0, start - _LONGEST) : start])
        start -= len(found[0]) if found else 0
    if re.match(rf"[{_LETTER}-]", text[end - 1]):
        found = _AFTER.match(text[end : end + _LONGEST])
        end += len(found[0]) if found else 0
    if (start, end) == (span.start, span.end):
        return span
    joined = "-" in text[start : span.start] + text[span.end : end]
    return replace(span, start=start, end=end, reading="" if joined else span.reading)
