"""Every text of the page in every language that there is."""

from __future__ import annotations

import ast
import json
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
import standin
from driver import Host

import safegen
from safegen.contexts.library import ContextLibrary
from safegen.plan import SETTINGS
from safegen.sentence import joined, told
from safegen.webui import standing
from safegen.webui.enforcement import LEVELS
from safegen.webui.tab import context_layout
from safegen.webui.words import FOLDER, say, say_html, spoken

PACKAGE = Path(safegen.__file__).parent
LANGUAGES = sorted(file.stem for file in FOLDER.glob("*.json"))
SAYING = {"say", "say_html", "told", "later"}
NAMES = {"", "SafeGen"}
"""What is called the same in every language."""


def sentences() -> Iterator[str]:
    """Every sentence that the code has to say on the page."""
    for file in PACKAGE.rglob("*.py"):
        if file.relative_to(PACKAGE).parts[0] in ("lab", "cli"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in SAYING and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    yield first.value


def labels() -> Iterator[str]:
    """What the controls say of themselves, and the built-in contexts."""
    for block in [b for page in standin.build_tabs() for b in page.blocks.values()]:
        told_of = block.get_config()
        if "safegen" not in (block.elem_id or "") or not told_of.get("visible", True):
            continue
        yield from (told_of.get(key) or "" for key in ("label", "info", "placeholder"))
        if "button" in block.get_block_name():
            yield told_of.get("value") or ""
    for name, option in standin.settings.shared.opts.data_labels.items():
        if name.startswith("safegen"):
            yield from (option.label, option.section[1])
            given = option.component_args
            choices = given.get("choices", ()) if isinstance(given, dict) else ()
            yield from (choice for choice in choices if choice[:1].isupper())
    for setting in SETTINGS.values():
        yield from (setting.label, setting.help)
    for label, info, _ in context_layout.LABELS.values():
        yield from (label, info)
    for context in ContextLibrary():
        yield context.label
        yield context.category.replace("-", " ").capitalize()


@pytest.fixture(scope="session")
def english(host: Host) -> set[str]:
    return {*sentences(), *labels()} - NAMES


def places(sentence: str) -> list[str]:
    """The names of the values in it."""
    return sorted(name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None)


def table(language: str) -> dict[str, str]:
    """A language's file; the same sentence twice would hide one of the two."""
    text = (FOLDER / f"{language}.json").read_text(encoding="utf-8")
    pairs: list[tuple[str, str]] = json.loads(text, object_pairs_hook=list)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_of_the_page_is_missing_and_none_is_left_over(
    language: str, english: set[str]
) -> None:
    found = table(language)
    assert sorted(english - found.keys()) == []
    assert sorted(found.keys() - english) == []
    for sentence, translation in found.items():
        assert translation.strip() == translation != "", sentence
        assert places(translation) == places(sentence), sentence
        assert not re.search("[<&\"']|(?<!=)>", translation), (
            f"it goes into HTML as it is: {translation}"
        )


def test_the_page_s_language_is_that_of_the_host(host: Host) -> None:
    german = table("de_DE")
    every, refused = (
        "Every picture is guarded.",
        "{field}: {value} is not allowed. Allowed: {allowed}.",
    )
    inner = told(refused, field="A", value="{b}", allowed=told("a text"))
    whole = joined("; ", (told("Context: {context} (chosen by you)", context="C"), "as it is"))
    assert (say(every), spoken(inner)) == (every, "A: {b} is not allowed. Allowed: a text.")
    host.shared.opts.data["localization"] = "de_DE"
    assert say(every) == german[every] != every
    assert spoken(inner) == german[refused].format(field="A", value="{b}", allowed=german["a text"])
    assert spoken(whole) == f"{spoken(whole.parts[0][0]).format(context='C')}; as it is"
    assert german["Auto takes: {context}"].format(context="<b>&lt;i&gt;</b>") == say_html(
        "Auto takes: {context}", context="<i>"
    )
    assert inner == "A: {b} is not allowed. Allowed: a text."
    assert whole == "Context: C (chosen by you); as it is"
    basic = LEVELS["basic"]
    assert "Safety weight: at least 0.7" in basic.explain()  # the API's answer
    assert german["Safety weight"] in standing.enforced(basic)
