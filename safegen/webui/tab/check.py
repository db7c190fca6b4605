"""The pane that checks prompts: what `POST /safegen/check` answers, to look at."""

from __future__ import annotations

from safegen.errors import InvalidValue, SafeGenError
from safegen.plan import AUTO, SETTINGS, TEXTUAL_STRATEGIES
from safegen.sentence import told
from safegen.webui import checking, deciding, markup, settings
from safegen.webui.arguments import resolve
from safegen.webui.errors import plainly
from safegen.webui.jobs import Answer, Tell
from safegen.webui.tab import asked, fields
from safegen.webui.tab.asked import Body
from safegen.webui.words import say

FOUND = "safegen_check_found"
"""Where the answer is shown."""
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
    progress: Tell,
) -> str:
    """Everything that is known about the prompts in ``text``, as HTML."""
    try:
        prompts = prompts_of(text, by_line=by_line)
        given = {
            "context": AUTO,
            "threshold": threshold,
            "detectors": detectors,
            "strategy": strategy,
        }
        base, policy = settings.base_plan(), settings.active_policy()
        plan = resolve([given], base, None).plan
        enforced = ""
        if policy is not None:
            raised = resolve([given], base, policy).plan
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
            progress(done / of, say("Reading prompts"))

        choices = checking.examine(prompts, plan, tell)
    except SafeGenError as error:
        return markup.message(plainly(error), bad=True)
    data = [checking.to_data(choice, plan) for choice in choices]
    contexts = list(deciding.library())
    cards = [markup.card(one, number, contexts) for number, one in enumerate(data[:SHOWN], 1)]
    table = markup.table(data, contexts) if len(data) > 1 else ""
    more = ""
    if len(data) > SHOWN:
        more = markup.note(say("The first {n} in full. Check others by themselves.", n=SHOWN))
    return f"{enforced}{table}{more}{''.join(cards)}"


def on_check(body: Body, tell: Tell) -> Answer:
    """What is known about the prompts that the page sends."""
    found = answer(
        asked.text(body, "prompts"),
        asked.tick(body, "by_line"),
        asked.number(body, "threshold"),
        asked.texts(body, "detectors"),
        asked.text(body, "strategy"),
        tell,
    )
    return {"html": {FOUND: found}}


def html() -> str:
    """The pane, before anything is asked."""
    base = settings.base_plan()
    strategy = base.strategy if base.strategy in TEXTUAL_STRATEGIES else TEXTUAL_STRATEGIES[0]
    detectors = SETTINGS["detectors"]
    asks = (
        fields.text(
            "safegen_check_prompts",
            say("Prompts"),
            say("Nothing is generated. This only reads."),
            placeholder=say("A prompt, or many, one on each line"),
            lines=6,
        ),
        fields.tick("safegen_check_by_line", say("Each line is a prompt of its own"), checked=True),
        fields.row(fields.button("safegen_check_go", say("Check"), "primary")),
        fields.slider("safegen_check_threshold", "threshold", base.threshold),
        fields.choice(
            "safegen_check_detectors",
            say(detectors.label),
            say("The probe runs after the current generation."),
            choices=detectors.choices,
            chosen=base.detectors,
            several=True,
        ),
        fields.row(fields.button("safegen_check_fit", say("Fit the probe"))),
        fields.progress("safegen_check_fitting"),
        fields.place("safegen_check_fitted"),
        fields.choice(
            "safegen_check_strategy",
            say(SETTINGS["strategy"].label),
            choices=TEXTUAL_STRATEGIES,
            chosen=[strategy],
        ),
    )
    start = markup.note(say("Press Check, or Shift+Enter in the text."))
    shown = fields.progress("safegen_check_reading") + fields.place(FOUND, start)
    return fields.split((2, "".join(asks)), (5, shown))
