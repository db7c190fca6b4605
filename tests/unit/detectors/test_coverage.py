"""How much of a prompt is known, and what Auto says when it found nothing."""

from __future__ import annotations

import pytest

from safegen.detectors.coverage import known_words, nothing_found


@pytest.mark.parametrize(
    ("prompt", "counts"),
    [
        ("a red ball", (2, 2)),
        ("a ball, a BALL and 3 balls", (2, 2)),
        ("xqz blorp ball", (1, 3)),
        ("a man with 2 of them", (0, 0)),
    ],
)
def test_each_telling_word_counts_once(prompt: str, counts: tuple[int, int]) -> None:
    assert known_words(prompt) == counts


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a red ball", "Auto found nothing unsafe"),
        ("", "Auto found nothing unsafe; it found no words that say anything"),
        ("xqz blorp fnord", "Auto found nothing unsafe, but it knows none of the 3 words"),
        ("xqz blorp ball", "Auto found nothing unsafe, but it knows only 1 of the 3 words"),
        ("blorp ball", "Auto found nothing unsafe"),
    ],
)
def test_nothing_found_in_unknown_words_proves_nothing(prompt: str, said: str) -> None:
    assert nothing_found(prompt) == said
