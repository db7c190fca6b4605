"""The panes of SafeGen's tab, in real gradio: what a click changes, without a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

NAMES = ("name", "label", "category", "description", "safe_text", "unsafe_text")
NAMES += ("neutral", "fallback", "weight", "tau")


class Window:
    """One browser's view of a page: it keeps what every control shows, as gradio's own does."""

    def __init__(self, demo: Any, session: str = "one") -> None:
        self.demo, self.session = demo, session
        self.client = TestClient(demo.app)
        self.config = demo.config
        self.ids: dict[str, int] = {}
        self.props: dict[int, dict[str, Any]] = {}
        for component in self.config["components"]:
            self.props[component["id"]] = dict(component["props"])
            self.ids[component["props"].get("elem_id") or ""] = component["id"]
        self.fire("load")

    def __getitem__(self, elem_id: str) -> dict[str, Any]:
        """What a control shows now: its value, whether it can be used or seen."""
        return self.props[self.ids[elem_id]]

    def value(self, elem_id: str) -> Any:
        return self[elem_id].get("value")

    def fire(self, event: str, elem_id: str | None = None, value: Any = None) -> None:
        """What the user does: set a control's value, if it has one, and trigger an event."""
        target = None if elem_id is None else self.ids[elem_id]
        if value is not None:
            self.props[target]["value"] = value
        for index, dependency in enumerate(self.config["dependencies"]):
            if dependency["trigger"] != event or not dependency["backend_fn"]:
                continue
            if target is not None and target not in dependency["targets"]:
                continue
            data = [self.props[one].get("value") for one in dependency["inputs"]]
            sent = {"fn_index": index, "data": data, "session_hash": self.session}
            answer = self.client.post("/run/predict", json=sent)
            assert answer.status_code == 200, answer.text
            for one, found in zip(dependency["outputs"], answer.json()["data"], strict=True):
                self._take(one, found)

    def _take(self, one: int, found: Any) -> None:
        if isinstance(found, dict) and found.get("__type__") == "update":
            update = {key: value for key, value in found.items() if key != "__type__"}
            self.props[one].update(update)
        else:
            self.props[one]["value"] = found

    def click(self, name: str) -> None:
        self.fire("click", f"safegen_{name}")

    def type(self, name: str, text: str) -> None:
        self.fire("input", f"safegen_{name}", text)

    def pick(self, key: str) -> None:
        self.fire("input", "safegen_context_list", key)

    @property
    def form(self) -> dict[str, str]:
        return {name: self.value(f"safegen_context_{name}") for name in NAMES}

    @property
    def said(self) -> str:
        return str(self.value("safegen_context_message"))

    @property
    def listed(self) -> dict[str, str]:
        """Key to label."""
        return {key: label for label, key in self["safegen_context_list"]["choices"]}


@pytest.fixture
def demo(double: Any) -> Any:
    """The accordions and SafeGen's tab in one page, as the host renders them."""
    import gradio as gr
    from modules import script_callbacks, scripts

    script_callbacks.call("before_ui")
    interfaces = []
    for runner, is_img2img in ((scripts.scripts_txt2img, False), (scripts.scripts_img2img, True)):
        with gr.Blocks() as interface:
            runner.initialize_scripts(is_img2img)
            runner.prepare_ui()
            runner.setup_ui()
        interfaces.append(interface)
    (entry,) = script_callbacks.callback_map["callbacks_ui_tabs"]
    ((page, label, elem_id),) = entry.callback()
    assert (label, elem_id) == ("SafeGen", "safegen")
    with gr.Blocks(analytics_enabled=False) as whole:
        for interface in (*interfaces, page):
            interface.render()
    return whole.queue()


@pytest.fixture(autouse=True)
def own_folder(double: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of contexts for each test, and a library that reads it."""
    from modules import shared

    from safegen.webui import deciding, record

    monkeypatch.setitem(shared.opts.data, "safegen_contexts_folder", str(tmp_path / "contexts"))
    deciding._chooser = None
    record.clear()
    yield tmp_path / "contexts"
    deciding._chooser = None


@pytest.fixture
def window(demo: Any) -> Window:
    return Window(demo)


def upload(file: Path) -> dict[str, Any]:
    """A file as the browser sends it."""
    import base64

    content = base64.b64encode(file.read_bytes()).decode()
    return {"name": file.name, "data": f"data:application/json;base64,{content}", "is_file": False}


# ---------------------------------------------------------------------- contexts


def test_built_in_contexts_can_be_read_only(window: Window) -> None:
    assert window.value("safegen_context_list") == "violence"
    assert len(window.listed) == 11
    assert window.form["label"] == "Violence"
    for name in NAMES:
        assert window[f"safegen_context_{name}"]["mode"] == "static"
    for name in ("save", "discard", "delete"):
        assert window[f"safegen_context_{name}"]["mode"] == "static"
    window.pick("hate")
    assert window.form["name"] == "hate"
    assert "Hate" in window.value("safegen_context_heading")


def test_the_buttons_are_not_what_protects_a_built_in_context(
    window: Window, own_folder: Path
) -> None:
    window.type("context_safe_text", "blood everywhere")
    window.click("context_save")
    assert "built in" in window.said
    window.click("context_really_delete")
    assert "built in" in window.said
    assert not own_folder.exists()


def test_a_duplicate_is_edited_saved_and_offered_in_both_accordions(
    window: Window, own_folder: Path
) -> None:
    window.click("context_duplicate")
    assert window.form["name"] == "violence-copy"
    assert window["safegen_context_safe_text"]["mode"] == "dynamic"
    window.type("context_safe_text", "a quiet garden")
    assert window.listed["violence-copy"].endswith("●")
    assert "not saved" in window.value("safegen_context_heading")
    assert window["safegen_context_save"]["mode"] == "dynamic"
    window.click("context_save")
    assert "Saved" in window.said
    assert not window.listed["violence-copy"].endswith("●")
    saved = json.loads((own_folder / "violence-copy.json").read_text())
    assert saved["safe_text"] == "a quiet garden"
    for tab in ("txt2img", "img2img"):
        choices = window[f"script_{tab}_safegen_context"]["choices"]
        assert "violence-copy" in choices


def test_a_rename_and_a_deletion_are_followed_where_the_context_is_chosen(
    window: Window,
) -> None:
    window.click("context_duplicate")
    window["script_txt2img_safegen_context"]["value"] = "violence-copy"
    window["script_img2img_safegen_context"]["value"] = "hate"
    window.type("context_name", "my own")
    window.click("context_save")
    assert window.value("script_txt2img_safegen_context") == "my-own"
    assert window.value("script_img2img_safegen_context") == "hate"
    window.click("context_delete")
    assert window["safegen_context_confirm_delete"]["visible"]
    assert "my-own" in window.listed
    window.click("context_really_delete")
    assert "my-own" not in window.listed
    assert window.value("script_txt2img_safegen_context") == "auto"
    assert window.value("script_img2img_safegen_context") == "hate"
    assert "my-own" not in window["script_txt2img_safegen_context"]["choices"]


def test_a_page_that_is_loaded_later_offers_the_new_context(demo: Any, window: Window) -> None:
    window.click("context_duplicate")
    other = Window(demo, "two")
    assert "violence-copy" in other["script_txt2img_safegen_context"]["choices"]
    assert "violence-copy" in other.listed


def test_switching_loses_nothing(demo: Any, window: Window) -> None:
    window.click("context_duplicate")
    window.type("context_safe_text", "a quiet garden")
    window.pick("hate")
    assert window.form["name"] == "hate"
    assert window.listed["violence-copy"].endswith("●")
    # Not even what was typed at the moment of the switch, before an event of its own.
    window.pick("violence-copy")
    assert window.form["safe_text"] == "a quiet garden"
    window["safegen_context_unsafe_text"]["value"] = "typed just now"
    window.pick("hate")
    window.fire("select", "safegen_tab_contexts")
    window.pick("violence-copy")
    assert window.form["unsafe_text"] == "typed just now"
    window.click("context_new")
    window.type("context_label", "Second")
    window.pick("violence-copy")
    assert window.form["safe_text"] == "a quiet garden"
    (new,) = [key for key, label in window.listed.items() if label == "Second ●"]
    window.pick(new)
    assert window.form["label"] == "Second"
    # Another browser has drafts of its own.
    other = Window(demo, "two")
    assert other.listed["violence-copy"] == "Violence (copy)"


def test_discarding_asks_first(window: Window) -> None:
    window.click("context_duplicate")
    before = window.form
    window.type("context_safe_text", "a quiet garden")
    window.click("context_discard")
    assert window["safegen_context_confirm_discard"]["visible"]
    window.click("context_keep_discard")
    assert not window["safegen_context_confirm_discard"]["visible"]
    assert window.form["safe_text"] == "a quiet garden"
    window.click("context_really_discard")
    assert window.form == before
    assert not window.listed["violence-copy"].endswith("●")


def test_an_event_that_is_late_writes_into_its_own_draft(window: Window) -> None:
    """The page names the context whose text it sends; the pane may show another by then."""
    window.click("context_duplicate")
    late = {one: dict(props) for one, props in window.props.items()}
    window.pick("hate")
    shown = {one: dict(props) for one, props in window.props.items()}
    window.props = late
    window.type("context_safe_text", "a late garden")
    assert window.form["name"] == "violence-copy"  # nothing was shown over what is there
    window.props = shown
    window.pick("violence-copy")
    assert window.form["safe_text"] == "a late garden"
    window.pick("hate")
    assert window.form["safe_text"] != "a late garden"


def test_what_the_page_dropped_while_an_event_was_under_way_is_made_up_for(
    window: Window,
) -> None:
    window.click("context_duplicate")
    window.type("context_sample", "a frog")
    window["safegen_context_neutral"]["value"] = "frog => prince"  # no event of its own
    window.fire("blur", "safegen_context_safe_text")
    assert "<ins>prince</ins>" in window.value("safegen_context_preview")
    assert window.listed["violence-copy"].endswith("●")


def test_the_preview_follows_what_is_not_saved(window: Window) -> None:
    window.click("context_duplicate")
    window.type("context_sample", "a frog with a sword")
    assert "banners" not in window.value("safegen_context_preview")
    window.type("context_neutral", "frog => princess\nsword =>")
    preview = window.value("safegen_context_preview")
    assert "<ins>princess</ins>" in preview
    assert "<mark>frog</mark>" in preview
    window.fire("input", "safegen_context_view", "prepend")
    window.type("context_safe_text", "a quiet garden")
    assert "<ins>a quiet garden" in window.value("safegen_context_preview").replace(
        "</ins> <ins>", " "
    ).replace("</ins><ins>", "")
    window.type("context_neutral", "frog")
    assert "Replacements, line 1" in window.value("safegen_context_preview")


def test_what_can_t_be_saved_names_the_field_and_stays(window: Window) -> None:
    window.click("context_new")
    window.type("context_label", "Bare")
    window.click("context_save")
    assert "Safe text" in window.said
    assert "alert" in window.said
    assert window.form["label"] == "Bare"


def test_import_and_export(window: Window, tmp_path: Path, own_folder: Path) -> None:
    from safegen.contexts.context import SafetyContext
    from safegen.contexts.library import to_text

    file = tmp_path / "calm.json"
    file.write_text(to_text(SafetyContext("calm", "Calm", "", "", "a calm scene", "")))
    window.fire("upload", "safegen_context_import", upload(file))
    assert "Imported" in window.said
    assert window.form["safe_text"] == "a calm scene"
    assert "calm" in window["script_img2img_safegen_context"]["choices"]
    assert "download='calm.json'" in window.value("safegen_context_heading")
    window.fire("upload", "safegen_context_import", upload(file))
    assert "taken" in window.said
    window["safegen_context_replace"]["value"] = True
    window.fire("upload", "safegen_context_import", upload(file))
    assert "Imported" in window.said
    file.write_text('{"name": "<b>x</b>", "label": "x", "safe_text": 3}')
    window.fire("upload", "safegen_context_import", upload(file))
    assert "category" in window.said or "safe_text" in window.said
    assert "calm.json" in window.said
    assert [one.name for one in own_folder.glob("*")] == ["calm.json"]


def test_a_file_put_there_by_hand_is_found_and_a_bad_one_named(
    window: Window, own_folder: Path
) -> None:
    own_folder.mkdir()
    (own_folder / "bad.json").write_text("{")
    (own_folder / "calm.json").write_text('{"name": "calm", "label": "Calm", "safe_text": "x"}')
    window.click("context_reload")
    assert "bad.json" in window.value("safegen_context_problems")
    assert window.listed["calm"] == "Calm"
    assert "calm" in window["script_txt2img_safegen_context"]["choices"]


def test_a_search_keeps_what_is_shown(window: Window) -> None:
    window.type("context_search", "own")
    assert window.listed == {}
    assert window.form["name"] == "violence"
    window.type("context_search", "bully")
    assert "Harassment" in window.listed.values()
    assert "Violence" not in window.listed.values()


# ---------------------------------------------------------------------- learning


def test_learning_from_own_words_from_a_file_and_again(window: Window, tmp_path: Path) -> None:
    assert "own words" in window.value("safegen_context_learned")
    assert "nothing yet" in window.value("safegen_context_learned")
    window.click("context_learn")
    assert "Learned Violence from" in window.said
    assert "CLIPTextModel" in window.value("safegen_context_learned")
    file = tmp_path / "pairs.csv"
    file.write_text("unsafe,safe\na bloody sword,a clean banner\na gun,a camera\n")
    window["safegen_context_pairs"]["value"] = upload(file)
    window.click("context_learn")
    assert "from 2 pairs" in window.said
    window["safegen_context_pairs"]["value"] = None
    window.click("context_learn")  # again, from the pairs that were kept
    assert "from 2 pairs" in window.said
    assert "2, kept from the last time" in window.value("safegen_context_learned")
    file.write_text("risky,safe\na,b\n")
    window["safegen_context_pairs"]["value"] = upload(file)
    window.click("context_learn")
    assert "no column unsafe" in window.said


def test_what_was_learned_for_another_model_is_told_apart(window: Window) -> None:
    from modules import sd_models, shared

    window.click("context_learn")
    assert "nothing yet" not in window.value("safegen_context_learned")
    shared.sd_model = sd_models.ToyModel(sd_models.checkpoints["toy-other"])
    window.pick("violence")
    learned = window.value("safegen_context_learned")
    assert "Another model" in learned
    assert "nothing yet" in learned
    window.click("context_learn")
    assert "The loaded model" in window.value("safegen_context_learned")


def test_a_new_context_has_to_be_saved_before_it_learns(window: Window) -> None:
    window.click("context_new")
    assert "Save the context first" in window.value("safegen_context_learned")
    window.click("context_learn")
    assert "alert" in window.said


# ---------------------------------------------------------------------- enforcement


@pytest.fixture
def enforced(double: Any) -> None:
    from modules import shared

    shared.cmd_opts.safegen_enforce = "basic"


def test_under_enforcement_the_server_refuses(
    window: Window, enforced: None, own_folder: Path, tmp_path: Path
) -> None:
    from safegen.contexts.context import SafetyContext
    from safegen.contexts.library import to_text

    file = tmp_path / "calm.json"
    file.write_text(to_text(SafetyContext("calm", "Calm", "hate", "", "a calm scene", "")))
    window.fire("upload", "safegen_context_import", upload(file))
    assert "enforces SafeGen (level basic)" in window.said
    window.click("context_duplicate")
    assert "enforces SafeGen (level basic)" in window.said
    window.click("context_learn")
    assert "while SafeGen is enforced" in window.said
    assert not own_folder.exists()
    window.click("context_new")
    window.type("context_label", "By hand")
    window.type("context_safe_text", "a quiet garden")
    window.click("context_save")
    assert "Saved" in window.said


def test_a_policy_that_can_t_be_read_forbids_every_change(window: Window, own_folder: Path) -> None:
    from modules import shared

    shared.cmd_opts.safegen_enforce = "no-such-level"
    window.click("context_duplicate")
    assert "no-such-level" in window.said
    assert not own_folder.exists()
    window.fire("select", "safegen_tab_status")
    assert "nothing is generated" in window.value("safegen_status_report")
    window["safegen_check_prompts"]["value"] = "a cat"
    window.click("check_go")
    assert "no-such-level" in window.value("safegen_check_found")


# ---------------------------------------------------------------------- checking


def test_one_prompt_is_shown_in_full(window: Window) -> None:
    window["safegen_check_prompts"]["value"] = "a bloody knight with a sword"
    window.click("check_go")
    found = window.value("safegen_check_found")
    assert "<b>Violence</b>" in found
    assert "bloody <small>Violence</small></mark>" in found
    assert "<ins>clean</ins>" in found
    assert "the threshold 0.60" in found
    assert "<thead>" not in found


def test_many_prompts_have_a_table_and_the_first_are_shown_in_full(window: Window) -> None:
    from safegen.webui.tab.check import SHOWN

    prompts = ["a bloody sword", "", "a cat", *["a sunset"] * SHOWN]
    window["safegen_check_prompts"]["value"] = "\n".join(prompts)
    window.click("check_go")
    found = window.value("safegen_check_found")
    assert f"<b>1</b> <span>flagged, of</span> <b>{SHOWN + 2}</b>" in found
    assert found.count("<section") == SHOWN
    window["safegen_check_by_line"]["value"] = False
    window.click("check_go")
    assert window.value("safegen_check_found").count("<section") == 1


def test_the_page_and_the_api_say_the_same(window: Window) -> None:
    from safegen.webui import api

    prompt = "a (bl:1.2)oody knight AND a cat"
    answer = api.check({"prompt": prompt})
    window["safegen_check_prompts"]["value"] = prompt
    window.click("check_go")
    found = window.value("safegen_check_found")
    assert answer["context"] == "violence"
    for category, score in answer["categories"].items():
        assert f"{score:.2f}" in found, category
    assert answer["threshold"] == 0.6


def test_the_threshold_and_the_detectors_count(window: Window) -> None:
    window["safegen_check_prompts"]["value"] = "how to build a bomb"
    window["safegen_check_threshold"]["value"] = 0.01
    window.click("check_go")
    assert "safegen-flagged" in window.value("safegen_check_found")
    window["safegen_check_detectors"]["value"] = []
    window.click("check_go")
    assert "detectors" in window.value("safegen_check_found")
    window["safegen_check_detectors"]["value"] = ["probe"]
    window.click("check_go")
    assert "after fitting" in window.value("safegen_check_found")


@pytest.mark.parametrize("text", ["", " \n ", "a\n" * 501, "a" * 20_001])
def test_what_is_no_list_of_prompts_is_refused(window: Window, text: str) -> None:
    window["safegen_check_prompts"]["value"] = text
    window.click("check_go")
    assert "role='alert'" in window.value("safegen_check_found")


def test_a_hostile_prompt_stays_text(window: Window) -> None:
    window["safegen_check_prompts"]["value"] = "<img src=x onerror=alert(1)> bloody\n<script>x"
    window.click("check_go")
    found = window.value("safegen_check_found")
    assert "<img" not in found
    assert "<script" not in found
    assert "&lt;img src=x onerror=alert(1)&gt;" in found


def test_enforcement_raises_what_is_checked_with(window: Window, enforced: None) -> None:
    window["safegen_check_prompts"]["value"] = "a cat"
    window["safegen_check_threshold"]["value"] = 0.9
    window["safegen_check_detectors"]["value"] = ["lexicon"]
    window.click("check_go")
    found = window.value("safegen_check_found")
    assert "Enforced (level basic): threshold 0.60, detectors lexicon, ngram" in found


# ---------------------------------------------------------------------- status


def test_the_status_tells_of_the_last_generations(double: Any, window: Window) -> None:
    from driver import HAZARD, SafeGen
    from product import ON

    assert "none since the start" in window.value("safegen_status_report")
    guard = SafeGen(double)
    guard.make(HAZARD, ON)
    window.fire("select", "safegen_tab_status")
    report = window.value("safegen_status_report")
    assert "4 of 4; the model was called 4 times" in report
    assert "violence" in report
    assert "3 model rows" in report
    assert "Stable Diffusion 1" in report
    assert "toy-world" in report
    guard.make(HAZARD, {**ON, "context": "no-such"})
    guard.make(HAZARD, None)
    window.click("status_refresh")
    report = window.value("safegen_status_report")
    assert "SafeGen was off" in report
    assert "context: a value that is not allowed" in report  # the last error stays
    assert "no-such" not in report  # but not what somebody typed


def test_the_status_names_who_enforces(window: Window, enforced: None) -> None:
    from modules import shared

    shared.opts.data["safegen_enforce"] = "strict"
    window.click("status_refresh")
    report = window.value("safegen_status_report")
    assert "level basic (--safegen-enforce)" in report
    assert "level strict (Settings, SafeGen)" in report
    assert "basic and strict" in report


def test_the_status_says_why_a_host_is_not_guarded(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safegen.webui import host

    monkeypatch.setattr(host, "version", lambda: "1.9.4")
    window.click("status_refresh")
    assert "no: SafeGen guards AUTOMATIC1111 WebUI 1.10.1; this is version 1.9.4" in window.value(
        "safegen_status_report"
    )


# ---------------------------------------------------------------------- the host


def test_nothing_of_the_tab_becomes_a_default_of_the_next_start(demo: Any) -> None:
    """The host writes the values of labelled controls to its ``ui-config.json``."""
    import gradio as gr

    kinds = (gr.Slider, gr.Radio, gr.Checkbox, gr.Textbox, gr.Number, gr.Dropdown, gr.Button)
    ours = [
        block
        for block in demo.blocks.values()
        if str(getattr(block, "elem_id", "")).startswith("safegen_") and isinstance(block, kinds)
    ]
    assert len(ours) > 20
    assert all(getattr(block, "do_not_save_to_config", False) for block in ours)


def test_every_element_id_is_there_once(demo: Any) -> None:
    found = [getattr(block, "elem_id", None) for block in demo.blocks.values()]
    ours = [elem_id for elem_id in found if elem_id and elem_id.startswith("safegen_")]
    assert len(ours) == len(set(ours))


def test_a_tab_that_the_host_hides_is_asked_for_nothing(
    demo: Any, double: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host leaves it out of the page: an event that names its controls would break all."""
    import gradio as gr

    from safegen.webui import accordion, host, tab

    monkeypatch.setattr(host, "hides_tab", lambda name: name == "img2img")
    ((page, _, _),) = tab.build()
    hidden = next(c._id for c in accordion.context_controls if "img2img" in c.elem_id)
    shown = next(c._id for c in accordion.context_controls if "txt2img" in c.elem_id)
    asked = {one for d in page.dependencies for one in (*d["inputs"], *d["outputs"])}
    assert hidden not in asked
    assert shown in asked
    assert isinstance(page, gr.Blocks)
