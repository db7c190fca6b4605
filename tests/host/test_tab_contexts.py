"""The tab's pane for contexts: what a click changes, without a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import standin
from window import Window

from safegen.contexts.context import SafetyContext
from safegen.contexts.library import to_text


@pytest.fixture
def calm(tmp_path: Path) -> Path:
    """A context in a file."""
    file = tmp_path / "calm.json"
    file.write_text(to_text(SafetyContext("calm", "Calm", "", "", "a calm scene", "")))
    return file


def test_built_in_contexts_can_be_read_only(window: Window, own_folder: Path) -> None:
    assert window.state["shown"] == "violence"
    assert len(window.listed) == 11
    assert window.form["label"] == "Violence"
    assert not window.can_write
    assert not window.state["unsaved"]
    # The buttons are not what protects it.
    window.type("safe_text", "blood everywhere")
    for button in ("save", "delete"):
        window.do(button)
        assert "built in" in window.said
    assert not own_folder.exists()
    window.pick("hate")
    assert window.form["name"] == "hate"
    assert "Hate" in window.shown["safegen_context_heading"]


def test_a_duplicate_is_edited_saved_and_offered_everywhere(
    demo: Any, window: Window, own_folder: Path
) -> None:
    window.do("duplicate")
    assert window.form["name"] == "violence-copy"
    assert window.can_write
    window.type("safe_text", "a quiet garden")
    assert window.listed["violence-copy"].endswith("●")
    assert "not saved" in window.shown["safegen_context_heading"]
    assert window.state["unsaved"]
    window.do("save")
    assert "Saved" in window.said
    assert not window.listed["violence-copy"].endswith("●")
    saved = json.loads((own_folder / "violence-copy.json").read_text())
    assert saved["safe_text"] == "a quiet garden"
    other = Window(demo, f"{own_folder} two")  # a page that is loaded later
    for page, tab in ((window, "txt2img"), (window, "img2img"), (other, "txt2img")):
        assert "violence-copy" in page.offered(tab)
    assert "violence-copy" in other.listed


def test_a_rename_and_a_deletion_are_followed_where_the_context_is_chosen(window: Window) -> None:
    window.do("duplicate")
    window.set("script_txt2img_safegen_context", "violence-copy")
    window.set("script_img2img_safegen_context", "hate")
    window.type("name", "my own")
    window.do("save")
    assert window.value("script_txt2img_safegen_context") == "my-own"
    window.do("delete")
    assert "my-own" not in window.listed
    assert window.value("script_txt2img_safegen_context") == "auto"
    assert window.value("script_img2img_safegen_context") == "hate"
    assert "my-own" not in window.offered("txt2img")


def test_switching_loses_nothing(demo: Any, window: Window) -> None:
    window.do("duplicate")
    window.type("safe_text", "a quiet garden")
    window.pick("hate")
    assert window.form["name"] == "hate"
    assert window.listed["violence-copy"].endswith("●")
    # Not even what was typed at the moment of the switch, before an event of its own.
    window.pick("violence-copy")
    assert window.form["safe_text"] == "a quiet garden"
    window.form["unsafe_text"] = "typed just now"
    window.pick("hate")
    window.do("refresh")
    window.pick("violence-copy")
    assert window.form["unsafe_text"] == "typed just now"
    window.do("new")
    window.type("label", "Second")
    window.pick("violence-copy")
    assert window.form["safe_text"] == "a quiet garden"
    (new,) = [key for key, label in window.listed.items() if label == "Second ●"]
    window.pick(new)
    assert window.form["label"] == "Second"
    # Another browser has drafts of its own.
    assert Window(demo, f"{window.session} two").listed["violence-copy"] == "Violence (copy)"


def test_discarding_goes_back_to_what_is_saved(window: Window) -> None:
    window.do("duplicate")
    before = dict(window.form)
    window.type("safe_text", "a quiet garden")
    window.do("discard")
    assert window.form == before
    assert not window.listed["violence-copy"].endswith("●")


def test_one_event_carries_all_that_was_typed_before_it(window: Window) -> None:
    window.do("duplicate")
    window.type("sample", "a frog")
    window.form["neutral"] = "frog => prince"
    window.do("typed")
    assert "<ins>prince</ins>" in window.shown["safegen_context_preview"]
    assert window.listed["violence-copy"].endswith("●")


def test_the_preview_follows_what_is_not_saved(window: Window) -> None:
    def preview() -> str:
        shown = str(window.shown["safegen_context_preview"])
        return shown.replace("</ins> <ins>", " ").replace("</ins><ins>", "")

    window.do("duplicate")
    window.type("sample", "a frog with a sword")
    assert "banners" not in preview()
    window.type("neutral", "frog => princess\nsword =>")
    assert "<ins>princess</ins>" in preview()
    assert "<mark>frog</mark>" in preview()
    window.beside["strategy"] = "prepend"
    window.type("safe_text", "a quiet garden")
    assert "<ins>a quiet garden" in preview()
    window.type("neutral", "frog")
    assert "Replacements, line 1" in preview()


@pytest.mark.parametrize(
    "body",
    [[], {}, {"do": "burn"}, {"do": "save", "form": {"label": 3}}, {"do": "save", "drafts": [1]},
     {"do": "pick", "shown": 3}],
    ids=repr,
)  # fmt: skip
def test_what_the_page_would_not_send_is_refused(window: Window, body: Any) -> None:
    answer = window.routes.post("/safegen/tab/contexts", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"]["message"].startswith("SafeGen: ")


def test_a_file_s_name_leads_nowhere(window: Window, calm: Path, own_folder: Path) -> None:
    text = calm.read_text()
    for name in ("../../calm.json", "..", "/etc/calm", "C:\\calm.json", ""):
        window.do("import", file={"name": name, "text": text}, replace=True)
        assert "Imported" in window.said, name
    assert [one.name for one in own_folder.glob("*")] == ["calm.json"]


def test_what_can_t_be_saved_names_the_field_and_stays(window: Window) -> None:
    window.do("new")
    window.type("label", "Bare")
    window.do("save")
    assert "Safe text" in window.said
    assert "alert" in window.said
    assert window.form["label"] == "Bare"


def test_import_and_export(window: Window, calm: Path, own_folder: Path) -> None:
    window.upload(calm)
    assert "Imported" in window.said
    assert window.form["safe_text"] == "a calm scene"
    assert "calm" in window.offered("img2img")
    assert "download='calm.json'" in window.shown["safegen_context_heading"]
    window.upload(calm)
    assert "taken" in window.said
    window.upload(calm, replace=True)
    assert "Imported" in window.said
    calm.write_text('{"name": "<b>x</b>", "label": "x", "safe_text": 3}')
    window.upload(calm)
    assert "category" in window.said or "safe_text" in window.said
    assert "calm.json" in window.said
    assert [one.name for one in own_folder.glob("*")] == ["calm.json"]


def test_a_file_put_there_by_hand_is_found_and_a_bad_one_named(
    window: Window, own_folder: Path
) -> None:
    own_folder.mkdir()
    (own_folder / "bad.json").write_text("{")
    (own_folder / "calm.json").write_text('{"name": "calm", "label": "Calm", "safe_text": "x"}')
    window.do("reload")
    assert "bad.json" in window.shown["safegen_context_problems"]
    assert window.listed["calm"] == "Calm"
    assert "calm" in window.offered("txt2img")


def test_a_search_keeps_what_is_shown(window: Window) -> None:
    window.type("search", "own")
    assert window.listed == {}
    assert window.form["name"] == "violence"
    window.type("search", "bully")
    assert "Harassment" in window.listed.values()
    assert "Violence" not in window.listed.values()


# ---------------------------------------------------------------------- learning


def test_learning_from_own_words_from_a_file_and_again(window: Window, tmp_path: Path) -> None:
    assert "own words" in window.learned
    assert "Nothing yet" in window.learned
    window.learn()
    assert "Violence: learned from" in window.said
    assert re.search(r"Learned from \d+ pairs\.", window.learned)
    file = tmp_path / "pairs.csv"
    file.write_text("unsafe,safe\na bloody sword,a clean banner\na gun,a camera\n")
    window.learn(file)
    assert "from 2 pairs" in window.said
    window.learn()  # again, from the pairs that were kept
    assert "from 2 pairs" in window.said
    assert "2, kept from the last time" in window.learned
    file.write_text("risky,safe\na,b\n")
    window.learn(file)
    assert "no column unsafe" in window.said


def test_what_was_learned_for_another_model_is_told_apart(host: Any, window: Window) -> None:
    window.learn()
    assert "Nothing yet" not in window.learned
    host.shared.sd_model = standin.Model("toy-other")
    window.pick("violence")
    assert "Another model" in window.learned
    assert "Nothing yet" in window.learned
    window.learn()
    assert "The loaded model" in window.learned


def test_a_new_context_has_to_be_saved_before_it_learns(window: Window) -> None:
    window.do("new")
    assert "Save the context first" in window.learned
    window.learn()
    assert "alert" in window.said


# ---------------------------------------------------------------------- enforcement


def test_under_enforcement_the_server_refuses(
    window: Window, enforced: None, own_folder: Path, calm: Path
) -> None:
    calm.write_text(to_text(SafetyContext("calm", "Calm", "hate", "", "a calm scene", "")))
    window.upload(calm)
    assert "enforces SafeGen (level basic)" in window.said
    window.do("duplicate")
    assert "enforces SafeGen (level basic)" in window.said
    window.learn()
    assert "while SafeGen is enforced" in window.said
    assert not own_folder.exists()
    window.do("new")
    window.type("label", "By hand")
    window.type("safe_text", "a quiet garden")
    window.do("save")
    assert "Saved" in window.said


def test_a_policy_that_can_t_be_read_forbids_every_change(
    host: Any, window: Window, own_folder: Path
) -> None:
    host.shared.cmd_opts.safegen_enforce = "no-such-level"
    window.do("duplicate")
    assert "no-such-level" in window.said
    assert not own_folder.exists()
    assert "nothing is generated" in window.status
    assert "no-such-level" in window.check("a cat")
