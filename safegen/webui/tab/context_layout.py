"""The components of the contexts' pane."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from safegen.plan import SETTINGS, TEXTUAL_STRATEGIES
from safegen.webui import markup
from safegen.webui.drafts import ARROW, Drafts, Form, suggestion_label
from safegen.webui.tab.context_views import library
from safegen.webui.tab.parts import button, html, not_in_config
from safegen.webui.words import later, say

SAMPLE = "a bloody knight with a sword on a battlefield, oil painting"
"""What the preview begins with."""


def _suggested(name: str) -> tuple[str, str, int]:
    setting = SETTINGS[name]
    limits = f"{setting.minimum:g} to {setting.maximum:g}"
    return suggestion_label(name), f"{limits}, or empty. Set when this context is chosen.", 1


_LABELS: dict[str, tuple[str, str, int]] = {
    "label": ("Label", "The name shown in lists.", 1),
    "name": ("Name", "Used in infotexts and files. Empty: made from the label.", 1),
    "category": ("Category", "What Auto picks it for. Empty: only chosen by hand.", 1),
    "description": ("Description", "One sentence for whoever chooses it.", 1),
    "safe_text": ("Safe text", "What the picture should be like.", 2),
    "unsafe_text": (
        "Move away from",
        f"What the picture is pushed away from, as far as {SETTINGS['push'].label!r} says. It "
        "replaces no words.",
        2,
    ),
    "neutral": (
        "Replacements",
        f"One a line: risky word {ARROW} neutral one. Leave the right side empty to drop the word.",
        8,
    ),
    "fallback": ("Any other risky word becomes", "Empty: it is dropped.", 1),
    "weight": _suggested("weight"),
    "tau": _suggested("tau"),
}


@dataclass(frozen=True)
class Question:
    """A question, and the buttons that answer it."""

    group: Any
    yes: Any
    no: Any


@dataclass(frozen=True)
class Side:
    """The list of contexts, and what is done with the list.

    Args:
        drafts: The page's drafts, a state.
        shown: Names the context whose fields the page shows, in every event. So an event that
            is late can't write one context's text into another's draft.
    """

    drafts: Any
    shown: Any
    search: Any
    listing: Any
    new: Any
    upload: Any
    reload: Any
    replace: Any
    problems: Any
    typed: Any


@dataclass(frozen=True)
class Editor:
    """One context's form, and what is done with it; ``fields`` in the order of `Form`."""

    message: Any
    heading: Any
    save: Any
    discard: Any
    duplicate: Any
    delete: Any
    confirm_discard: Question
    confirm_delete: Question
    fields: list[Any]


@dataclass(frozen=True)
class Preview:
    """What becomes of a sample prompt, and what is learned."""

    sample: Any
    strategy: Any
    shown: Any
    learned: Any
    pairs: Any
    learn: Any


def side() -> Side:
    """The list."""
    drafts = gr.State(Drafts())
    shown = not_in_config(gr.Textbox(visible=False, elem_id="safegen_context_shown"))
    search = not_in_config(
        gr.Textbox(
            label="Search contexts",
            placeholder="Name, word, category, own, built-in",
            elem_id="safegen_context_search",
            max_lines=1,
        )
    )
    listing = not_in_config(
        gr.Radio(
            [],
            label="Contexts",
            elem_id="safegen_context_list",
            elem_classes=["safegen-list"],
        )
    )
    with gr.Row(elem_classes=["safegen-buttons"]):
        new = button("New", "safegen_context_new")
        upload = not_in_config(
            gr.UploadButton(
                "Import",
                file_types=[".json"],
                size="sm",
                elem_id="safegen_context_import",
                min_width=90,
            )
        )
        reload = button("Refresh", "safegen_context_reload")
    replace = not_in_config(
        gr.Checkbox(
            False,
            label="Import replaces one of the same name",
            elem_id="safegen_context_replace",
            container=False,
        )
    )
    problems = html("safegen_context_problems")
    typed = button("Typed", "safegen_context_typed", visible=False)
    return Side(drafts, shown, search, listing, new, upload, reload, replace, problems, typed)


def categories() -> list[str]:
    """The categories that contexts have, after none."""
    return ["", *dict.fromkeys(c.category for c in library() if c.category)]


def _field(name: str) -> Any:
    label, info, lines = _LABELS[name]
    common: dict[str, Any] = {
        "label": label,
        "info": info,
        "elem_id": f"safegen_context_{name}",
        "interactive": False,
    }
    if name == "category":
        return not_in_config(gr.Dropdown(categories(), value="", allow_custom_value=True, **common))
    most = max(lines, 1) if lines < 3 else 14
    return not_in_config(gr.Textbox(lines=lines, max_lines=most, **common))


def _question(name: str, text: str, yes: str, no: str) -> Question:
    with gr.Column(
        visible=False,
        elem_id=f"safegen_context_confirm_{name}",
        elem_classes=["safegen-question"],
    ) as group:
        gr.HTML(f"<p role='alert'>{say(text)}</p>")
        with gr.Row(elem_classes=["safegen-buttons"]):
            really = button(yes, f"safegen_context_really_{name}", "stop")
            keep = button(no, f"safegen_context_keep_{name}")
    return Question(group, really, keep)


def editor() -> Editor:
    """The form, empty."""
    message = html("safegen_context_message")
    heading = html("safegen_context_heading")
    with gr.Row(elem_classes=["safegen-buttons"]):
        save = button("Save", "safegen_context_save", "primary", interactive=False)
        discard = button("Discard changes", "safegen_context_discard", interactive=False)
        duplicate = button("Duplicate", "safegen_context_duplicate")
        delete = button("Delete", "safegen_context_delete", "stop", interactive=False)
    confirm_discard = _question(
        "discard", later("Discard what you have changed in this context?"), "Discard", "Keep"
    )
    confirm_delete = _question(
        "delete",
        later("Delete this context and what was learned for it? This can't be undone."),
        "Delete for good",
        "Keep",
    )
    made: dict[str, Any] = {}
    for name in _LABELS:  # one form; the style sheet puts short ones beside each other
        made[name] = _field(name)
    ordered = [made[one.name] for one in fields(Form)]
    return Editor(
        message, heading, save, discard, duplicate, delete, confirm_discard, confirm_delete, ordered
    )


def preview() -> Preview:
    """The sample prompt and what becomes of it, and the accordion for learning."""
    sample = not_in_config(
        gr.Textbox(
            SAMPLE,
            label="Sample prompt",
            info="What becomes of it under this context, as written here, saved or not.",
            lines=2,
            max_lines=6,
            elem_id="safegen_context_sample",
        )
    )
    strategy = not_in_config(
        gr.Radio(
            list(TEXTUAL_STRATEGIES),
            value=TEXTUAL_STRATEGIES[0],
            label=SETTINGS["strategy"].label,
            elem_id="safegen_context_view",
        )
    )
    shown = html("safegen_context_preview")
    with gr.Accordion("Learned embedding", open=False, elem_id="safegen_context_learning"):
        learned = html("safegen_context_learned")
        gr.HTML(
            markup.note(
                say(
                    "Pairs of your own: a CSV file with the columns unsafe and safe. Without one "
                    "it learns from those named above."
                )
            ),
            elem_classes=["safegen-pane"],
        )
        pairs = gr.File(
            label="Pairs (.csv)",
            file_types=[".csv"],
            elem_id="safegen_context_pairs",
            height=140,
        )
        learn = button("Learn in the loaded model", "safegen_context_learn", "primary")
    return Preview(sample, strategy, shown, learned, pairs, learn)
