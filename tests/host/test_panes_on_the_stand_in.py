"""The tab on the host's page, its routes, and its panes that check prompts and tell the status."""

from __future__ import annotations

import re
from pathlib import Path
from threading import Event
from typing import Any

import gradio as gr
import pytest
from driver import HAZARD, Host
from facts_guard import ON
from fastapi import FastAPI
from fastapi.testclient import TestClient
from window import Window

from safegen.errors import InvalidValue, Unsupported

# ---------------------------------------------------------------------- checking


def test_one_prompt_is_shown_in_full(window: Window) -> None:
    found = window.check("a bloody knight on a horse")
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
    assert "Fit the probe" in window.check(fire, detectors=["probe"])


@pytest.mark.parametrize("text", ["", " \n ", "a\n" * 501, "a" * 20_001])
def test_what_is_no_list_of_prompts_is_refused(window: Window, text: str) -> None:
    assert "role='alert'" in window.check(text)


def test_the_probe_is_fitted_with_one_click_and_read_then(window: Window) -> None:
    assert "Fit the probe" in window.check("a cat", detectors=["probe"])
    assert "The probe is fitted" in window.fit()
    assert "Fit the probe" not in window.check("a cat", detectors=["probe"])


def test_the_probe_is_not_fitted_under_enforcement(window: Window, enforced: None) -> None:
    assert "enforced" in window.fit()


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
    assert "None since the start" in window.status
    host.make(HAZARD, ON)
    report = window.status
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


# ---------------------------------------------------------------------- defaults


def keep(window: Window, **values: Any) -> str:
    window.ask("defaults", {"values": values, "ticked": True})
    return window.shown["safegen_defaults_message"]


def test_the_defaults_are_kept_for_the_controls_and_the_api(host: Host, window: Window) -> None:
    from safegen.webui import api, settings

    assert "Saved." in keep(window, weight=0.4, detectors=["lexicon"], hires=False)
    plan = settings.base_plan()
    assert (plan.weight, plan.detectors, plan.hires) == (0.4, ("lexicon",), False)
    assert api.schema()["properties"]["weight"]["default"] == 0.4
    assert settings.ticked()
    panes = window.routes.get("/safegen/tab").text
    assert re.search(r'name="safegen_defaults_weight"', panes)
    assert 'value="0.4"' in panes


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"weight": 7}, "Safety weight"),
        ({"weight": "much"}, "Safety weight"),
        ({"detectors": []}, "Detectors"),
        ({"tau": 0.9, "end": 0.5}, "Guard until"),
        ({"enabled": True}, "enabled"),
        ({"context": "no such"}, "no such"),
    ],
)
def test_defaults_that_are_not_allowed_change_nothing(
    window: Window, values: dict[str, Any], said: str
) -> None:
    from safegen.webui import settings

    assert said in keep(window, **values)
    assert settings.base_plan().weight == 1
    assert not settings.ticked()


@pytest.mark.parametrize("how", ["hidden", "frozen"])
def test_who_may_not_change_settings_may_not_change_defaults(
    host: Host, window: Window, how: str
) -> None:
    from safegen.webui import settings

    assert "safegen_tab_defaults" in window.panes
    if how == "hidden":
        host.shared.opts.data["hidden_tabs"] = ["Settings"]
        assert "safegen_tab_defaults" not in window.routes.get("/safegen/tab").text
    else:
        host.shared.cmd_opts.freeze_settings = True
    assert "Ask the operator" in keep(window, weight=0.4)
    assert settings.base_plan().weight == 1


# ---------------------------------------------------------------------- the host's page


@pytest.fixture
def page(demo: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What gradio makes of the tab where txt2img is on the page."""
    from safegen.webui import tab

    with gr.Blocks():
        inputs = [gr.Textbox(), gr.Textbox(), gr.Number()]
    monkeypatch.setattr(tab.compare, "generate_inputs", lambda: inputs)
    monkeypatch.setattr(tab.compare, "_built", [])
    ((page, label, elem_id),) = tab.build()
    assert (label, elem_id) == ("SafeGen", "safegen")
    return page


def test_nothing_of_the_tab_becomes_a_default_of_the_next_start(page: Any) -> None:
    """The host writes the values of labelled controls to its ``ui-config.json``."""
    kinds = (gr.Slider, gr.Radio, gr.Checkbox, gr.Textbox, gr.Number, gr.Dropdown, gr.Button)
    ours = [block for block in page.blocks.values() if isinstance(block, kinds)]
    assert len(ours) == 3
    assert all(getattr(block, "do_not_save_to_config", False) for block in ours)


def test_every_element_id_is_there_once(page: Any) -> None:
    from safegen.webui import tab

    found = [getattr(block, "elem_id", None) or "" for block in page.blocks.values()]
    found += re.findall(r"""\bid=['"]([^'"]+)""", tab.html())
    ours = [elem_id for elem_id in found if elem_id.startswith("safegen_")]
    assert len(ours) > 40
    assert len(ours) == len(set(ours))


def test_the_tab_costs_the_page_few_components(page: Any) -> None:
    """Gradio makes each of them when the page is loaded, whether or not the tab is opened."""
    assert len(page.blocks) <= 8


def test_without_txt2img_nothing_is_compared(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host leaves a hidden tab out of the page: an event that names its controls breaks all."""
    from safegen.webui import tab

    assert page.dependencies
    assert "no txt2img" not in tab.html()
    monkeypatch.undo()
    monkeypatch.setattr(tab.compare, "_built", [])
    ((bare, _, _),) = tab.build()
    assert not bare.dependencies
    assert "no txt2img" in tab.html()


# ---------------------------------------------------------------------- the routes


def test_a_page_with_a_login_answers_nobody_else(demo: Any, own_folder: Path) -> None:
    from safegen.webui.tab import routes

    app = FastAPI()
    routes.register(app)
    routes.register(app)
    app.auth, app.tokens = {"child": "secret"}, {"abc": "child"}  # type: ignore[attr-defined]
    stranger, child = TestClient(app), TestClient(app, cookies={"access": "abc"})
    for client, code in ((stranger, 401), (child, 200)):
        assert client.get("/safegen/tab").status_code == code
        for name in ("status", "contexts", "interrupt"):
            sent = client.post(f"/safegen/tab/{name}", json={"do": "refresh"})
            assert sent.status_code == code
    assert stranger.get("/safegen/tab/job/x").status_code == 401


def test_without_a_page_there_are_no_routes_of_it(host: Host) -> None:
    """Nobody logs in there: ``--api-auth`` guards the API's routes, and not these."""
    from safegen.webui.tab import routes

    host.shared.cmd_opts.nowebui = True
    app = FastAPI()
    routes.register(app)
    assert TestClient(app).get("/safegen/tab").status_code == 404
    sent = TestClient(app).post("/safegen/tab/contexts", json={"do": "refresh"})
    assert sent.status_code == 404


def test_another_site_s_form_is_not_read(window: Window) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        sent = window.routes.post(
            "/safegen/tab/interrupt", content="{}", headers={"Content-Type": kind}
        )
        assert sent.status_code in (415, 422), kind


def test_what_is_not_asked_here_is_not_found(window: Window) -> None:
    assert window.routes.post("/safegen/tab/burn", json={}).status_code == 404
    gone = window.routes.get("/safegen/tab/job/none")
    assert gone.status_code == 422
    assert "Begin it again" in gone.json()["detail"]["plain"]


def test_a_job_tells_how_far_it_is_and_ends(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safegen.webui import jobs

    monkeypatch.setattr(jobs, "PATIENCE", 0.02)
    more, reached = Event(), Event()

    def work(tell: Any) -> dict[str, Any]:
        tell(0.5, "half")
        reached.set()
        more.wait(10)
        return {"html": {"x": "done"}}

    begun = jobs.begin(work)
    assert reached.wait(10)
    assert jobs.after(begun["job"]) == {"job": begun["job"], "share": 0.5, "said": "half"}
    more.set()
    monkeypatch.setattr(jobs, "PATIENCE", 10)
    assert jobs.after(begun["job"]) == {"html": {"x": "done"}}
    with pytest.raises(InvalidValue):
        jobs.after(begun["job"])


def test_a_job_that_fails_says_so_and_no_more(window: Window) -> None:
    from safegen.webui import jobs

    def work(_tell: Any) -> Any:
        raise RuntimeError("/secret/path")

    assert jobs.begin(work) == {"failed": "It could not be made. The log says why."}


def test_there_is_an_end_to_how_much_is_begun(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safegen.webui import jobs

    monkeypatch.setattr(jobs, "PATIENCE", 0)
    more = Event()

    def work(_tell: Any) -> dict[str, Any]:
        more.wait(10)
        return {}

    try:
        for _ in range(jobs.MOST):
            jobs.begin(work)
        with pytest.raises(Unsupported, match="Too much"):
            jobs.begin(work)
    finally:
        more.set()
