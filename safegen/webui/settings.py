"""SafeGen's page in the WebUI's settings: defaults, enforcement, contexts of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from safegen.errors import SafeGenError
from safegen.plan import SETTINGS, SafetyPlan, Setting
from safegen.webui import host
from safegen.webui.enforcement import LEVELS, OFF, Policy, load, strongest

SECTION = ("safegen", "SafeGen")
PREFIX = "safegen_default_"
ENFORCE = "safegen_enforce"
NESTED = "safegen_guard_nested"
CONTEXTS = "safegen_contexts_folder"
LEXICON = "safegen_lexicon_file"
ON_FAILURE = "safegen_on_failure"
STOP = "Stop with a message"
BLACK = "Black picture and a message"
COMMENT = "safegen_comment"

_WITHOUT_DEFAULT = ("enabled", "safe_text", "unsafe_text")


def _component(setting: Setting) -> tuple[Any, dict[str, Any]]:
    if setting.kind is bool:
        return gr.Checkbox, {}
    if setting.kind is tuple:
        return gr.CheckboxGroup, {"choices": list(setting.choices)}
    if setting.choices:
        return gr.Radio, {"choices": list(setting.choices)}
    if setting.kind is str:
        return gr.Textbox, {}
    return gr.Slider, {
        "minimum": setting.minimum,
        "maximum": setting.maximum,
        "step": setting.step,
    }


def _json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def register() -> None:
    """The ``on_ui_settings`` callback: add the page."""

    def add(
        name: str, default: Any, label: str, component: Any, arguments: Any, **more: Any
    ) -> None:
        host.add_option(name, default, label, component, arguments, section=SECTION, **more)

    add(
        ENFORCE,
        OFF,
        "Enforce SafeGen on every picture",
        gr.Radio,
        {"choices": [OFF, *LEVELS]},
        restrict_api=True,
        needs_reload=True,  # to be seen in the page; it is in force at once
        info="always on, with floors for its values, for UI, infotext, X/Y/Z, API and runs inside "
        "other extensions; the API can't change this; --safegen-enforce adds to it",
    )
    add(
        NESTED,
        True,
        "Also guard what other extensions make within a run",
        gr.Checkbox,
        {},
        info="such as ADetailer's: with the settings of the run around it, each prompt judged by "
        "itself; enforcement guards them in any case",
    )
    add(
        ON_FAILURE,
        STOP,
        "When a picture can't be guarded",
        gr.Radio,
        {"choices": [STOP, BLACK]},
        restrict_api=True,
        info="either way it is never shown, saved or sent; a black picture lets the rest of a "
        "batch go on; what is wrong with a request is always a message",
    )
    add(COMMENT, True, "Say under the picture what SafeGen did", gr.Checkbox, {})
    add(
        CONTEXTS,
        "",
        "Folder with contexts of your own",
        gr.Textbox,
        {},
        restrict_api=True,
        info="one .json file each; empty: safegen/contexts in the data folder; needs a restart",
    )
    add(
        LEXICON,
        "",
        "Word list of your own",
        gr.Textbox,
        {},
        restrict_api=True,
        info="a .json file that adds to the built-in lexicon; needs a restart",
    )
    for name, setting in SETTINGS.items():
        if name in _WITHOUT_DEFAULT:
            continue
        component, arguments = _component(setting)
        add(
            PREFIX + name,
            _json(setting.default),
            f"Default: {setting.label}",
            component,
            arguments,
            info=setting.help,
            needs_reload=True,
        )


def base_plan() -> SafetyPlan:
    """The defaults from the settings page, enabled; what is not allowed there falls back."""
    values: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        if name in _WITHOUT_DEFAULT:
            continue
        value = host.option(PREFIX + name, _json(setting.default))
        try:
            values[name] = setting.check(tuple(value) if isinstance(value, list) else value)
        except ValueError:
            values[name] = setting.default
    try:
        return SafetyPlan(**values)
    except ValueError:  # two values that don't fit together, or a custom context without text
        return SafetyPlan()


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
    return strongest([policy.of_user(user) for policy in found if policy is not None])


def enforcing() -> bool:
    """Whether anything is enforced, be it a policy that can't be read."""
    try:
        return active_policy() is not None
    except SafeGenError:
        return True


def policy_to_show() -> Policy | None:
    """What is enforced, for the page; one that can't be read shows as what it does: refuse."""
    try:
        return active_policy()
    except SafeGenError as error:
        return Policy(f"unreadable, so nothing is generated: {error}")
