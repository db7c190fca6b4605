"""The pane that checks prompts: what `POST /safegen/check` answers, to look at."""

from __future__ import annotations

from typing import Any

import gradio as gr

from safegen.errors import InvalidValue, SafeGenError
from safegen.plan import AUTO, SETTINGS, TEXTUAL_STRATEGIES
from safegen.sentence import told
from safegen.webui import checking, deciding, markup, mending, settings
from safegen.webui.arguments import resolve
from safegen.webui.drafts import NotPermitted
from safegen.webui.errors import plainly
from safegen.webui.tab.parts import button, html, not_in_config
from safegen.webui.words import say

SHOWN = 5
"""How many prompts of a list are shown with everything that is known about them."""


def prompts_of(text: str, *, by_line: bool) -> list[str]:
    """The prompts in ``text``.

    Raises:
        InvalidValue: There are none, or too many.
    """
    lines = [line.strip() for line in text.splitlines()] if by_line else [text]
    found = [line for line in lines if line.strip()]
    if not found:
        raise InvalidValue(
            "Prompts", "nothing", "at least one prompt", plain=told("Write a prompt.")
        )
    if len(found) > checking.MOST_PROMPTS:
        most = told("up to {n}", n=checking.MOST_PROMPTS)
        raise InvalidValue("Prompts", f"{len(found)} lines", most)
    return found


def answer(
    text: str,
    by_line: bool,
    threshold: float,
    detectors: list[str],
    strategy: str,
    progress: Any = None,
) -> str:
    """Everything that is known about the prompts in ``text``, as HTML."""
    try:
        prompts = prompts_of(text, by_line=by_line)
        asked = {
            "context": AUTO,
            "threshold": threshold,
            "detectors": detectors,
            "strategy": strategy,
        }
        base, policy = settings.base_plan(), settings.active_policy()
        plan = resolve([asked], base, None).plan
        enforced = ""
        if policy is not None:
            raised = resolve([asked], base, policy).plan
            if (raised.threshold, raised.detectors) != (plan.threshold, plan.detectors):
                enforced = markup.note(
                    say(
                        "Enforced here: it counts as unsafe from {limit}, and these read it: "
                        "{detectors}",
                        limit=f"{raised.threshold:.2f}",
                        detectors=", ".join(raised.detectors),
                    )
                )
            plan = raised.replace(context=AUTO)

        def tell(done: int, of: int) -> None:
            if progress is not None:
                progress((done, of), desc=say("Reading prompts"), unit="")

        choices = checking.examine(prompts, plan, tell)
    except SafeGenError as error:
        return markup.message(plainly(error), bad=True)
    data = [checking.to_data(choice, plan) for choice in choices]
    contexts = list(deciding.chooser().library)
    cards = [markup.card(one, number, contexts) for number, one in enumerate(data[:SHOWN], 1)]
    table = markup.table(data, contexts) if len(data) > 1 else ""
    more = ""
    if len(data) > SHOWN:
        more = markup.note(say("The first {n} in full. Check others by themselves.", n=SHOWN))
    return f"{enforced}{table}{more}{''.join(cards)}"


def on_check(
    text: str,
    by_line: bool,
    threshold: float,
    detectors: list[str],
    strategy: str,
    progress: gr.Progress = gr.Progress(),  # noqa: B008  gradio looks for it here
) -> str:
    """The button's event."""
    return answer(text, by_line, threshold, detectors, strategy, progress)


def on_fit(progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008
    """Fit the probe in the loaded model, from the pairs kept the last time or the built-in ones."""
    try:
        if settings.enforcing():
            raise NotPermitted(
                told("Nothing can be learned here while SafeGen is enforced. Ask the operator.")
            )
        mending.make(mending.PROBE_MISSING, lambda share, what: progress(share, desc=what))
    except (SafeGenError, OSError) as error:
        return markup.message(plainly(error), bad=True)
    return markup.message(say("The probe is fitted. Tick it to use it."))


def build() -> None:
    """The pane, within the tab that is being built."""
    base = settings.base_plan()
    with gr.Row(elem_classes=["safegen-split"]):
        with gr.Column(scale=2, min_width=300):
            text = not_in_config(
                gr.Textbox(
                    label="Prompts",
                    info="Nothing is generated. This only reads.",
                    placeholder="A prompt, or many, one on each line",
                    lines=6,
                    max_lines=16,
                    elem_id="safegen_check_prompts",
                )
            )
            by_line = not_in_config(
                gr.Checkbox(
                    True, label="Each line is a prompt of its own", elem_id="safegen_check_by_line"
                )
            )
            go = button("Check", "safegen_check_go", "primary")
            threshold = not_in_config(
                gr.Slider(
                    SETTINGS["threshold"].minimum,
                    SETTINGS["threshold"].maximum,
                    base.threshold,
                    step=SETTINGS["threshold"].step,
                    label=SETTINGS["threshold"].label,
                    info=SETTINGS["threshold"].help,
                    elem_id="safegen_check_threshold",
                )
            )
            detectors = not_in_config(
                gr.CheckboxGroup(
                    list(SETTINGS["detectors"].choices),
                    value=list(base.detectors),
                    label=SETTINGS["detectors"].label,
                    info="The probe runs after the current generation.",
                    elem_id="safegen_check_detectors",
                )
            )
            fit = button("Fit the probe", "safegen_check_fit")
            fitted = html("safegen_check_fitted")
            strategy = not_in_config(
                gr.Radio(
                    list(TEXTUAL_STRATEGIES),
                    value=base.strategy
                    if base.strategy in TEXTUAL_STRATEGIES
                    else TEXTUAL_STRATEGIES[0],
                    label=SETTINGS["strategy"].label,
                    elem_id="safegen_check_strategy",
                )
            )
        with gr.Column(scale=5, min_width=300):
            found = html(
                "safegen_check_found",
                markup.note(say("Press Check, or Shift+Enter in the text.")),
            )
    inputs = [text, by_line, threshold, detectors, strategy]
    go.click(on_check, inputs, found)
    fit.click(on_fit, [], fitted)
    text.submit(on_check, inputs, found)
