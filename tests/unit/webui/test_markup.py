"""What the panes show: whatever comes in, it stays text."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safegen.choice import Chooser
from safegen.contexts.context import SafetyContext
from safegen.plan import SafetyPlan
from safegen.webui import markup

HOSTILE = "<img src=x onerror=alert(1)> '\"></p><script>alert(2)</script> & a bloody sword"


class Reader(HTMLParser):
    """What a browser would make of it: the elements, their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


OURS = {"p", "div", "span", "section", "small", "mark", "ins", "em", "b", "i", "a", "h3", "h4"}
OURS |= {"table", "caption", "thead", "tbody", "tr", "th", "td"}


def read(text: str) -> Reader:
    """Parse it; every element and attribute must be one of ours, and closed."""
    found = Reader(text)
    assert set(found.tags) <= OURS
    assert not found.open
    allowed = {"class", "role", "style", "scope", "aria-label", "download", "href"}
    allowed.add("data-safegen-asked")
    assert {name for name, _ in found.attributes} <= allowed
    return found


def data(**more: Any) -> dict[str, Any]:
    """One prompt's findings."""
    return {
        "prompt": HOSTILE,
        "unsafe": 0.9,
        "threshold": 0.6,
        "categories": {"violence": 0.9, "<b>": 0.3},
        "context": "violence",
        "why": HOSTILE,
        "spans": [{"start": 0, "end": 9, "category": "<i>", "detector": "<u>"}],
        "safe_stream": [{"strategy": "counterpart", "text": HOSTILE, "note": HOSTILE}, None],
        "errors": [],
        **more,
    }


@pytest.fixture(scope="module")
def chooser() -> Chooser:
    return Chooser.default()


def test_a_hostile_prompt_stays_text(chooser: Chooser) -> None:
    contexts = [SafetyContext("violence", HOSTILE, "violence", HOSTILE, HOSTILE, HOSTILE)]
    for shown in (
        markup.card(data(), 1, contexts),
        markup.card(data(errors=[HOSTILE]), 1, contexts),
        markup.table([data(), data(context=HOSTILE)], contexts),
        markup.message(HOSTILE, bad=True),
        markup.note(HOSTILE),
        markup.lines(HOSTILE, [(HOSTILE, HOSTILE, "bad")]),
        markup.heading(contexts[0], HOSTILE, built_in=False, unsaved=True),
    ):
        assert "onerror=alert(1)" in read(shown).text
    choice = chooser.choose_for(HOSTILE, contexts[0], SafetyPlan())
    read(markup.preview(HOSTILE, choice, HOSTILE, is_this=False))


@given(
    text=st.text(max_size=30),
    spans=st.lists(st.tuples(st.integers(-5, 40), st.integers(-5, 40), st.sampled_from("ab"))),
)
def test_segments_are_the_text_cut_at_the_spans(text: str, spans: Any) -> None:
    pieces = markup.segments(text, spans)
    assert "".join(piece for piece, _ in pieces) == text
    place = 0
    for piece, categories in pieces:
        for offset in range(place, place + len(piece)):
            inside = {c for start, end, c in spans if start <= offset < end}
            assert set(categories) == inside
        place += len(piece)


@given(before=st.text(max_size=40), after=st.text(max_size=40))
def test_what_is_compared_is_the_second_text(before: str, after: str) -> None:
    shown = markup.compared(before, after)
    assert unescape(re.sub("</?ins>", "", shown)) == after
    assert "<ins>" not in markup.compared(before, before)


def test_only_new_words_are_marked() -> None:
    shown = markup.compared("a bloody sword, oil", "a clean banner, oil")
    assert shown == "a <ins>clean</ins> <ins>banner</ins>, oil"


def test_bars_stand_for_scores_and_mark_the_threshold() -> None:
    shown = markup.bars({"hate": 0.25, "violence": 0.875}, 0.6)
    assert shown.index("Violence") < shown.index("Hate")
    assert "width:87.5%" in shown
    assert shown.count("left:60.0%") == 2
    assert re.findall(r"<td>([\d.]+)</td>", shown) == ["0.88", "0.25"]
    assert shown.count("safegen-over") == 1


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a bloody knight with a sword", "Violence scores"),
        ("a cat sleeping on a sofa", r"^Auto found nothing unsafe\.$"),
        ("ein Messer im Bauch", r"^Auto found nothing unsafe\. Highest score: Violence, 0"),
        ("zzyx qqv blorf", "knows none of the 3 words"),
        ("a cat AND a bloody corpse :-1", "weight of 0 or less|nothing unsafe"),
    ],
)
def test_the_reason_names_category_score_and_threshold(
    chooser: Chooser, prompt: str, said: str
) -> None:
    plan = SafetyPlan()
    choice = chooser.choose_parts(prompt, plan)
    found = data(
        prompt=prompt,
        why=choice.why,
        categories=dict(choice.verdict.categories),
        context=choice.context.name if choice.context else None,
    )
    labels = {context.name: context.category for context in chooser.library}
    assert re.search(said, markup.reason(found, labels))


def test_a_category_without_a_context_is_said_so() -> None:
    found = data(context="family-friendly", categories={"spiders": 0.9})
    assert "Spiders scores 0.90" in markup.reason(found, {"family-friendly": ""})
    found = data(context="violence", categories={"spiders": 0.9, "violence": 0.8})
    said = markup.reason(found, {"violence": "violence"})
    assert said.startswith("Violence scores 0.80")
    assert "Spiders scores more and has no context" in said


def test_the_table_counts_and_shortens() -> None:
    long = "word " * 100
    shown = markup.table([data(prompt=long), data(context=None)], [])
    text = read(shown).text
    assert text.startswith("Unsafe: 1 of 2")
    assert long not in text
    assert "…" in text


def test_the_export_link_holds_the_whole_file() -> None:
    import base64
    import json

    context = SafetyContext("calm", "Calm", "", "", "a calm scene", "", {"größe": "x"})
    shown = markup.heading(context, "Calm", built_in=False, unsaved=False)
    (content,) = re.findall(r"base64,([^']+)'", shown)
    assert json.loads(base64.b64decode(content))["neutral"] == {"größe": "x"}
    assert "download='calm.json'" in shown


def test_the_preview_marks_both_sides(chooser: Chooser) -> None:
    context = chooser.library.get("violence")
    choice = chooser.choose_for("a bloody sword", context, SafetyPlan())
    shown = markup.preview("a bloody sword", choice, "Violence", is_this=True)
    assert "<mark>bloody</mark>" in shown
    assert "<ins>clean</ins>" in shown
    assert "Auto would take this context" in shown
