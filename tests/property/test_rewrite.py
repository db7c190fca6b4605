"""Whatever a prompt's syntax, a rewrite touches the risky words and nothing else."""

import re

from hypothesis import assume, given
from hypothesis import strategies as st

from safegen.conditioning.rewriting import rewrite
from safegen.conditioning.strategies import condition, condition_parts
from safegen.contexts.context import SafetyContext
from safegen.detectors.auto import risky_spans
from safegen.text.syntax import parts

NEUTRAL = {"blood": "water", "knife": "brush", "corpse": "statue"}
CONTEXT = SafetyContext("x", "X", "violence", "", "calm", "gore", NEUTRAL, "calm")

WORDS = st.sampled_from([*NEUTRAL, "cat", "red", "tree"])
FRAGMENTS = st.one_of(
    WORDS,
    st.builds("({}:1.2)".format, WORDS),
    st.builds("[{}]".format, WORDS),
    st.builds("(({}))".format, WORDS),
    st.builds("[{}:{}:0.5]".format, WORDS, WORDS),
    st.builds("[{}:7]".format, WORDS),
    st.builds("[{}|{}]".format, WORDS, WORDS),
    st.builds("<lora:{}:0.8>".format, WORDS),
    st.builds("{},".format, WORDS),
    st.sampled_from(["BREAK", "AND", ":0.7 AND", "\n", r"\(", "__wild__", "masterpiece, 8k"]),
)
PROMPTS = st.lists(FRAGMENTS, max_size=12).map(" ".join)
RISKY = re.compile(rf"<[^>]*>|\b({'|'.join(NEUTRAL)})\b")


REPEATED = re.compile(rf"\b({'|'.join(NEUTRAL.values())})[\s(\[]*\1\b")


def expected(prompt: str) -> str:
    """The rewrite. No word of it stands twice in a row; such prompts are left out here."""
    text = RISKY.sub(lambda m: NEUTRAL[m[1]] if m[1] else m[0], prompt)
    assume(not REPEATED.search(text))
    return text


@given(PROMPTS)
def test_only_the_risky_words_change(prompt: str) -> None:
    wanted = expected(prompt)
    assert rewrite(prompt, risky_spans(prompt, CONTEXT, []), CONTEXT) == wanted


@given(PROMPTS)
def test_part_by_part_gives_the_same_as_the_whole(prompt: str) -> None:
    spans = risky_spans(prompt, CONTEXT, [])
    whole = condition(prompt, CONTEXT, "counterpart", spans=spans)
    if whole.strategy == "counterpart":
        assert whole.text == expected(prompt)
        each = condition_parts(prompt, CONTEXT, "counterpart", spans=spans)
        assert [one.text for one in each] == [part.text for part in parts(expected(prompt))]
    else:
        assert expected(prompt) == prompt
        assert "calm" in whole.text
        assert whole.note


@given(PROMPTS)
def test_the_result_has_nothing_left_to_replace(prompt: str) -> None:
    safe = rewrite(prompt, risky_spans(prompt, CONTEXT, []), CONTEXT)
    assert risky_spans(safe, CONTEXT, []) == ()


DROPPED = SafetyContext("x", "X", "violence", "", "calm", "gore", dict.fromkeys(NEUTRAL, ""), "")
Piece = tuple[str, str]
"""What is written, and what is to be left of it."""


def _left(word: str) -> str:
    return "" if word in NEUTRAL else word


def _round(weight: str, *words: str) -> Piece:
    left = ", ".join(filter(None, map(_left, words)))
    return f"({', '.join(words)}{weight})", f"({left}{weight})" if left else ""


def _nested(outer: str, inner: Piece) -> Piece:
    """Brackets around other brackets; ``outer`` has an X where those go."""
    return outer.replace("X", inner[0]), outer.replace("X", inner[1]) if inner[1] else ""


def _switched(before: str, after: str, when: str) -> Piece:
    left = _left(before), _left(after)
    return f"[{before}:{after}:{when}]", f"[{left[0]}:{left[1]}:{when}]" if any(left) else ""


def _turns(*options: str) -> Piece:
    left = [_left(option) for option in options]
    return f"[{'|'.join(options)}]", f"[{'|'.join(left)}]" if any(left) else ""


_AS_IT_IS = ["BREAK", "<lora:blood:0.8>", r"\(", r"\)", "__wild__", "masterpiece, 8k", r"\\"]
_BRACKETS = st.one_of(
    st.builds(_round, st.sampled_from(["", ":1.2", ": .5 "]), WORDS),
    st.builds(_round, st.sampled_from(["", ":1.2"]), WORDS, WORDS),
    st.builds(lambda word: (f"[{word}]", f"[{_left(word)}]" if _left(word) else ""), WORDS),
    st.builds(_switched, WORDS, WORDS, st.sampled_from(["0.5", "7"])),
    st.builds(_turns, WORDS, WORDS),
    st.builds(_turns, WORDS, WORDS, WORDS),
)
PIECES = st.one_of(
    st.builds(lambda word: (word, _left(word)), WORDS),
    _BRACKETS,
    st.builds(_nested, st.sampled_from(["(X)", "((X:1.3))", "[X]", "[X:0.3]"]), _BRACKETS),
    st.sampled_from(_AS_IT_IS).map(lambda text: (text, text)),
)


def _words(text: str) -> str:
    """``text`` whatever the blanks and commas between its pieces."""
    return " ".join(re.sub(r"\s*,\s*|\s+", " ", text).split())


@given(st.lists(PIECES, max_size=10), st.sampled_from([" ", ", "]))
def test_dropped_words_leave_no_empty_brackets_and_all_else_as_it_was(
    pieces: list[Piece], between: str
) -> None:
    prompt = between.join(written for written, _ in pieces)
    safe = rewrite(prompt, risky_spans(prompt, DROPPED, []), DROPPED)
    assert _words(safe) == _words(between.join(left for _, left in pieces if left))
    if between == ", " and safe != prompt:
        assert ", ," not in safe
        assert ",," not in safe


@given(st.lists(st.lists(PIECES, min_size=1, max_size=4), min_size=2, max_size=4))
def test_parts_keep_their_number_and_weights(of_parts: list[list[Piece]]) -> None:
    prompt = " AND ".join(
        " ".join(written for written, _ in pieces) + f" cat :0.{number + 1}"
        for number, pieces in enumerate(of_parts)
    )
    spans = risky_spans(prompt, DROPPED, [])
    done = condition_parts(prompt, DROPPED, "counterpart", spans=spans)
    if any(one.strategy == "prepend" for one in done):
        return
    assert [_words(one.text) for one in done] == [
        _words(" ".join(left for _, left in pieces if left) + " cat") for pieces in of_parts
    ]
    whole = condition(prompt, DROPPED, "counterpart", spans=spans).text
    assert [part.weight for part in parts(whole)] == [part.weight for part in parts(prompt)]
