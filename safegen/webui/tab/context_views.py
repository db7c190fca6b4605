"""What the contexts' pane shows of a context: its preview, what was learned for it, problems."""

from __future__ import annotations

from dataclasses import replace

from safegen.errors import SafeGenError
from safegen.learned.store import LearnedStore, pairs_of, read_embedding
from safegen.plan import TEXTUAL_STRATEGIES, SafetyPlan
from safegen.webui import deciding, encoder, markup, settings
from safegen.webui.deciding import library
from safegen.webui.errors import plainly
from safegen.webui.forms import Form
from safegen.webui.words import say, spoken


def preview(key: str, form: Form, sample: str, strategy: str) -> str:
    """What the safe stream would see of ``sample`` under ``form``, saved or not."""
    chooser = deciding.chooser()
    contexts = chooser.library
    saved = contexts.get(key) if key in contexts else None
    if not form.safe_text.strip():
        return markup.note(say("Write a safe text to see what becomes of the sample."))
    try:
        named = replace(form, label=form.label.strip() or say("New context"))
        context = named.to_context(saved)
        base = settings.base_plan()
        detectors = tuple(name for name in base.detectors if name in chooser.detectors)
        plan = SafetyPlan(
            threshold=base.threshold,
            detectors=detectors or SafetyPlan().detectors,
            strategy=strategy if strategy in TEXTUAL_STRATEGIES else TEXTUAL_STRATEGIES[0],
        )
        others = [context if one.name == key else one for one in contexts]
        if saved is None:
            others.append(context)
        auto = chooser.judge(sample, plan, others).context
        choice = chooser.choose_for(sample, context, plan)
        return markup.preview(
            sample,
            choice,
            "" if auto is None else spoken(auto.label),
            is_this=auto is not None and auto == context,
        )
    except SafeGenError as error:
        return markup.problem(plainly(error))


def learned(key: str) -> str:
    """What has been learned for ``key``, and in which text encoders."""
    contexts = library()
    if key not in contexts:
        return markup.note(say("Save the context first. Only a saved one can learn."))
    store = LearnedStore(settings.contexts_folder())
    rows: list[tuple[str, str, str]] = []
    try:
        kept = store.kept_pairs(key)
        if kept:
            rows.append((say("Pairs"), say("{n}, kept from the last time", n=len(kept)), ""))
        else:
            own = len(pairs_of(contexts.get(key)))
            rows.append((say("Pairs"), say("{n}, made of the context's own words", n=own), ""))
    except SafeGenError as error:
        rows.append((say("Pairs"), plainly(error), "bad"))
    files = store.files(key)
    mine = encoder.identity_at_once() if files else None
    here = False
    for file in files:
        try:
            found = read_embedding(file)
        except SafeGenError as error:
            rows.append((file.name, plainly(error), "bad"))
            continue
        here = here or found.encoder == mine
        whose = say("The loaded model") if found.encoder == mine else say("Another model")
        what = say("Learned from {pairs} pairs.", pairs=found.pairs)
        rows.append((whose, what, "good" if found.encoder == mine else ""))
    if not here:
        unknown = files and mine is None
        text = (
            say("Can't be told now: a picture is being made, or no model is loaded.")
            if unknown
            else say("Nothing yet. 'direction' and 'projection' learn it for their first picture.")
        )
        rows.append((say("The loaded model"), text, ""))
    return markup.lines(say("Learned embedding"), rows)


def problems() -> str:
    """The files of the folder that could not be used."""
    return "".join(markup.problem(p.message) for p in library().problems)
