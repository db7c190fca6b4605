"""A rewritten prompt is the prompt but for its risky words, whatever stands around them."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from safegen.conditioning.remains import tells
from safegen.conditioning.rewriting import rewrite
from safegen.conditioning.strategies import condition
from safegen.contexts.context import SafetyContext
from safegen.detectors.protocol import Span

NEUTRAL = {
    "bloody": "clean",
    "knife": "spoon",
    "pool of blood": "pond, blue",
    "gun": "hour",
    "gore": "",
}
CONTEXT = SafetyContext(
    name="own",
    label="Violence",
    category="violence",
    description="",
    safe_text="a calm scene",
    unsafe_text="blood",
    neutral=NEUTRAL,
)
_ARTICLE = re.compile(r"\ban?\s+[(\[]*$", re.IGNORECASE)

_SYNTAX = (
    """( ) (( :1.3) [ ] | :0.5] [a|b] [a:b:12] {x|y} \\( \\ <lora:x:1> __card__ 512x512 日本 🙂"""
)
around = st.one_of(
    st.sampled_from([*_SYNTAX.split(), " BREAK ", "\n", "  ", ",", ", ", " ball "]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)
kept_words = st.sampled_from([word for word, text in NEUTRAL.items() if text])


def prompt_of(pieces: list[tuple[str, bool]]) -> tuple[str, list[Span]]:
    """The prompt that ``pieces`` (text, whether it is risky) make, and the risky spans in it."""
    prompt, spans = "", []
    for text, risky in pieces:
        if risky:
            spans.append(Span(len(prompt), len(prompt) + len(text), "violence", "test"))
        prompt += text
    return prompt, spans


def _apart(pieces: list[tuple[str, bool]]) -> bool:
    """Whether words stand between the risky ones, there are few, and no unknown ones beside them:
    others are made anew, and of a word twice in a row one goes."""
    if tells(" ".join(text for text, risky in pieces if not risky)):
        return False
    near = False
    for text, risky in pieces:
        if risky and near:
            return False
        near = risky or (near and not re.search(r"\w", text))
    return sum(risky for _, risky in pieces) <= 2


@given(st.lists(st.one_of(st.tuples(around, st.just(False)), st.tuples(kept_words, st.just(True)))))
def test_everything_outside_the_spans_stays_to_the_character(
    pieces: list[tuple[str, bool]],
) -> None:
    expected = ""
    for text, risky in pieces:
        assume(not (risky and _ARTICLE.search(expected)))
        expected += NEUTRAL[text] if risky else text
    assume(_apart(pieces))
    prompt, spans = prompt_of(pieces)
    assert rewrite(prompt, spans, CONTEXT) == expected


@given(
    st.lists(
        st.one_of(
            st.tuples(around, st.just(False)),
            st.tuples(st.sampled_from(sorted(NEUTRAL)), st.just(True)),
        )
    )
)
def test_a_dropped_word_takes_blanks_and_commas_at_most(pieces: list[tuple[str, bool]]) -> None:
    """All other characters stay, in their order; articles are looked at elsewhere."""
    prompt, spans = prompt_of(pieces)
    expected = "".join(NEUTRAL[text] if risky else text for text, risky in pieces)

    def bare(text: str) -> str:
        return re.sub(r"[ ,]", "", re.sub(r"\ban(?=\s)", "a", text, flags=re.IGNORECASE))

    assume(not re.search(r"\ban?\b", expected, re.IGNORECASE))
    assume(_apart(pieces))
    result = rewrite(prompt, spans, CONTEXT)
    assert bare(result) == bare(expected)
    assert result.count("\n") == prompt.count("\n")
    if not any(text == "gore" and risky for text, risky in pieces):
        assert result == expected


@given(
    st.lists(
        st.sampled_from(["gore", "ball", "red hat", "(x:1.2)", "<lora:y:1>", "knife"]), min_size=1
    )
)
def test_a_list_of_tags_loses_whole_tags(tags: list[str]) -> None:
    """No comma, blank or empty tag is left over, wherever the dropped ones stood."""
    pieces = [(tag, tag in NEUTRAL) for tag in tags]
    with_commas = [piece for p in pieces for piece in ((", ", False), p)][1:]
    prompt, spans = prompt_of(with_commas)
    kept = [NEUTRAL.get(tag, tag) for tag in tags if tag != "gore"]
    assert rewrite(prompt, spans, CONTEXT) == ", ".join(kept)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.sampled_from([CONTEXT, replace(CONTEXT, name="violence")]),
    st.data(),
)
def test_any_spans_give_some_text_to_encode(
    prompt: str, context: SafetyContext, data: st.DataObject
) -> None:
    """Overlapping, touching, of unknown words, over syntax: never an error, never nothing."""
    assume(prompt)
    pair = st.tuples(st.integers(0, len(prompt) - 1), st.integers(1, 6))
    spans = [
        Span(start, min(start + length, len(prompt)), "violence", "test")
        for start, length in data.draw(st.lists(pair, min_size=1, max_size=4))
    ]
    found = condition(prompt, context, "counterpart", spans=spans)
    assert found.text.strip()
    assert any(character.isalpha() for character in found.text)
    assert found.strategy in ("counterpart", "context", "prepend")
    if found.strategy != "counterpart":
        assert found.note


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_prepend_and_append_keep_the_whole_prompt(prompt: str) -> None:
    assume("AND" not in prompt and not re.search(r":\s*[-+]?[\d.]+\s*\Z", prompt))
    core = prompt.strip().rstrip(", ")
    assert condition(prompt, CONTEXT, "append").text.strip().startswith(core)
    assert condition(prompt, CONTEXT, "prepend").text.strip().endswith(core)
    for strategy in ("append", "prepend", "context"):
        assert CONTEXT.safe_text in condition(prompt, CONTEXT, strategy).text
