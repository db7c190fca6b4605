import pytest

from safegen.text.encoded import encoded
from safegen.text.passage import Passage
from safegen.text.syntax import literal, prepare
from safegen.text.words import tokenize


def words(prompt: str) -> list[list[str]]:
    """The words of every text that the tokenizer reads in another way."""
    found = encoded(prepare(prompt), literal(prompt))
    return [[token.word for token in tokenize(passage.text)] for passage in found]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a 9bloody9 ball", "a 9 bloody 9 ball"),
        ("qxz@bloody@qxz", "qxz bloody qxz"),
        ("qxz\u200dbloody\u200dqxz", "qxz bloody qxz"),
        ("a x'rebloody ball", "a x re bloody ball"),
        ("a 'llbloody ball", "a ll bloody ball"),
        ("q\u0336bloody", "q bloody"),
    ],
)
def test_words_end_where_letters_end(prompt: str, expected: str) -> None:
    assert expected.split() in words(prompt)


@pytest.mark.parametrize(
    "prompt",
    ["a red ball, on the beach", "8k, f2, 35 mm", "well-known ball", "cafe\u0301 de\u0301ja\u0300"],
)
def test_what_is_read_alike_comes_once(prompt: str) -> None:
    assert words(prompt) == []


@pytest.mark.parametrize(
    "prompt",
    [
        "a bl\x1b\\[36moody ball",
        "a bl\x1b[36moody ball",
        "a \uff42\uff4c\uff4f\uff4f\uff44\uff59 ball".encode().decode("latin-1"),
    ],
)
def test_what_the_tokenizer_repairs_is_read_repaired(prompt: str) -> None:
    pytest.importorskip("ftfy")
    assert ["a", "bloody", "ball"] in words(prompt)


def test_every_letter_has_a_place_in_the_prompt() -> None:
    pytest.importorskip("ftfy")
    for prompt in ("a bl\x1b\\[36moody ball", "(9bloody9:1.2) x'rebloody", "\x1b[36m", "\x00"):
        for passage in encoded(prepare(prompt), literal(prompt)):
            assert len(passage.places) == len(passage.text)
            assert all(0 <= place <= len(prompt) for place in passage.places)


def test_a_repaired_word_stands_where_it_was() -> None:
    pytest.importorskip("ftfy")
    prompt = "a bl\x1b[36moody ball"
    whole = Passage(prompt, tuple(range(len(prompt))))
    found = next(one for one in encoded([whole], []) if "bloody" in one.text)
    start = found.text.index("bloody")
    first, last = found.original(start, start + len("bloody"))
    assert prompt[first:last] == "bl\x1b[36moody"
