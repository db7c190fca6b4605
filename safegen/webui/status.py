"""What SafeGen can say about itself on this host, for the status pane."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from safegen import __version__
from safegen.errors import SafeGenError
from safegen.plan import SETTINGS
from safegen.webui import deciding, host, record, settings
from safegen.webui import enforcement as policy
from safegen.webui.errors import plainly
from safegen.webui.standing import context_label
from safegen.webui.words import later, say, spoken

GOOD, BAD, NEUTRAL = "good", "bad", ""


@dataclass(frozen=True)
class Line:
    """One line.

    Args:
        kind: `GOOD`, `BAD` or `NEUTRAL`; never the only sign of what it says.
    """

    name: str
    value: str
    kind: str = NEUTRAL


Lines = list[Line]


def enforcement() -> Lines:
    """Whether something is enforced, by whom, and what that means."""
    sources = (
        ("--safegen-enforce", host.flag("safegen_enforce")),
        (say("Settings, SafeGen"), host.option(settings.ENFORCE, policy.OFF)),
    )
    found: Lines = []
    for where, level in sources:
        try:
            loaded = policy.load(level)
        except SafeGenError as error:
            found.append(Line(where, plainly(error), BAD))
            continue
        text = say("nothing") if loaded is None else say("level {name}", name=loaded.name)
        found.append(Line(where, text, NEUTRAL if loaded is None else GOOD))
    enforced = say("Enforced")
    try:
        rules = settings.active_policy()
    except SafeGenError:
        text = say("The policy can't be read, so nothing is generated.")
        return [Line(enforced, text, BAD), *found]
    if rules is None:
        return [Line(enforced, say("No. Whoever makes a picture decides.")), *found]
    limits = "\n".join(map(spoken, [rules.headline(), *rules.limits()]))
    return [Line(enforced, limits, GOOD), *found]


def versions() -> Lines:
    """Which host, which extension, and whether they go together."""
    reason = host.why_unsupported()
    return [
        Line("SafeGen", __version__),
        Line("WebUI", host.version() or say("It does not say.")),
        Line(say("Guards this WebUI"), say("yes"), GOOD)
        if reason is None
        else Line(say("Guards this WebUI"), say("No: {reason}", reason=spoken(reason)), BAD),
    ]


_FOR_TESTS = later("Yes. Tried on checkpoints made for tests.")
_NEVER = later("Never tried. A picture that can't be guarded is stopped.")
FAMILIES = {
    "sd1": ("Stable Diffusion 1", later("Yes."), GOOD),
    "sd2": ("Stable Diffusion 2", _FOR_TESTS, GOOD),
    "sdxl": ("Stable Diffusion XL", _FOR_TESTS, GOOD),
    "ssd": ("SSD-1B", _NEVER, BAD),
    "flow": ("Flux, SD3, Chroma", later("Refused on this host."), BAD),
    "sd3": ("Stable Diffusion 3", _NEVER, BAD),
}
UNKNOWN = ("–", _NEVER, BAD)
"""Family to its name, what is known of it, and how that reads."""


def model() -> Lines:
    """The loaded checkpoint."""
    if not host.is_loaded():
        return [Line(say("Checkpoint"), say("None is loaded yet."))]
    name, known, kind = FAMILIES.get(host.model_family(), UNKNOWN)
    special = say("text to image")
    if host.conditioning_key() in ("hybrid", "concat"):
        special = say("inpainting checkpoint")
    if host.is_edit_model():
        special = say("edit checkpoint (InstructPix2Pix)")
    return [
        Line(say("Checkpoint"), host.checkpoint_name()),
        Line(say("Family"), name),
        Line(say("Kind"), f"{special} ({host.prediction()})"),
        Line(say("Guarded"), say(known), kind),
    ]


def paths() -> Lines:
    """What is guarded and what is refused with a message; nothing goes by unguarded."""
    reason = host.why_unsupported()
    if reason is not None:
        return [Line(say("Everything"), say("Refused: {reason}", reason=spoken(reason)), BAD)]
    nested = settings.guards_nested() or settings.enforcing()
    inner = (
        say("Guarded, with the settings of the run around them.")
        if nested
        else say("Not guarded: switched off in Settings, SafeGen.")
    )
    found = [Line(say(name), say(text), GOOD) for name, text in _PATHS]
    found.append(Line(say("Runs within other extensions"), inner, GOOD if nested else BAD))
    return found


_NO_INDEPENDENT = later("Guarded. Independent streams are refused.")
_PATHS = (
    (later("txt2img, img2img, X/Y/Z plot, API"), later("Guarded.")),
    (later("Hires fix, refiner"), later("Guarded.")),
    (later("Inpainting"), _NO_INDEPENDENT),
    ("AND, [from:to:when], BREAK, LoRA", later("Guarded.")),
    ("DDIM CFG++", _NO_INDEPENDENT),
    ("InstructPix2Pix", later("Guarded at image CFG scale 1, refused at others.")),
)

_OUTCOMES = {
    record.OFF: (later("SafeGen was off."), NEUTRAL),
    record.BENIGN: (later("Nothing unsafe was found."), NEUTRAL),
    record.GUARDED: (later("Guarded."), GOOD),
    record.FAILED: (later("Stopped. No unguarded picture came out."), BAD),
}


def _when(finished: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(finished))


def _counted(names: Iterable[str | None]) -> str:
    counts: dict[str, int] = {}
    for name in names:
        key = context_label(name) if name else say("none")
        counts[key] = counts.get(key, 0) + 1
    return ", ".join(f"{name} × {count}" if count > 1 else name for name, count in counts.items())


def last_run() -> Lines:
    """The verdict on the latest generation."""
    run = record.last_run()
    if run is None:
        return [Line(say("Outcome"), say("None since the start."))]
    outcome, kind = _OUTCOMES[run.outcome]
    found = [
        Line(say("Finished"), f"{_when(run.finished)}, {run.tab}"),
        Line(say("Outcome"), say(outcome), kind),
    ]
    if run.outcome != record.OFF and run.counts.calls:
        counts = run.counts
        whole = counts.guarded >= counts.needed
        found += [
            Line(
                say("Steps guarded"),
                say(
                    "{guarded} of {needed} that had to be; the model was called {calls} times",
                    guarded=counts.guarded,
                    needed=counts.needed,
                    calls=counts.calls,
                ),
                GOOD if whole and run.outcome != record.FAILED else BAD,
            ),
            Line(say("Contexts"), _counted(run.contexts) or say("none")),
            Line(
                say("Work"),
                say("{times} times that of an unguarded picture", times=f"{run.rows / 2:.3g}"),
            ),
        ]
        found += [Line(say("Why"), why) for why in dict.fromkeys(run.why)]
        check = SETTINGS["evidence"].label
        found += [Line(check, line) for line in dict.fromkeys(run.evidence) if line]
    if run.message:
        bad = run.outcome == record.FAILED
        found.append(Line(say("Message"), run.message, BAD if bad else NEUTRAL))
    return found


def last_error() -> Lines:
    """The latest failure, which stays when later pictures go well."""
    run = record.last_error()
    if run is None:
        return [Line(say("Message"), say("None since the start."))]
    found = [Line(f"{_when(run.finished)}, {run.tab}", run.message, BAD)]
    latest = record.last_run()
    if latest is not None and latest is not run:
        found.append(Line(say("Since then"), say("A later generation went well.")))
    return found


def _shown(folder: Path) -> str:
    """A folder for every user's eyes: not where on the machine the WebUI's data is."""
    try:
        inside = folder.relative_to(host.data_path()).as_posix()
        return say("{folder} in the WebUI's data folder", folder=inside)
    except ValueError:
        return say("{folder}, as set in Settings, SafeGen", folder=folder.name)


def contexts() -> Lines:
    """How many contexts there are, and files that can't be used."""
    library = deciding.library()
    names = library.names()
    own = [name for name in names if not library.is_built_in(name)]
    found = [
        Line(
            say("Contexts"),
            say("{n} built in, {own} of your own", n=len(names) - len(own), own=len(own)),
        ),
        Line(say("Folder"), _shown(settings.contexts_folder())),
    ]
    return found + [Line(say("Skipped"), problem.message, BAD) for problem in library.problems]
