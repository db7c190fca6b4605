import pytest

from safegen.text.spelling import Spelling
from safegen.text.words import tokenize

SPELLING = Spelling(["knife", "bloody", "corpse", "naked", "penis", "rapist", "stab"])


def read(text: str) -> list[str]:
    return [token.word for token in SPELLING.read(tokenize(text))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("knfe", ["knife"]),
        ("knnife", ["knife"]),
        ("knfie", ["knife"]),
        ("blody corps", ["bloody", "corps"]),  # a word of its own
        ("naekd", ["naked"]),
        ("stba", ["stba"]),  # too short to be sure
        ("nife", ["nife"]),  # the first letter has to be right
        ("bloodyknife", ["bloody", "knife"]),
        ("kitchenknife", ["kitchen", "knife"]),
        ("blo ody", ["bloody"]),
        ("a pen is here", ["a", "pen", "is", "here"]),
        ("the rap is t", ["the", "rap", "is", "t"]),
        ("therapist", ["therapist"]),
        ("xnaked qzbloody", ["x", "naked", "qz", "bloody"]),
        ("qzstab", ["qz", "stab"]),
        ("blo, ody", ["blo", "ody"]),
        ("rutkowski artstation greg", ["rutkowski", "artstation", "greg"]),
    ],
)
def test_unknown_words_are_read_as_what_was_meant(text: str, expected: list[str]) -> None:
    assert read(text) == expected


def test_words_run_together_keep_their_places() -> None:
    first, second = SPELLING.read(tokenize("a bloodyknife"))[1:]
    assert (first.start, first.end, second.start, second.end) == (2, 8, 8, 13)


def test_what_was_written_remains_a_reading() -> None:
    (token,) = SPELLING.read(tokenize("knfe"))
    assert token.readings == ("knife", "knfe")


def test_a_harmless_word_is_not_torn_nor_taken_for_a_slip() -> None:
    wanted = ["squaw", "slaughter"]
    assert Spelling(wanted).parts("squawking") == ("squaw", "king")
    harmless = Spelling(wanted, ["squawking", "slaughte"])
    assert harmless.parts("squawking") == ()
    assert harmless.meant("slaughte") == ""


@pytest.mark.parametrize(
    ("word", "held"),
    [
        ("qzbloodyvx", "bloody"),
        ("stabqzvx", "stab"),
        ("qzstabvx", ""),  # too short to be sure within a word
        ("stability", ""),  # a word of its own
        ("bloody", ""),
        ("qzvx", ""),
    ],
)
def test_a_word_that_nobody_knows_may_hold_another(word: str, held: str) -> None:
    assert SPELLING.inside(word) == held
