"""A prompt with its risky stretches replaced, everything else left character for character."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from safegen.conditioning.clauses import (
    QUOTED,
    SENTENCE,
    clauses,
    is_only_style,
    of_another_language,
)
from safegen.conditioning.compounds import widened
from safegen.conditioning.rebuilding import rebuilt
from safegen.conditioning.remains import tells, tells_of_them
from safegen.contexts.context import SafetyContext
from safegen.contexts.grammar import FUNCTION, forms
from safegen.contexts.replacements import Replacer, has_more, is_shipped
from safegen.detectors.protocol import LEFT, MODEL, Span
from safegen.errors import InvalidValue
from safegen.text.words import tokenize

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
    if left.endswith(",") and (not right or right[0] in ")]|:.;!?"):
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


def check_spans(prompt: str, spans: Iterable[Span]) -> None:
    """Raise `InvalidValue` for a span that lies outside the prompt."""
    for span in spans:
        if not 0 <= span.start < span.end <= len(prompt):
            allowed = f"a stretch within 0 to {len(prompt)}"
            raise InvalidValue("span", (span.start, span.end), allowed)


def _letters(text: str) -> str:
    return "".join(text.split())


_BEFORE = re.compile(r"([\w'’-]+)[\s(\[]+$")
_AFTER = re.compile(r"(?::[\d.]+)?[\s)\]]+([\w'’-]+)")


def _neighbours(before: str, after: str) -> tuple[str, str]:
    """The word before and the word after, in the same clause; empty where there is none."""
    left, right = _BEFORE.search(before[-80:]), _AFTER.match(after[:80])
    return left[1] if left else "", right[1] if right else ""


def _pieces(prompt: str, spans: Sequence[Span], replace: Replacer) -> dict[Span, str]:
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
            found[span] = replace(
                span.whole, *_neighbours(prompt[: span.start], prompt[span.end :])
            )
        missing[key] = rest.removeprefix(piece)
    return found


_SHORTEST = 4
"""Words a clause must have to be made anew."""
_SHORT = 2
"""Words it must have if it is beyond exchange."""
_SYNTAX = re.compile(r"[|()\[\]{}<>\\]|\b(?:BREAK|AND)\b")
_LIST = 4
"""Clauses with something risky in them that make a list."""
_MOST = 2
"""Stretches of a clause that are exchanged one by one; with more it is made anew."""
_DONE_TO = re.compile(
    r"\s*(?:(?:and|but|then|while|as)\s+)?(?:he|she|they|it)\b.*"
    r"\b(?:him|them|each other|one another|her(?=\s*$))",
    re.IGNORECASE,
)
"""A clause that says what one of those in the clause before does to another."""


def rewrite(prompt: str, spans: Sequence[Span], context: SafetyContext) -> str:
    """``prompt`` with each span replaced by the context's neutral words.

    A span goes for the word or the hyphenated compound that it is a part of. Everything outside
    the spans stays as it is, character for character, but for what a dropped word leaves over
    (blanks, a comma, brackets with nothing else in them) and the article before the span. What only
    the model found is left out, as it was when the model was asked. A word that is cut by syntax,
    such as ``(bl:1.2)ood``, has one replacement, not one for each piece. A clause that has too many
    spans, one that no table has a word for, or one that speaks for harm without what is exchanged,
    is made anew from what is harmless in it; and so is a sentence in which somebody of one clause
    does something to somebody of another.

    Where the context's own text takes a clause's place, nothing else is told beside it; how the
    picture is made stays.

    Raises `InvalidValue` for a span that lies outside the prompt.
    """
    check_spans(prompt, spans)
    if not is_shipped(context):
        return _rewritten(prompt, spans, context)
    return _alone(_rewritten(prompt, widened(prompt, spans), context), context.safe_text)


def _alone(text: str, safe: str) -> str:
    """``text`` without what is told beside ``safe``, which stands for all of it."""
    start = text.find(safe)
    if start < 0 or _SYNTAX.search(text):
        return text
    around = (text[:start], text[start + len(safe) :])
    before, after = (
        [part[a:b].strip() for a, b in clauses(part) if is_only_style(part[a:b])] for part in around
    )
    return ", ".join([*before, safe, *after])


def _rewritten(prompt: str, spans: Sequence[Span], context: SafetyContext) -> str:
    """What `rewrite` gives, though more may be told beside the context's own text."""
    listed = _listed(prompt, spans) if is_shipped(context) else None
    if listed:
        return prompt[: listed[0]] + context.safe_text + prompt[listed[1] :]
    exchanged, doubtful = _exchanged(prompt, spans, context)
    whole = [span for span in spans if span.whole]
    for start, end, beyond in reversed(doubtful):
        if any(span.meets(start, end) for span in whole):
            continue
        if len(prompt[start:end].split()) < (_SHORT if beyond else _SHORTEST):
            continue
        inside = [(s - start, e - start) for s, e in merge_spans(spans) if start <= s and e <= end]
        opened = prompt[start:end].count('"') % 2 == 1
        clause = QUOTED.sub(lambda m: " " * len(m[0]), prompt[start:end])
        text = rebuilt(clause, inside, context, prompt[:start]) if inside else ""
        told = _told(prompt)
        if text is None and 2 * (end - start) >= told and not (told and is_only_style(clause)):
            text = context.safe_text
        if text is None and len(clause.split()) < _SHORTEST:
            text = context.fallback or None
        if text is None and not beyond:
            continue
        first = [span for span in spans if span.end <= start]
        moved = [
            replace(span, start=span.start - end, end=span.end - end)
            for span in spans
            if span.start >= end
        ]
        before = _rewritten(prompt[:start], first, context)
        after = _without_quote(_exchanged(prompt[end:], moved, context)[0], opened)
        if not text or (text == context.safe_text and text in before + after):
            return "".join(_close_gap(*_drop_empty(*_unended(before, after))))
        clause = prompt[start:end]
        left = clause[: len(clause) - len(clause.lstrip())]
        right = clause[len(clause.rstrip()) :]
        return before + left + _articles(text) + right + after
    return exchanged


def _listed(prompt: str, spans: Sequence[Span]) -> tuple[int, int] | None:
    """From where to where a list goes of which most is risky: exchanged, it would say nothing."""
    every = clauses(prompt)
    risky = [(a, b) for a, b in every if any(a <= span.start < b for span in spans)]
    others = [(a, b) for a, b in every if (a, b) not in risky and not is_only_style(prompt[a:b])]
    if len(risky) < max(_LIST, len(others) + 1):
        return None
    start, end = risky[0][0], risky[-1][1]
    start += len(prompt[start:end]) - len(prompt[start:end].lstrip())
    first, last = min(span.start for span in spans), max(span.end for span in spans)
    whole = start <= first and last <= end and not _SYNTAX.search(prompt[start:end])
    return (start, end) if whole else None


def _told(prompt: str) -> int:
    """How much of ``prompt`` says what is on the picture."""
    every = clauses(prompt)
    return sum(len(prompt[a:b]) for a, b in every if not is_only_style(prompt[a:b]))


def _unended(before: str, after: str) -> tuple[str, str]:
    """What stands around a dropped clause, without the stop of a sentence that is gone."""
    if not before.strip() or before.rstrip()[-1] in ".!?":
        after = re.sub(r"^\s*[.!?]+", "", after)
    return before, after


def _without_quote(text: str, opened: bool) -> str:
    """``text`` without the quotation mark that closes what is gone."""
    return text.replace('"', "", 1) if opened else text


_ARTICLES = re.compile(r"\b(an?)(\s+)(?=([A-Za-z]+))", re.IGNORECASE)


def _articles(text: str) -> str:
    """``text`` with every "a" and "an" made to fit what follows."""
    return _ARTICLES.sub(lambda m: _fit_article(m[1] + m[2], m[3]), text)


def _exchanged(
    prompt: str, spans: Sequence[Span], context: SafetyContext
) -> tuple[str, list[tuple[int, int, bool]]]:
    """``prompt`` with each span exchanged, and the clauses in which that was a guess; and of each
    whether it is beyond exchange, as what is left of it tells of harm."""
    result, position = "", 0
    replacer = Replacer(context)
    of_pieces = {
        (span.start, span.end): word for span, word in _pieces(prompt, spans, replacer).items()
    }
    readings = {(span.start, span.end): span.reading for span in spans if span.reading}
    left_out = _only_by_the_model(spans)
    merged = merge_spans(spans)
    starts = {start for start, _ in merged}
    doubts: list[int] = []
    capitals: list[int] = []
    for start, end in merged:
        result += prompt[position:start]
        rest = prompt[max(position, end) :]
        word = "" if (start, end) in left_out else of_pieces.get((start, end))
        if word is None:
            following = end + len(prompt[end:]) - len(prompt[end:].lstrip())
            guesses = replacer.guesses
            around = _neighbours(result, rest)
            word = replacer(
                prompt[start:end],
                *around,
                reading=readings.get((start, end), ""),
                risky=following in starts,
                rest=_rest(rest),
            )
            word = _not_twice(word, *around)
            if replacer.guesses > guesses:
                doubts.append(start)
        if not word:
            begins = not result.strip() or result.rstrip()[-1] in ".!?"
            result, rest = _close_gap(*_drop_empty(result, rest))
            if begins and prompt[start].isupper():
                capitals.append(len(result))
        result = _fit_article(result, word or rest) + word
        position = len(prompt) - len(rest)
    by_words = any(stretch not in left_out for stretch in merged)
    left = [span.start for span in spans if span.detector == LEFT]
    doubtful = []
    for first, last in clauses(prompt):
        ranges = [(a, b) for a, b in merged if first <= a < last and (a, b) not in left_out]
        inside = [start for start, _ in ranges]
        kept = _kept(prompt, first, last, merged)
        if not inside:
            if by_words and tells_of_them(kept):
                doubtful.append((first, last, True))
            continue
        categories = {span.category for span in spans if span.start in inside}
        beyond = any(start in left for start in inside)
        beyond = beyond or all(map(_says_nothing, (prompt[slice(*r)] for r in ranges)))
        beyond = beyond or tells(kept, sexual=categories <= {"sexual"})
        doubt = any(start in doubts for start in inside)
        foreign = of_another_language(prompt[first:last])
        beyond = beyond or (foreign and (doubt or is_shipped(context)))
        doubt = doubt or len(inside) > _MOST
        doubt = doubt or _acted(prompt[first:last])
        if beyond or doubt or _says(prompt[first:last]) or has_more(kept):
            doubtful.append((first, last, beyond))
    result += prompt[position:]
    for place in capitals:
        result = result[:place] + result[place : place + 1].upper() + result[place + 1 :]
    return result, doubtful


def _says_nothing(found: str) -> bool:
    """Whether in ``found`` there is no word that says of itself what is to be seen: what stands
    around it is what is meant."""
    every = [token.word for token in tokenize(found)]
    return all(word in FUNCTION or {form.part for form in forms(word)} == {"r"} for word in every)


def _rest(text: str) -> str:
    """The beginning of ``text`` that is of the sentence before it."""
    found = SENTENCE.match(text)
    return found[0] if found else ""


def _says(clause: str) -> bool:
    """Whether somebody in it says something, or a sign."""
    return any(len(said[0].split()) > 1 for said in QUOTED.finditer(clause))


def _kept(prompt: str, first: int, last: int, merged: Sequence[tuple[int, int]]) -> str:
    """What of a clause is not exchanged."""
    position, kept = first, ""
    for start, end in merged:
        if first <= start < last:
            kept += prompt[position:start] + " "
            position = end
    return kept + prompt[position:last]


def _only_by_the_model(spans: Sequence[Span]) -> set[tuple[int, int]]:
    """The merged stretches in which no detector that reads words found anything."""
    found = set()
    for start, end in merge_spans(spans):
        inside = [span for span in spans if start <= span.start and span.end <= end]
        if all(span.detector == MODEL for span in inside):
            found.add((start, end))
    return found


def _acted(sentence: str) -> bool:
    """Whether a clause of it says what somebody in another does to somebody: next to what is risky
    that may be harm without a word for it."""
    return any(map(_DONE_TO.match, sentence.split(",")[1:]))


def _not_twice(word: str, before: str, after: str) -> str:
    """``word`` without a first or last word that already stands there."""
    words = word.split()
    if words and words[0].lower() == before.lower():
        words = words[1:]
    if words and words[-1].lower() == after.lower():
        words = words[:-1]
    return " ".join(words) if len(words) < len(word.split()) else word
