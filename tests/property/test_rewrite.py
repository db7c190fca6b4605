"""Whatever a prompt's syntax, a rewrite touches the risky words and nothing else."""

import re

from hypothesis import given
from hypothesis import strategies as st

from safegen.conditioning import condition, condition_parts, rewrite
from safegen.contexts.context import SafetyContext
from safegen.detectors.policy import risky_spans
from safegen.detectors.prompt import parts

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


def expected(prompt: str) -> str:
    return RISKY.sub(lambda m: NEUTRAL[m[1]] if m[1] else m[0], prompt)


@given(PROMPTS)
def test_only_the_risky_words_change(prompt: str) -> None:
    assert rewrite(prompt, risky_spans(prompt, CONTEXT, []), CONTEXT) == expected(prompt)


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
