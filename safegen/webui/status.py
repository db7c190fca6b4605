"""What SafeGen can say about itself on this host, for the status pane."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from safegen import __version__
from safegen.errors import SafeGenError
from safegen.webui import deciding, host, record, settings
from safegen.webui import enforcement as policy

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
        ("Command line", "--safegen-enforce", host.flag("safegen_enforce")),
        ("Settings page", "Settings, SafeGen", host.option(settings.ENFORCE, policy.OFF)),
    )
    found: Lines = []
    for who, where, level in sources:
        try:
            loaded = policy.load(level)
        except SafeGenError as error:
            found.append(Line(who, f"unreadable, so nothing is generated: {error}", BAD))
            continue
        text = "nothing" if loaded is None else f"level {loaded.name} ({where})"
        found.append(Line(who, text, NEUTRAL if loaded is None else GOOD))
    try:
        rules = settings.active_policy()
    except SafeGenError:
        return [Line("Enforced", "a policy that can't be read: nothing is generated", BAD), *found]
    if rules is None:
        return [Line("Enforced", "no: whoever makes a picture decides"), *found]
    return [Line("Enforced", f"yes. {rules.explain()}", GOOD), *found]


def versions() -> Lines:
    """Which host, which extension, and whether they go together."""
    reason = host.why_unsupported()
    return [
        Line("SafeGen", __version__),
        Line("WebUI", host.version() or "it does not say"),
        Line("Guards this WebUI", "yes", GOOD)
        if reason is None
        else Line("Guards this WebUI", f"no: {reason}", BAD),
    ]


FAMILIES = {
    "sd1": ("Stable Diffusion 1", "guarded", GOOD),
    "sd2": ("Stable Diffusion 2", "guarded; tried on checkpoints made for tests", GOOD),
    "sdxl": ("Stable Diffusion XL", "guarded; tried on checkpoints made for tests", GOOD),
    "ssd": ("SSD-1B", "never tried; a picture that can't be guarded is stopped", BAD),
    "flow": ("a flow model (Flux, SD3, Chroma)", "refused on this host", BAD),
    "sd3": ("Stable Diffusion 3", "never tried; independent streams are refused", BAD),
}
"""Family to its name, what is known of it, and how that reads."""


def model() -> Lines:
    """The loaded checkpoint."""
    if not host.is_loaded():
        return [Line("Checkpoint", "none is loaded yet")]
    family = host.model_family()
    name, known, kind = FAMILIES.get(
        family, ("unknown", "never tried; a picture that can't be guarded is stopped", BAD)
    )
    special = {
        "hybrid": "inpainting checkpoint",
        "concat": "inpainting checkpoint",
    }.get(host.conditioning_key() or "", "text to image")
    if host.is_edit_model():
        special = "edit checkpoint (InstructPix2Pix)"
    return [
        Line("Checkpoint", host.checkpoint_name()),
        Line("Family", name),
        Line("Kind", f"{special}, predicts {host.prediction()}"),
        Line("Guarded", known, kind),
    ]


def paths() -> Lines:
    """What is guarded and what is refused with a message; nothing goes by unguarded."""
    reason = host.why_unsupported()
    if reason is not None:
        return [Line("Everything", f"refused: {reason}", BAD)]
    nested = bool(host.option(settings.NESTED, True)) or settings.enforcing()
    return [
        Line("txt2img, img2img, X/Y/Z plot, API", "guarded", GOOD),
        Line("Hires fix, refiner", "guarded; refused with direction and projection", GOOD),
        Line("Inpainting", "guarded; refused with independent streams", GOOD),
        Line("AND, [from:to:when], BREAK, LoRA", "guarded", GOOD),
        Line("DDIM CFG++", "guarded; refused with independent streams", GOOD),
        Line(
            "Runs within other extensions",
            "guarded with the settings of the run around them"
            if nested
            else "not guarded: switched off in Settings, SafeGen",
            GOOD if nested else BAD,
        ),
        Line("InstructPix2Pix", "guarded at image CFG scale 1; refused at others", GOOD),
        Line("Forge, reForge, other versions", "refused"),
    ]


_OUTCOMES = {
    record.OFF: ("SafeGen was off", NEUTRAL),
    record.BENIGN: ("harmless: nothing to guard", GOOD),
    record.GUARDED: ("guarded", GOOD),
    record.FAILED: ("stopped: no unguarded picture came out", BAD),
}


def _when(finished: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(finished))


def _counted(names: Iterable[str | None]) -> str:
    counts: dict[str, int] = {}
    for name in names:
        key = name or "none (harmless)"
        counts[key] = counts.get(key, 0) + 1
    return ", ".join(f"{name} × {count}" if count > 1 else name for name, count in counts.items())


def last_run() -> Lines:
    """The verdict on the latest generation."""
    run = record.last_run()
    if run is None:
        return [Line("Last generation", "none since the start")]
    outcome, kind = _OUTCOMES[run.outcome]
    found = [
        Line("Finished", f"{_when(run.finished)}, {run.tab}"),
        Line("Verdict", outcome, kind),
    ]
    if run.outcome != record.OFF:
        counts = run.counts
        whole = counts.guarded >= counts.needed
        found += [
            Line(
                "Calls guarded of those needed",
                f"{counts.guarded} of {counts.needed}; the model was called {counts.calls} times",
                GOOD if whole and run.outcome != record.FAILED else BAD,
            ),
            Line("Contexts", _counted(run.contexts) or "none"),
            Line(
                "Cost",
                f"{run.rows:.3g} model rows a picture and call; 2 without a guard; the safe "
                f"stream was evaluated in {counts.evaluated} calls",
            ),
        ]
        found += [Line("Why", why) for why in dict.fromkeys(run.why)]
        found += [Line("Image-time check", line) for line in dict.fromkeys(run.evidence) if line]
    if run.message:
        found.append(Line("Message", run.message, BAD if run.outcome == record.FAILED else NEUTRAL))
    return found


def last_error() -> Lines:
    """The latest failure, which stays when later pictures go well."""
    run = record.last_error()
    if run is None:
        return [Line("Last error", "none since the start", GOOD)]
    return [Line(f"{_when(run.finished)}, {run.tab}", run.message, BAD)]


def _shown(folder: Path) -> str:
    """A folder for every user's eyes: not where on the machine the WebUI's data is."""
    try:
        return f"{folder.relative_to(host.data_path()).as_posix()} in the WebUI's data folder"
    except ValueError:
        return f"{folder.name}, as set in Settings, SafeGen"


def contexts() -> Lines:
    """How many contexts there are, and files that can't be used."""
    library = deciding.chooser().library
    names = library.names()
    own = [name for name in names if not library.is_built_in(name)]
    found = [
        Line("Contexts", f"{len(names) - len(own)} built in, {len(own)} of your own"),
        Line("Folder", _shown(settings.contexts_folder())),
    ]
    return found + [Line("Skipped", problem.message, BAD) for problem in library.problems]
