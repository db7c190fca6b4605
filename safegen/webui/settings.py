"""SafeGen's settings: enforcement, contexts of the user's own, and what the controls begin with.

The last have no page among the host's settings, which would make each a component of every page
that is loaded; the tab's pane *Defaults* changes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from safegen.errors import InvalidValue, SafeGenError, Unsupported, certain
from safegen.plan import SETTINGS, SafetyPlan
from safegen.sentence import joined, told
from safegen.webui import host
from safegen.webui.enforcement import LEVELS, OFF, Policy, PolicyError, is_off, load, strongest
from safegen.webui.words import refusal_by_default, spoken

SECTION = ("safegen", "SafeGen")
HIDDEN = (None, "Defaults")
"""The host keeps such settings, and shows no page of them."""
PREFIX = "safegen_default_"
ENFORCE = "safegen_enforce"
NESTED = "safegen_guard_nested"
CONTEXTS = "safegen_contexts_folder"
LEXICON = "safegen_lexicon_file"
ON_FAILURE = "safegen_on_failure"
STOP = "Stop with a message"
BLACK = "Black picture and a message"
COMMENT = "safegen_comment"
REFUSAL = "safegen_refusal"
TICKED = "safegen_ticked"
AUDIT = "safegen_audit"
NO_AUDIT, WITHOUT_PROMPTS, WITH_PROMPTS = AUDITS = ("Off", "Without prompts", "With prompts")

WITH_DEFAULT = tuple(n for n in SETTINGS if n not in ("enabled", "safe_text", "unsafe_text"))
"""The settings that have a default of the operator's."""


def _json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def register() -> None:
    """The ``on_ui_settings`` callback: add the page, and what has none."""

    def add(
        name: str, default: Any, label: str, component: Any, arguments: Any, **more: Any
    ) -> None:
        more.setdefault("section", SECTION)
        # The host shows what it is given here in brackets, where its own page finds no sentence.
        more["info"] = spoken(more.get("info", ""))
        host.add_option(name, default, label, component, arguments, **more)

    add(
        ENFORCE,
        OFF,
        "Enforce SafeGen on every picture",
        gr.Radio,
        {"choices": [OFF, *LEVELS]},
        restrict_api=True,
        info=joined(
            " ",
            (
                told("Nobody can switch it off then, nor the API. It is in force at once."),
                _levels(),
                told("Once it is chosen, SafeGen's tab lists all its limits under 'Status'."),
            ),
        ),
    )
    add(
        REFUSAL,
        "",
        "What is said when a picture is refused",
        gr.Textbox,
        {"placeholder": refusal_by_default(), "lines": 3},
        restrict_api=True,
        info=told("One sentence for whoever asked. The reason stands behind 'Details'."),
    )
    add(
        ON_FAILURE,
        STOP,
        "When a picture can't be guarded",
        gr.Radio,
        {"choices": [STOP, BLACK]},
        restrict_api=True,
        info=told(
            "An unguarded picture is never shown. A black one lets the rest of a batch go on."
        ),
    )
    add(
        NESTED,
        True,
        "Also guard what other extensions make within a run",
        gr.Checkbox,
        {},
        info=told(
            "For example ADetailer's faces. Where SafeGen is enforced they are always guarded."
        ),
    )
    add(COMMENT, True, "Say under the picture what SafeGen did", gr.Checkbox, {})
    add(
        AUDIT,
        NO_AUDIT,
        "Keep a log of every picture",
        gr.Radio,
        {"choices": list(AUDITS)},
        restrict_api=True,
        info=told(
            "safegen/audit.jsonl in the data folder: time, user, verdict, context, calls, model, "
            "policy. If it can't be written, nothing is generated."
        ),
    )
    add(
        CONTEXTS,
        "",
        "Folder with contexts of your own",
        gr.Textbox,
        {},
        restrict_api=True,
        info=told("Empty: safegen/contexts in the data folder. A change needs a restart."),
    )
    add(
        LEXICON,
        "",
        "Word list of your own",
        gr.Textbox,
        {},
        restrict_api=True,
        info=told("A .json file that adds to the built-in list. A change needs a restart."),
    )
    add(TICKED, False, "Tick SafeGen when the page is loaded", None, None, section=HIDDEN)
    for name in WITH_DEFAULT:
        setting = SETTINGS[name]
        add(PREFIX + name, _json(setting.default), setting.label, None, None, section=HIDDEN)


def _levels() -> str:
    """What each level does, in words."""
    return joined(" ", (_level(name, level) for name, level in LEVELS.items()))


def _level(name: str, level: Policy) -> str:
    given = {"level": name.capitalize(), "limit": f"{level.maximum['threshold']:g}"}
    weight = level.minimum["weight"]
    if weight == SETTINGS["weight"].maximum:
        return told(
            "{level}: the safe version alone counts, and a prompt counts as unsafe from a score of "
            "{limit}.",
            **given,
        )
    return told(
        "{level}: the safe version counts at least {weight}, and a prompt counts as unsafe from a "
        "score of {limit}.",
        weight=f"{weight:.0%}",
        **given,
    )


def ticked() -> bool:
    """Whether the page comes with SafeGen ticked."""
    return bool(host.option(TICKED, False))


def guards_nested() -> bool:
    """Whether runs within a run are guarded too; only a plain no switches it off."""
    return host.option(NESTED, True) is not False


def language() -> str:
    """The language that the page is set to: a file's name, or ``None`` for English."""
    return str(host.option("localization", "None"))


def refusal() -> str:
    """The operator's own sentence for a refused picture; empty for the usual one."""
    return str(host.option(REFUSAL, ""))


def base_plan() -> SafetyPlan:
    """The operator's defaults, enabled; what is not allowed there falls back."""
    values: dict[str, Any] = {}
    for name in WITH_DEFAULT:
        setting = SETTINGS[name]
        value = host.option(PREFIX + name, _json(setting.default))
        try:
            values[name] = setting.check(tuple(value) if isinstance(value, list) else value)
        except ValueError:
            values[name] = setting.default
    try:
        return SafetyPlan(**values)
    except ValueError:  # two values that don't fit together, or a custom context without text
        return SafetyPlan()


def may_keep_defaults() -> bool:
    """Whether whoever sees the page may change the defaults: where they see the host's settings."""
    return not host.hides_tab("Settings")


def keep_defaults(values: Mapping[str, Any], *, ticked: bool) -> None:
    """Let the controls and the API begin with ``values``, and the page with SafeGen ticked or not.

    Raises:
        InvalidValue: A value is not allowed; nothing is changed then.
        Unsupported: The host keeps its settings as they are.
    """
    unknown = next((name for name in values if name not in WITH_DEFAULT), None)
    if unknown is not None:
        raise InvalidValue("Defaults", unknown, ", ".join(WITH_DEFAULT))
    if not may_keep_defaults():
        raise Unsupported(told("The settings can't be changed here. Ask the operator."))
    plan = SafetyPlan(**{name: SETTINGS[name].check(value) for name, value in values.items()})
    kept = {PREFIX + name: _json(getattr(plan, name)) for name in values}
    try:
        host.keep_options({**kept, TICKED: ticked})
    except (AssertionError, OSError) as error:  # what is frozen, the host asserts
        raise Unsupported(told("The settings can't be changed here. Ask the operator.")) from error


def contexts_folder() -> Path:
    """Where the user's own contexts are."""
    named = str(host.option(CONTEXTS, "")).strip()
    return Path(named) if named else host.data_path() / "safegen" / "contexts"


def lexicon_file() -> Path | None:
    """The user's own word list, if there is one."""
    named = str(host.option(LEXICON, "")).strip()
    return Path(named) if named else None


# ---------------------------------------------------------------------- enforcement


def active_policy(user: str | None = None) -> Policy | None:
    """What is enforced now, for ``user``. Raises `PolicyError` if that can't be read."""
    named = (host.flag("safegen_enforce"), host.option(ENFORCE, OFF))
    found = [load(level) for level in named]
    for level, policy in zip(named, found, strict=True):
        if policy is None and not is_off(level):
            raise PolicyError(f"enforcement level {level!r} came to nothing")
    return strongest([policy.of_user(user) for policy in found if policy is not None])


def nothing_enforced() -> bool:
    """Whether every level is off, read apart from `active_policy`, which may come to nothing."""
    shared = host.shared
    levels = (getattr(shared.cmd_opts, ENFORCE, None), shared.opts.data.get(ENFORCE))
    return all(certain(is_off(level), "whether anything is enforced") for level in levels)


def enforcing() -> bool:
    """Whether anything is enforced, be it a policy that can't be read."""
    try:
        return active_policy() is not None
    except SafeGenError:
        return True


def policy_to_show(user: str | None = None) -> Policy | None:
    """What is enforced, for the page; one that can't be read shows as what it does: refuse."""
    try:
        return active_policy(user)
    except SafeGenError as error:
        return Policy(f"unreadable, so nothing is generated: {error}")
