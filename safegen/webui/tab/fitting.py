"""Making what has to be fitted in the loaded model, at the press of a button."""

from __future__ import annotations

from safegen.errors import InvalidValue, SafeGenError
from safegen.sentence import told
from safegen.webui import markup, mending, settings
from safegen.webui.drafts import NotPermitted
from safegen.webui.errors import plainly
from safegen.webui.jobs import Answer, Tell
from safegen.webui.tab import asked
from safegen.webui.tab.asked import Body
from safegen.webui.words import say


def refuse_if_enforced() -> None:
    """What is learned is the operator's business.

    Raises:
        NotPermitted: SafeGen is enforced.
    """
    if settings.enforcing():
        raise NotPermitted(
            told("Nothing can be learned here while SafeGen is enforced. Ask the operator.")
        )


def on_fit(body: Body, tell: Tell) -> Answer:
    """Make one of `mending.NEEDS`; what to say then, and whether it is made."""
    need = mending.NEEDS.get(asked.text(body, "what"))
    if need is None:
        raise InvalidValue("what", body.get("what"), ", ".join(mending.NEEDS))
    try:
        refuse_if_enforced()
        mending.make(need, tell)
    except SafeGenError as error:
        return {"made": False, "said": markup.message(plainly(error), bad=True)}
    said = say("It is fitted.") if need.watch else say("The probe is fitted. Tick it to use it.")
    return {"made": True, "said": markup.message(said)}
