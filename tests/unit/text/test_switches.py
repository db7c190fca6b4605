"""What switches, turns and brackets without a partner show; the host's own parser is asked in
``tests/webui/test_prompts.py``."""

from __future__ import annotations

import pytest

from safegen.detectors.auto import AutoPolicy
from safegen.errors import GuardFailure
from safegen.text.switches import MOST, Reading
from safegen.text.syntax import misread, prepare

POLICY = AutoPolicy()


def shown(text: str) -> set[str]:
    return {"".join(text[place] for place in one) for one in Reading.of(text).phases()}


def others(text: str) -> set[str]:
    return {"".join(text[place] for place in one) for one in Reading.of(text).others()}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[a:b:2]", {"a", "b"}),
        ("[a:b: 2\n]", {"a", "b"}),
        ("[a:b:1e1]", {"a", "b"}),
        ("[a:b:-1]", {"b"}),
        ("[a:b:0]", {"b"}),
        ("[a:b:\u0663]", {"[a:b:\u0663]"}),  # a number in other digits is none to the host
        ("[a:b:BREAK 2]", {"[a:b:BREAK 2]"}),
        ("[a:b:c:2]", {"[a:b:c:2]"}),
        ("[a|b:2]", {"[a|b:2]"}),
        ("[(a:1.2):b:2]", {"(a:1.2)", "b"}),
        ("[(a:b:1.2):b:2]", {"[(a:b:1.2):b:2]"}),
        ("[a:b:2]]", {"a]", "b]"}),
        (r"[a\:b:c:2]", {r"a\:b", "c"}),
        ("[a:b:5][c:d:9]", {"ac", "bc", "bd"}),  # of one kind: which is first is known
        ("[a:b:5][c:d:0.9]", {"ac", "bc", "ad", "bd"}),
        ("[a:b:5][c:d:5]", {"ac", "bd"}),
        ("[a|b][c|d|e]", {"ac", "bd", "ae", "bc", "ad", "be"}),
    ],
)
def test_what_is_shown(text: str, wanted: set[str]) -> None:
    assert shown(text) == wanted


def test_brackets_that_balance_are_read_in_one_way_and_as_letters() -> None:
    assert others("x [a:b:2]") == {"x [a:b:2]"}
    assert others("x (a) [b]") == set()


@pytest.mark.parametrize("text", ["[a:b:2]]", "x: [a:b:2]", "([a:b:2]", "(a:b:[a:b:2]:2)"])
def test_beside_letters_a_switch_may_be_letters_too(text: str) -> None:
    assert text in others(text)
    assert shown(text) < others(text)


def test_what_some_starts_of_the_host_make_of_unbalanced_brackets_is_read() -> None:
    """One switch is taken for letters and its neighbour isn't: *ba* is in no other text."""
    prompt = "[a|b|c]]:3][a:b:2]([a:b:2])))"
    assert "c]:3]b([a:b:2])))" in others(prompt)
    assert any("]ba:b:2" in passage.text for passage in misread(prompt))


@pytest.mark.parametrize(
    "prompt",
    [
        "a [bl:x:1e1]ood cup",
        "a bl[x:oo:0.3][d:y:5] cup",
        "a [[x:bl:0.3][ood:y:5]:x:2.5] cup",
        "a bl[oo:x:5]]d cup",
        "a [x:bl:2]([ood:y:3])) cup",
        "a bl\\ood cup",
        "a [[bl|x]:y:0.5][ood:z:7] cup",
    ],
)
def test_a_word_in_pieces_is_found(prompt: str) -> None:
    assert POLICY.judge("a blue cup").context is None
    found = POLICY.judge(prompt).context
    assert found is not None
    assert found.category == "violence"


@pytest.mark.parametrize(
    "prompt",
    [
        "".join(f"[a{n}:b:{n}][c:d:0.{n}]" for n in range(1, 40)),
        "[a|" * 2000 + "b" + "]" * 2000,
        "[" + "|" * MOST + "]",
        ")" + "[a:b:2]" * 11,
    ],
)
def test_more_than_can_be_read_stops_the_picture_and_says_what_to_do(prompt: str) -> None:
    assert prepare(prompt)
    with pytest.raises(GuardFailure, match=r"Use fewer, put blanks .* and close every bracket"):
        POLICY.judge(prompt)


def test_many_switches_in_words_of_their_own_can_be_read() -> None:
    prompt = "style: " + " ".join(["[a cat:a dog:0.5]"] * 30)
    assert POLICY.judge(prompt).context is None
    assert POLICY.judge(f"{prompt} bl[oody:x:0.5]").context is not None
