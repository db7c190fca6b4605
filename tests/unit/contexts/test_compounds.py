"""Rewrites of a part of a word: all of the word goes, and no hyphen is left over."""

import pytest

from safegen.conditioning.compounds import widened
from safegen.conditioning.rewriting import rewrite
from safegen.contexts.library import presets
from safegen.detectors.protocol import Span

CONTEXT = presets()["sexual"]


def rewritten(prompt: str, *words: str) -> str:
    """``prompt`` with the first of each of ``words`` taken for risky."""
    places = [(prompt.index(word), len(word)) for word in words]
    return rewrite(
        prompt,
        [Span(at, at + n, "sexual", "x", "", w) for (at, n), w in zip(places, words, strict=True)],
        CONTEXT,
    )


@pytest.mark.parametrize(
    ("text", "found", "whole"),
    [
        ("woman,self-gratification, tree", "gratification", "self-gratification"),
        ("a non-existent coat", "non", "non-existent"),
        ("a half-un-dressed doll", "un", "half-un-dressed"),
        ("a comicporn page", "porn", "comicporn"),
        ("a porn - page", "porn", "porn"),
        ("(porn:1.2), page", "porn", "porn"),
        ("裸porn", "porn", "porn"),
        ("1porn", "porn", "porn"),
    ],
)
def test_a_span_of_a_part_of_a_word_becomes_the_whole_word(
    text: str, found: str, whole: str
) -> None:
    start = text.index(found)
    (span,) = widened(text, [Span(start, start + len(found), "sexual", "x")])
    assert text[span.start : span.end] == whole


def test_pieces_that_syntax_cuts_are_no_longer_than_they_were() -> None:
    pieces = [Span(1, 3, "sexual", "x", "porn"), Span(8, 10, "sexual", "x", "porn")]
    assert widened("(po:1.2)rn-site", pieces) == pieces


@pytest.mark.parametrize(
    ("prompt", "words", "expected"),
    [
        ("woman,self-gratification, tree", ["gratification"], "woman,friendly, tree"),
        ("statue, self-gratification, self-arousal", ["gratification", "arousal"],
         "statue, friendly"),
        ("statue, non-existent clothes, tree", ["non", "existent", "clothes"],
         "statue, coat, tree"),
        ("tree, two ex-warlords", ["warlords"], "tree, two teachers"),
        ("comicporn, tree", ["porn"], "portrait, tree"),
    ],
)  # fmt: skip
def test_a_compound_is_exchanged_as_a_whole(prompt: str, words: list[str], expected: str) -> None:
    assert rewritten(prompt, *words) == expected


def test_what_takes_the_place_of_a_verb_has_its_ending() -> None:
    assert rewritten("a woman orgasming", "orgasm") == "a woman smiling"
