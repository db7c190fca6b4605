import pytest
from hypothesis import given
from hypothesis import strategies as st

from safegen.text.syntax import prepare

PLAIN = st.text("abc dé,", max_size=12)


def texts(prompt: str) -> list[str]:
    return [" ".join(passage.text.split()) for passage in prepare(prompt)]


@pytest.mark.parametrize(
    ("prompt", "seen"),
    [
        ("a cat", ["a cat"]),
        ("a (bloody:1.3) cat", ["a bloody cat"]),
        ("((a)) [cat] (dog)", ["a cat dog"]),
        ("bl<lora:x:1>ood <hypernet:y:0.5>", ["blood"]),
        (r"\(blood\) \[x\]", ["(blood) [x]"]),
        ("a [cat:corpse:0.5] here", ["a cat here", "a corpse here"]),
        ("[corpse::0.3] here", ["corpse here", "here"]),
        ("[corpse:12] here", ["here", "corpse here"]),
        ("[a|b|c] here", ["a here", "b here", "c here"]),
        ("[a|] here", ["a here", "here"]),
        ("[a:[b|c]:0.5]", ["a", "b", "c"]),
        ("[[a:b:0.2]:c:0.6]", ["a", "b", "c"]),
        ("[a:b:0.5] [c:d:0.5]", ["a c", "b d"]),
        ("[a:b:0.2] [c:d:0.8]", ["a c", "b c", "b d"]),
        ("[a|b] [c|d]", ["a c", "b d"]),
        ("a cat :1.2 AND a corpse :0.5", ["a cat", "a corpse"]),
        ("a cat AND blood :-1", ["a cat"]),
        ("a cat AND blood :0", ["a cat"]),
        ("a BREAK b", ["a b"]),
        ("ratio 16:9", ["ratio 16"]),  # as the host: a number at the end is the part's weight
        ("(a:b:1.1)", ["a:b"]),
        ("a [b", ["a b"]),
        ("a) b]", ["a) b]"]),  # as the host: what closes nothing is a letter
        ("", []),
        ("AND", []),
        ("<lora:x:1>", []),
    ],
)
def test_the_texts_the_model_sees(prompt: str, seen: list[str]) -> None:
    assert texts(prompt) == seen


def test_phases_of_the_second_pass_are_seen_too() -> None:
    assert texts("[a:b:1.5]") == ["a", "b"]


def test_break_divides_clauses_but_not_passages() -> None:
    (passage,) = prepare("on BREAK fire")
    assert "\n" in passage.text


@given(st.text())
def test_places_lead_back_to_the_same_letters(prompt: str) -> None:
    for passage in prepare(prompt):
        assert len(passage.places) == len(passage.text)
        assert list(passage.places) == sorted(set(passage.places))
        for letter, place in zip(passage.text, passage.places, strict=True):
            assert letter in (prompt[place], "\n")


SYNTAX = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.builds("({}:1.2)".format, inner),
        st.builds("[{}]".format, inner),
        st.builds("[{}:{}:0.5]".format, inner, inner),
        st.builds("[{}|{}]".format, inner, inner),
        st.builds("{} <lora:x:1> {}".format, inner, inner),
    ),
    max_leaves=6,
)


@given(SYNTAX, SYNTAX)
def test_no_syntax_is_left_and_no_word_lost(first: str, second: str) -> None:
    prompt = f"{first} AND {second}"
    seen = "".join(texts(prompt))
    assert not set("[]()|<>") & set(seen)
    # Of switches or turns inside others in step with them one side may never be shown.
    if "|" not in prompt and ":0.5]" not in prompt:
        assert set("bcdé") & set(prompt) <= set(seen)


def test_stretches_leave_out_the_syntax_between_letters() -> None:
    prompt = "(blo:1.2)od (naked) man"
    (passage,) = prepare(prompt)
    start = passage.text.index("blood")
    pieces = [prompt[a:b] for a, b in passage.stretches(start, start + 5)]
    assert pieces == ["blo", "od"]
    start = passage.text.index("naked man")
    pieces = [prompt[a:b] for a, b in passage.stretches(start, start + 9)]
    assert pieces == ["naked", "man"]


@pytest.mark.parametrize("stretch", [(0, 0), (-1, 2), (0, 6), (3, 2)])
def test_stretches_outside_the_text_are_refused(stretch: tuple[int, int]) -> None:
    (passage,) = prepare("a cat")
    with pytest.raises(IndexError):
        passage.original(*stretch)


def test_deep_nesting_does_not_break_it() -> None:
    assert texts("(" * 200 + "cat" + ")" * 200) == ["cat"]


@pytest.mark.parametrize(
    "prompt",
    ["[" * 3000 + "cat", "[" * 3000 + "cat" + ":b:5]" * 3000, "[a|" * 3000 + "cat" + "]" * 3000,
     "(" * 3000 + "cat", "[(" * 40 + "cat", "[cat:" * 40 + "cat",
     "[" + "|" * 9000 + "cat]" + "a " * 4000, "[x|[" + "|" * 9000 + "cat]]" + "a " * 4000],
)  # fmt: skip
def test_whatever_is_nested_or_never_closed_is_read_at_once(prompt: str) -> None:
    """Each bracket that is never closed once doubled the time."""
    assert any("cat" in text for text in texts(prompt))


@pytest.mark.parametrize(
    "prompt",
    ["a [[cat::7]:0.3]", "a [[[dog:cat:9]::12]:0.5]", "a [[cat|dog]::0.1]", "a [b|[cat::1]]",
     "a [b:[c:[cat:d:70]:0.9]:50]", "[b:c:0.3][cat:d:5]", "[b:ca:0.3][t:d:5]"],
)  # fmt: skip
def test_a_phase_within_another_is_read_for_runs_of_every_length(prompt: str) -> None:
    assert any("cat" in text for text in texts(prompt))


def test_places_are_right_around_a_tag_beside_brackets() -> None:
    prompt = "one <lora:x:1> two (three:1.2) f<lora:y:1>our"
    (passage,) = prepare(prompt)
    assert passage.text == "one  two three four"
    assert all(
        prompt[place] == letter for place, letter in zip(passage.places, passage.text, strict=True)
    )


def test_a_text_in_two_places_comes_twice() -> None:
    assert [p.places[0] for p in prepare(" cat AND cat ")] == [0, 8]
    assert {p.places[0] for p in prepare("[cat|cat]")} == {1, 5}
