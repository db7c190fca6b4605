"""The pane for contexts, as HTML: a list, a form, a preview."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from safegen.plan import SETTINGS, TEXTUAL_STRATEGIES
from safegen.webui import markup
from safegen.webui.deciding import library
from safegen.webui.forms import ARROW, suggestion_label
from safegen.webui.tab import fields
from safegen.webui.words import later, say, translated

ID = "safegen_context_"
SAMPLE = "a bloody knight on a horse in front of a castle, oil painting"
"""What the preview begins with."""


def _suggested(name: str) -> tuple[str, str, int]:
    setting = SETTINGS[name]
    limits = f"{setting.minimum:g} to {setting.maximum:g}"
    return suggestion_label(name), f"{limits}, or empty. Set when this context is chosen.", 1


LABELS: dict[str, tuple[str, str, int]] = {
    "label": (later("Label"), later("The name shown in lists."), 1),
    "name": (later("Name"), later("Used in infotexts and files. Empty: made from the label."), 1),
    "category": (
        later("Category"),
        later("What Auto picks it for. Empty: only chosen by hand."),
        1,
    ),
    "description": (later("Description"), later("One sentence for whoever chooses it."), 2),
    "safe_text": (later("Safe text"), later("What the picture should be like."), 2),
    "unsafe_text": (
        later("Move away from"),
        f"What the picture is pushed away from, as far as {SETTINGS['push'].label!r} says. It "
        "replaces no words.",
        2,
    ),
    "neutral": (
        later("Replacements"),
        f"One per line: risky word {ARROW} neutral one. Leave the right side empty to drop the "
        "word.",
        8,
    ),
    "fallback": (later("Any other risky word becomes"), later("Empty: it is dropped."), 1),
    "weight": _suggested("weight"),
    "tau": _suggested("tau"),
}
"""What each field of the form is called, what explains it, and its lines."""


def categories() -> list[str]:
    """The categories that contexts have."""
    return list(dict.fromkeys(c.category for c in library() if c.category))


def entries(found: Iterable[tuple[str, str]]) -> str:
    """The list: label and key of each context. The page ticks the one that is shown."""
    return "".join(
        f"<label class='safegen-tick'><input type='radio' "
        f"{fields.attributes(name=ID + 'list', value=key)}><span>{escape(label)}</span></label>"
        for label, key in found
    )


def _side() -> str:
    file = fields.attributes(
        id=f"{ID}import_file", type="file", accept=".json", hidden=True, aria_label=say("Import")
    )
    buttons = fields.row(
        fields.button(f"{ID}new", say("New")),
        fields.button(f"{ID}import", say("Import")) + f"<input {file}>",
        fields.button(f"{ID}reload", say("Refresh")),
    )
    name = say("Contexts")
    return (
        fields.text(
            f"{ID}search",
            say("Search contexts"),
            placeholder=say("Name, word, category, own, built-in"),
        )
        + f"<div class='safegen-list' role='radiogroup' id='{ID}list' "
        f"aria-label='{escape(name)}'></div>{buttons}"
        + fields.tick(f"{ID}replace", say("Import replaces one of the same name"))
        + fields.place(f"{ID}problems")
    )


def _question(name: str, text: str, yes: str) -> str:
    buttons = fields.row(
        fields.button(f"{ID}really_{name}", yes, "stop"),
        fields.button(f"{ID}keep_{name}", say("Keep")),
    )
    return (
        f"<div class='safegen-question' id='{ID}confirm_{name}' hidden>"
        f"<p role='alert'>{escape(text)}</p>{buttons}</div>"
    )


def _editor() -> str:
    buttons = fields.row(
        fields.button(f"{ID}save", say("Save"), "primary", disabled=True),
        fields.button(f"{ID}discard", say("Discard changes"), disabled=True),
        fields.button(f"{ID}duplicate", say("Duplicate")),
        fields.button(f"{ID}delete", say("Delete"), "stop", disabled=True),
    )
    asks = _question(
        "discard", say("Discard what you have changed in this context?"), say("Discard")
    ) + _question(
        "delete",
        say("Delete this context and what was learned for it? This can't be undone."),
        say("Delete for good"),
    )
    form = "".join(
        fields.text(
            ID + name,
            translated(label),
            translated(info),
            lines=lines,
            disabled=True,
            choices=categories() if name == "category" else (),
        )
        for name, (label, info, lines) in LABELS.items()
    )
    heading = fields.place(f"{ID}message") + fields.place(f"{ID}heading")
    return f"{heading}{buttons}{asks}<div class='safegen-form'>{form}</div>"


def _preview() -> str:
    pairs = fields.attributes(
        id=f"{ID}pairs", type="file", accept=".csv", aria_label=say("Pairs (.csv)")
    )
    hint = markup.note(
        say(
            "Pairs of your own: a CSV file with the columns unsafe and safe. Without one "
            "it learns from those named above."
        )
    )
    learning = (
        fields.place(f"{ID}learned")
        + hint
        + f"<label class='safegen-field'><span class='safegen-title'>{escape(say('Pairs (.csv)'))}"
        f"</span><input {pairs}></label>"
        + fields.row(fields.button(f"{ID}learn", say("Learn in the loaded model"), "primary"))
        + fields.progress(f"{ID}learning_progress")
    )
    return (
        fields.text(
            f"{ID}sample",
            say("Sample prompt"),
            say("What becomes of it under this context, as written here, saved or not."),
            value=SAMPLE,
            lines=2,
        )
        + fields.choice(
            f"{ID}view",
            say(SETTINGS["strategy"].label),
            choices=TEXTUAL_STRATEGIES,
            chosen=TEXTUAL_STRATEGIES[:1],
        )
        + fields.place(f"{ID}preview")
        + f"<details class='safegen-fold' id='{ID}learning'><summary>"
        f"{escape(say('Learned embedding'))}</summary>{learning}</details>"
    )


def html() -> str:
    """The pane, before anything is asked."""
    return fields.split((2, _side()), (6, _editor()), (4, _preview()))
