import pytest
from hypothesis import given
from hypothesis import strategies as st

from safegen.text.words import fold, tokenize


def words(text: str) -> list[str]:
    return [token.word for token in tokenize(text)]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("BLOOD", "blood"),
        ("blöód", "blood"),
        ("blo\u0308od", "blood"),
        ("b\u200bl\u2060o\u00adod", "blood"),
        ("blооd", "blood"),  # Cyrillic o
        ("ｂｌｏｏｄ", "blood"),
        ("𝓫𝓵𝓸𝓸𝓭", "blood"),
        ("bl00d", "blood"),
        ("b l o o d", "blood"),
        ("b.l.o.o.d", "blood"),
        ("b-l-o-o-d", "blood"),
        ("b l 0 0 d", "blood"),
        ("bloooood", "blood"),
        ("$ex", "sex"),
        ("@ss", "ass"),
        ("ki$$", "kiss"),
        ("man's", "man"),
        ("straße", "strasse"),
    ],
)
def test_a_disguised_word_is_read_as_it_is_meant(written: str, meant: str) -> None:
    (token,) = tokenize(written)
    assert token.word == meant
    assert written[token.start : token.end] == written


@pytest.mark.parametrize("written", ["8k", "35mm", "1girl", "2girls", "f1", "1920", "3d"])
def test_numbers_stay_numbers(written: str) -> None:
    assert words(written) == [written]


def test_a_one_may_be_an_i_or_an_l() -> None:
    assert "kill" in tokenize("k1ll")[0].readings
    assert "slut" in tokenize("s1ut")[0].readings


def test_punctuation_and_line_ends_divide_clauses() -> None:
    assert [t.clause for t in tokenize("a b, c\nd (e)")] == [0, 0, 1, 2, 3]


def test_single_letters_that_are_words_stay_apart() -> None:
    assert words("a b") == ["a", "b"]
    assert words("it is a cat") == ["it", "is", "a", "cat"]


@given(st.text())
def test_every_word_stands_where_it_says(text: str) -> None:
    start = 0
    for token in tokenize(text):
        # One character can hold two words: ¼ is 1 and 4.
        assert start <= token.start < token.end <= len(text)
        assert token.word == token.readings[0]
        start = token.start


@given(st.text())
def test_folded_letters_know_their_places(text: str) -> None:
    folded, places = fold(text)
    assert len(places) == len(folded) + 1
    assert list(places) == sorted(places)
    assert places[-1] == len(text)


@given(st.lists(st.sampled_from(["blood", "knife", "cat", "tree"]), min_size=1, max_size=5))
def test_invisible_characters_change_nothing_but_places(parts: list[str]) -> None:
    plain = " ".join(parts)
    hidden = "\u200b".join(plain)
    assert words(hidden) == words(plain)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bl&#111;ody", ["bloody"]),
        ("&#x62;loody knife", ["bloody", "knife"]),
        ("bl&amp;#111;ody", ["bloody"]),  # the tokenizer resolves twice
        ("salt &amp; pepper", ["salt", "pepper"]),
        ("R&B, &nosuchthing;", ["r", "b", "nosuchthing"]),
        ("&#32;x", ["x"]),
    ],
)
def test_html_entities_are_read_as_the_tokenizer_reads_them(text: str, expected: list[str]) -> None:
    assert words(text) == expected
    assert all(0 <= t.start < t.end <= len(text) for t in tokenize(text))


def test_an_entity_belongs_to_its_word() -> None:
    (token, _) = tokenize("bl&#111;&#111;dy cat")
    assert (token.start, token.end) == (0, len("bl&#111;&#111;dy"))


def test_scripts_without_blanks_are_read_character_by_character() -> None:
    assert words("地上的血") == ["地", "上", "的", "血"]
    assert len(words("피투성이 시체")) == 2  # Korean has blanks


def test_a_cyrillic_word_is_a_word_and_not_a_disguise() -> None:
    assert words("кот на столе") == ["кот", "на", "столе"]
    assert words("blооd") == ["blood"]  # two of its letters are Cyrillic
    assert "pop" in tokenize("рор")[0].readings  # all of its letters look like Latin ones


def test_what_is_drawn_to_a_french_or_italian_word_is_taken_off() -> None:
    assert "assassin" in tokenize("l'assassin")[0].readings
    assert tokenize("don't")[0].readings == ("dont",)
