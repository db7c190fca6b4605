"""The tab's panes that check prompts and tell the status, and the tab on the host's page."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest
from driver import HAZARD, Host
from facts_guard import ON
from window import Window

# ---------------------------------------------------------------------- checking


def test_one_prompt_is_shown_in_full(window: Window) -> None:
    found = window.check("a bloody knight with a sword")
    assert "<b>Violence</b>" in found
    assert "bloody <small>Violence</small></mark>" in found
    assert "<ins>clean</ins>" in found
    assert "<b>0.60</b>" in found
    assert "<thead>" not in found


def test_many_prompts_have_a_table_and_the_first_are_shown_in_full(window: Window) -> None:
    from safegen.webui.tab.check import SHOWN

    prompts = "\n".join(["a bloody sword", "", "a cat", *["a sunset"] * SHOWN])
    found = window.check(prompts)
    assert f"Unsafe: <b>1</b> of <b>{SHOWN + 2}</b>" in found
    assert found.count("<section") == SHOWN
    assert window.check(prompts, by_line=False).count("<section") == 1


def test_the_page_and_the_api_say_the_same(window: Window) -> None:
    from safegen.webui import api

    prompt = "a (bl:1.2)oody knight AND a cat"
    answer, found = api.check({"prompt": prompt}), window.check(prompt)
    assert (answer["context"], answer["threshold"]) == ("violence", 0.6)
    for category, score in answer["categories"].items():
        assert f"{score:.2f}" in found, category


def test_the_threshold_and_the_detectors_count(window: Window) -> None:
    fire = "a burning house"
    assert "safegen-flagged" in window.check(fire, threshold=0.01)
    assert "Detectors" in window.check(fire, detectors=[])
    assert "after fitting" in window.check(fire, detectors=["probe"])


@pytest.mark.parametrize("text", ["", " \n ", "a\n" * 501, "a" * 20_001])
def test_what_is_no_list_of_prompts_is_refused(window: Window, text: str) -> None:
    assert "role='alert'" in window.check(text)


def test_the_probe_is_fitted_with_one_click_and_read_then(window: Window) -> None:
    assert "after fitting" in window.check("a cat", detectors=["probe"])
    window.click("check_fit")
    assert "The probe is fitted" in str(window.value("safegen_check_fitted"))
    assert "after fitting" not in window.check("a cat", detectors=["probe"])


def test_the_probe_is_not_fitted_under_enforcement(window: Window, enforced: None) -> None:
    window.click("check_fit")
    assert "enforced" in str(window.value("safegen_check_fitted"))


def test_a_hostile_prompt_stays_text(window: Window) -> None:
    found = window.check("<img src=x onerror=alert(1)> bloody\n<script>x")
    assert "<img" not in found
    assert "<script" not in found
    assert "&lt;img src=x onerror=alert(1)&gt;" in found


def test_enforcement_raises_what_is_checked_with(window: Window, enforced: None) -> None:
    found = window.check("a cat", threshold=0.9, detectors=["lexicon"])
    assert "unsafe from 0.60, and these read it: lexicon, ngram" in found


# ---------------------------------------------------------------------- status


def test_the_status_tells_of_the_last_generations(host: Host, window: Window) -> None:
    assert "None since the start" in window.value("safegen_status_report")
    host.make(HAZARD, ON)
    window.fire("select", "safegen_tab_status")
    report = window.value("safegen_status_report")
    for words in (
        "4 of 4 that had to be; the model was called 4 times",
        "Violence",
        "1.5 times",
        "Stable Diffusion 1",
        "toy-world",
    ):
        assert words in report
    host.make(HAZARD, {**ON, "context": "no-such"})
    host.make(HAZARD, None)
    report = window.status
    assert "SafeGen was off" in report
    assert "context: a value that is not allowed" in report  # the last error stays
    assert "A later generation went well" in report
    assert "no-such" not in report  # but not what somebody typed


def test_the_status_names_who_enforces(host: Host, window: Window, enforced: None) -> None:
    host.shared.opts.data["safegen_enforce"] = "strict"
    report = window.status
    for words in (
        "--safegen-enforce",
        "level basic",
        "Settings, SafeGen",
        "level strict",
        "basic and strict",
    ):
        assert words in report


def test_the_status_says_why_a_host_is_not_guarded(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safegen.webui import host as asked

    monkeypatch.setattr(asked, "version", lambda: "1.9.4")
    report = window.status
    assert "No: SafeGen guards AUTOMATIC1111 WebUI 1.10.1" in report
    assert "this is version 1.9.4" in report


# ---------------------------------------------------------------------- the host's page


def test_nothing_of_the_tab_becomes_a_default_of_the_next_start(demo: Any) -> None:
    """The host writes the values of labelled controls to its ``ui-config.json``."""
    kinds = (gr.Slider, gr.Radio, gr.Checkbox, gr.Textbox, gr.Number, gr.Dropdown, gr.Button)
    ours = [
        block
        for block in demo.blocks.values()
        if str(getattr(block, "elem_id", "")).startswith("safegen_") and isinstance(block, kinds)
    ]
    assert len(ours) > 20
    assert all(getattr(block, "do_not_save_to_config", False) for block in ours)


def test_every_element_id_is_there_once(demo: Any) -> None:
    found = [getattr(block, "elem_id", None) or "" for block in demo.blocks.values()]
    ours = [elem_id for elem_id in found if elem_id.startswith("safegen_")]
    assert len(ours) == len(set(ours))


def test_a_tab_that_the_host_hides_is_asked_for_nothing(
    demo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host leaves it out of the page: an event that names its controls would break all."""
    from safegen.webui import accordion, tab
    from safegen.webui import host as asked

    monkeypatch.setattr(asked, "hides_tab", lambda name: name == "img2img")
    ((page, _, _),) = tab.build()
    hidden = next(c._id for c in accordion.context_controls if "img2img" in c.elem_id)
    shown = next(c._id for c in accordion.context_controls if "txt2img" in c.elem_id)
    named = {one for d in page.dependencies for one in (*d["inputs"], *d["outputs"])}
    assert hidden not in named
    assert shown in named
