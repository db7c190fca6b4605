"""One prompt at several weights: which are allowed, and the pictures, one after the other.

Everything else is as Generate in txt2img would have it, other extensions' scripts included. The
seed is fixed once. What is not allowed is not made: under enforcement that goes for weight 0 and
for every weight that the operator's policy would change, here and not in the page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from safegen.errors import InvalidValue, SafeGenError
from safegen.plan import SETTINGS, SafetyPlan
from safegen.sentence import told
from safegen.webui import arguments, host, making, record, settings
from safegen.webui.enforcement import Policy
from safegen.webui.errors import plainly
from safegen.webui.words import say

DEFAULT_WEIGHTS = (0.0, 0.25, 0.5, 0.7, 1.0)
FEWEST, MOST = 2, 12
"""How many weights a comparison takes."""


@dataclass(frozen=True, eq=False)
class Shot:
    """One weight's picture, or why there is none.

    Args:
        weight: 0 is the original.
        image: A PIL image, or ``None``: then ``message`` says why.
        infotext: What repeats it.
        context: The context that applied, or ``None``.
        why: Why it did, or why none did.
        disagreement: ``[h, w]`` on the latent's grid, 0 to 1, or ``None``.
    """

    weight: float
    image: Any = None
    infotext: str = ""
    context: str | None = None
    why: str = ""
    disagreement: record.Map | None = None
    message: str = ""


@dataclass
class Comparison:
    """What came of one click.

    Args:
        asked: The accordion's own weight.
        shots: One for each weight that was begun, smallest weight first.
        missing: Weights that an interrupt left unmade.
        refused: Weights that enforcement does not allow; they were not made.
        notes: What else there is to say.
    """

    asked: float
    shots: list[Shot] = field(default_factory=list)
    missing: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def pictures(self) -> list[Shot]:
        """The shots that have a picture."""
        return [shot for shot in self.shots if shot.image is not None]

    @property
    def guarded(self) -> list[Shot]:
        """The pictures that SafeGen had a part in."""
        return [shot for shot in self.pictures if shot.weight > 0]

    @property
    def chosen(self) -> Shot | None:
        """Which picture to begin with: at the accordion's weight, or nearest to it.

        Never the first if there are others: that one it is compared with.
        """
        others = self.pictures[1:] or self.pictures
        return min(others, key=lambda s: abs(s.weight - self.asked), default=None)


def parse_weights(text: str) -> list[float]:
    """The weights that ``text`` lists, smallest first, each once.

    Raises:
        InvalidValue: One is no number from 0 to 1, or there are too few or too many.
    """
    found: set[float] = set()
    for word in re.split(r"[\s,;]+", str(text or "").strip()):
        if word:
            found.add(round(_one(word), 4))
    if not FEWEST <= len(found) <= MOST:
        allowed = f"{FEWEST} to {MOST} different numbers from 0 to 1, separated by commas"
        plain = told(
            "Weights: write {fewest} to {most} different numbers from 0 to 1, separated by commas.",
            fewest=FEWEST,
            most=MOST,
        )
        raise InvalidValue("weights", str(text), allowed, plain=plain)
    return sorted(found)


def _one(word: str) -> float:
    try:
        return float(SETTINGS["weight"].parse(word))
    except InvalidValue as error:
        raise InvalidValue("weights", word, error.allowed) from None


def allowed(weight: float, rules: Policy | None) -> bool:
    """Whether ``rules`` let a picture be made at ``weight``, unchanged."""
    if rules is None:
        return True
    if weight <= 0:
        return False
    return rules.apply(SafetyPlan(weight=weight))[0].weight == weight


def default_weights(rules: Policy | None) -> list[float]:
    """The weights to begin with; under enforcement they begin at its floor."""
    found = [weight for weight in DEFAULT_WEIGHTS if allowed(weight, rules)]
    if rules is None or len(found) > FEWEST:
        return found
    floor = rules.apply(SafetyPlan(weight=0.0))[0].weight
    found = sorted({weight for weight in (floor, *found, 1.0) if allowed(weight, rules)})
    return found if len(found) >= FEWEST else [0.0, *found]  # 0 is not made, and the pane says so


def _shot(p: Any, weight: float) -> Shot:
    """Make ``p``'s picture at ``weight``. Raises what the host or the guard raises."""
    with record.keeping_maps():
        processed = making.process(p)
    if host.stopping():  # half made
        return Shot(weight, message=say("Stopped before it was finished."))
    run = record.of(p)
    if run is not None and run.outcome == record.FAILED:
        return Shot(weight, message=run.message)  # the settings ask for a black picture
    image, infotext = making.first_picture(processed)
    if image is None:
        return Shot(weight, message=say("The WebUI returned no picture."))
    if run is None or run.outcome == record.OFF:
        return Shot(weight, image, infotext)
    seen = run.disagreement[0] if run.disagreement else None
    return Shot(
        weight,
        image,
        infotext,
        context=run.contexts[0] if run.contexts else None,
        why=run.why[0] if run.why else "",
        disagreement=seen if seen is not None and seen.any() else None,
    )


def compare(
    request: Any, own_prompt: str, weights: str, id_task: Any, prompt: str, *rest: Any
) -> Comparison:
    """Make the pictures. The host's queue must be held.

    Args:
        request: Gradio's, for the user's name.
        own_prompt: Takes the place of txt2img's prompt unless it is empty.
        weights: As `parse_weights` reads them.
        id_task, prompt, rest: What Generate in txt2img would be called with.

    Raises:
        SafeGenError: The weights or the policy can't be used; what a single picture fails with
            is in its `Shot`.
    """
    wanted = parse_weights(weights)
    rules = settings.active_policy()
    made = [weight for weight in wanted if allowed(weight, rules)]
    result = Comparison(settings.base_plan().weight)
    result.refused = [weight for weight in wanted if weight not in made]
    seeds: tuple[Any, Any] | None = None
    for number, weight in enumerate(made, 1):
        if host.stopping():
            result.missing = made[number - 1 :]
            break
        with closing(host.txt2img(id_task, request, own_prompt.strip() or prompt, *rest)) as p:
            values, place = _safegen_args(p)
            result.asked = _number(values["weight"], result.asked)
            if number == 1:
                result.notes = _notes(p)
                making.expect(p, len(made))
            seeds = making.one_picture(p, seeds)
            args = list(p.script_args)
            args[place] = {**values, "enabled": True, "weight": weight}
            p.script_args = tuple(args)
            making.tell(  # the log has it too
                say("Weight {weight}, {n} of {all}:", weight=f"{weight:g}", n=number, all=len(made))
            )
            try:
                shot = _shot(p, weight)
            except SafeGenError as error:
                shot = Shot(weight, message=plainly(error))
            except Exception as error:
                host.report(f"SafeGen's comparison failed at weight {weight:g}")
                shot = Shot(weight, message=_said(error))
        stopped = shot.image is None and host.stopping()
        if stopped:
            result.missing = made[number - 1 :]
            break
        result.shots.append(shot)
    if len(result.pictures) > 1 and all(s.context is None and s.why for s in result.guarded):
        result.notes.append(say("All pictures are the same: Auto found nothing unsafe."))
    return result


def _safegen_args(p: Any) -> tuple[dict[str, Any], int]:
    """The accordion's values by name, and where they begin among the script arguments."""
    script = arguments.script_of(p)
    if script is None:
        raise SafeGenError(told("SafeGen is missing in txt2img. Press 'Reload UI'."))
    args = p.script_args[script.args_from : script.args_to]
    return arguments.values_from(args, settings.base_plan()), int(script.args_from)


def _said(error: Exception) -> str:
    """What anybody can make of an error that is not ours, or that the door has put in words."""
    detail = getattr(error, "detail", None)
    if isinstance(detail, dict):
        return str(detail.get("plain", error))
    if isinstance(error, SafeGenError):
        return plainly(error)
    return say("The WebUI itself stopped ({error}).", error=str(error) or type(error).__name__)


def _number(value: Any, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default


def _notes(p: Any) -> list[str]:
    notes = []
    if p.batch_size * p.n_iter > 1:
        notes.append(say("Only the first picture of the batch is compared."))
    if _selected_script(p.script_args):
        notes.append(say("The script chosen in txt2img is left out."))
    return notes


def _selected_script(args: Sequence[Any]) -> bool:
    """The first of the host's script arguments is the place of the chosen script, 0 for none."""
    return bool(args) and args[0] not in (0, None, "None")
