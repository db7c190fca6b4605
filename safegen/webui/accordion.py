"""The accordion in txt2img and img2img, made from `SETTINGS`."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import gradio as gr

from safegen.choice import Chooser
from safegen.errors import SafeGenError
from safegen.plan import AUTO, CUSTOM, SETTINGS, SafetyPlan, Setting
from safegen.webui import arguments, host, page
from safegen.webui.enforcement import Policy

context_controls: list[Any] = []
"""The context control of each accordion of the page that is being built; see `build`. The tab
keeps their choices up to date when contexts are made and deleted."""


_CHANGED = (
    "(...values) => { document.dispatchEvent("
    'new CustomEvent("safegen:changed", {detail: {button: "BUTTON"}})); return values; }'
)
"""Tells the page's script that a control has changed; no request is made."""


def context_choices(chooser: Chooser) -> list[str]:
    """What the context control offers: Auto, every context by name, custom texts."""
    return [AUTO, *chooser.library.names(), CUSTOM]


def _control(setting: Setting, value: Any, elem_id: str, contexts: list[str]) -> Any:
    common: dict[str, Any] = {
        "label": setting.label,
        "info": setting.help,
        "elem_id": elem_id,
        "elem_classes": ["safegen-control"],
    }
    if setting.name == "context":
        choices = contexts if value in contexts else [*contexts, value]
        return gr.Dropdown(choices=choices, value=value, **common)
    if setting.kind is bool:
        return gr.Checkbox(value=value, **common)
    if setting.kind is tuple:
        return gr.CheckboxGroup(choices=list(setting.choices), value=list(value), **common)
    if setting.choices:
        kind = gr.Dropdown if len(setting.choices) > 3 else gr.Radio
        return kind(choices=list(setting.choices), value=value, **common)
    if setting.kind is str:
        return gr.Textbox(value=value, lines=1, max_lines=4, **common)
    return gr.Slider(
        minimum=setting.minimum,
        maximum=setting.maximum,
        step=setting.step,
        value=value,
        **common,
    )


def _told(state: str, label: str, text: str) -> str:
    """``text`` with what the page's badge near Generate needs."""
    return (
        f"<div data-safegen-state='{state}' data-safegen-label='{html.escape(label, quote=True)}'>"
        f"{text}</div>"
    )


def summary(args: tuple[Any, ...], base: SafetyPlan, policy: Policy | None) -> str:
    """One line of what will happen with the controls as they stand, as HTML.

    Its ``data-safegen-state`` is ``off``, ``on``, ``auto``, ``enforced`` or ``failed``, for the
    badge.
    """
    try:
        resolved = arguments.resolve(args, base, policy)
    except SafeGenError as error:
        bad = f"<span class='safegen-bad'>{html.escape(str(error))}</span>"
        return _told("on" if policy is None else "enforced", "can't run", bad)
    plan, notes = resolved.plan, resolved.notes
    if not plan.enabled:
        return _told("off", "", "Off: pictures are made as without SafeGen.")
    if not plan.active:
        return _told("off", "weight 0", "Weight 0: pictures are made as without SafeGen.")
    what = {
        AUTO: "Auto reads each prompt and picks one context, or none for a harmless prompt",
        CUSTOM: "your own texts apply to every prompt",
    }.get(plan.context, f"context <b>{html.escape(plan.context)}</b> applies to every prompt")
    until = "to the end" if plan.end == 1 else f"to {plan.end:.0%}"
    rows = "4 model rows per picture instead of 2"
    if plan.streams == "shared":
        rows = f"{2 + 1 / plan.refresh:.3g} model rows per picture instead of 2"
    text = (
        f"From {plan.tau:.0%} of the steps {until}: {what}; the safe stream "
        f"({plan.strategy}) counts {plan.weight:.0%}; {rows} while it does."
    )
    if notes:
        text += f" <b>Enforced:</b> {html.escape('; '.join(notes))}."
    weight = f"{plan.weight:.0%}"
    if policy is not None:
        return _told("enforced", weight, text)
    if plan.context == AUTO:
        return _told("auto", weight, text)
    return _told("on", f"{plan.context} {weight}", text)


def build(
    make_accordion: Callable[..., Any],
    elem_id: Callable[[str], str],
    chooser: Chooser,
    base: SafetyPlan,
    policy: Policy | None,
    enforcing: Callable[[], bool],
) -> dict[str, Any]:
    """The controls by setting, in the order of `SETTINGS`. Its context control is added to
    `context_controls`, which the host's next page begins anew.

    Args:
        make_accordion: The host's ``InputAccordion``.
        elem_id: The script's own, which tells txt2img from img2img.
        chooser: For the contexts on offer.
        base: The defaults.
        policy: What is enforced, if anything; it is said on top, and sets the defaults.
        enforcing: Whether anything still is; asked whenever a page is loaded.
    """
    if policy is not None:
        base, _ = policy.apply(base)
    contexts = context_choices(chooser)
    made: dict[str, Any] = {}

    def make(name: str) -> None:
        made[name] = _control(SETTINGS[name], getattr(base, name), elem_id(name), contexts)

    # Never ticked here, for the host's API takes its defaults from these values for as long as
    # it runs, and what is enforced may change meanwhile. The page ticks it when it is loaded.
    with make_accordion(False, label="SafeGen", elem_id=elem_id("enable")) as accordion:
        made["enabled"] = accordion
        if policy is not None:
            gr.HTML(
                f"<p class='safegen-enforced'>{html.escape(policy.explain())}</p>",
                elem_id=elem_id("enforced"),
            )
        unsupported = host.why_unsupported()
        if unsupported:
            gr.HTML(f"<p class='safegen-bad'>{html.escape(unsupported)}.</p>")
        with gr.Row():
            for name, setting in SETTINGS.items():
                if not setting.advanced and name != "enabled":
                    make(name)
        with gr.Group(
            visible=base.context == CUSTOM, elem_id=elem_id("custom_texts")
        ) as custom_texts:
            make("safe_text")
            make("unsafe_text")
        line = gr.HTML(
            summary((policy is not None,), base, policy),
            elem_id=elem_id("summary"),
            elem_classes=["safegen-summary"],
        )
        with gr.Accordion("Advanced", open=False, elem_id=elem_id("advanced")):
            rest = [name for name in SETTINGS if name not in made]
            for first, second in zip(rest[::2], [*rest[1::2], None], strict=False):
                with gr.Row():
                    make(first)
                    if second is not None:
                        make(second)
    context_controls.append(made["context"])
    ordered = {name: made[name] for name in SETTINGS}
    inputs = list(ordered.values())
    if policy is not None:
        # What was saved as a default before must not hide what is enforced now. The host keeps
        # the accordion beside its checkbox.
        for control in (*inputs, getattr(accordion, "accordion", None)):
            if control is not None:
                control.do_not_save_to_config = True
        whole = gr.context.Context.root_block
        if whole is not None:
            whole.load(
                lambda: gr.update(value=True) if enforcing() else gr.update(),
                outputs=[accordion],
                show_progress=False,
                queue=False,
            )

    def refresh(*args: Any) -> tuple[str, Any]:
        return summary(args, base, policy), gr.update(visible=args[1] == CUSTOM)

    def suggest(*args: Any) -> tuple[Any, ...]:
        """The chosen context's own weight and threshold, where it has them."""
        name, found = args[1], {}
        if name in chooser.library:
            context = chooser.library.get(name)
            found = arguments.suggested(context, args, base, policy)
        return tuple(found.get(dial, gr.update()) for dial in ("weight", "tau"))

    # A pasted infotext changes every control. The page gathers what changes at once, and presses
    # this button once for all of it.
    gather = gr.Button("Refresh", visible=False, elem_id=elem_id("changed"))
    gather.click(
        refresh, inputs=inputs, outputs=[line, custom_texts], show_progress=False, queue=False
    )
    # Only a person's choice: a pasted infotext changes the context too, and says the weight.
    ordered["context"].input(
        suggest,
        inputs=inputs,
        outputs=[ordered["weight"], ordered["tau"]],
        show_progress=False,
        queue=False,
    )
    changed = _CHANGED.replace("BUTTON", elem_id("changed"))
    for control in inputs:
        control.change(None, **page.js(changed))
    return ordered
