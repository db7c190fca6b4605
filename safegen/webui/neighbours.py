"""Other extensions within a guarded run: whose an error is, and what texts they give the model.

Tiled Diffusion, for one, draws regions by prompts of their own, which are no part of the picture's
prompt and have no safe stream.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from safegen.errors import GuardFailure, SafeGenError, Unsupported, certain
from safegen.hosts.a1111.beside import SWITCH_OFF, owner_of_function
from safegen.plan import WATCH, WORDS
from safegen.sentence import told
from safegen.text.syntax import as_encoded, parts
from safegen.webui import deciding, host


def named(error: BaseException) -> BaseException:
    """``error``, with the extension's name where it comes from another extension's code."""
    cause = error.__cause__ if isinstance(error, GuardFailure) else error
    if cause is None or isinstance(cause, SafeGenError):
        return error
    who = _owner(cause)
    if not who:
        return error
    why = f"{type(cause).__name__}: {cause}"
    return GuardFailure(
        "SafeGen stopped this picture because it could not guard it: in a call with the safe rows "
        f"{who} failed ({why}); {SWITCH_OFF}"
    )


def samples_itself(p: Any) -> str:
    """Who has put a method of its own in the place of ``p.sample``, and what to do."""
    who = owner_of_function(getattr(p, "sample", None), host.extension_of)
    return f"{who} samples it in its own way; {SWITCH_OFF}"


def _owner(error: BaseException) -> str:
    """The other extension in whose code ``error`` was raised, or below it; ``""`` if none."""
    found = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if not str(frame.f_globals.get("__name__", "")).startswith("safegen."):
            found = host.extension_of(frame.f_code.co_filename) or found
    return found


# ---------------------------------------------------------------------- texts of their own

ENCODE = "get_learned_conditioning"
OF_THE_HOST = ("setup_conds", "get_conds", "calculate_hr_conds")
"""Methods of a processing object that encode its own prompts."""
PROMPTS = ("prompt", "all_prompts", "prompts", "hr_prompt", "all_hr_prompts", "hr_prompts")
_NETWORK = re.compile(r"<[^<>]*>")
_runs: list[Any] = []
"""The runs that are under way, the innermost last."""


@contextmanager
def reading(run: Any) -> Iterator[None]:
    """Within it, a text that another extension or a script has encoded is judged; see `_judge`."""
    wanted = certain(run.plan.active, "whether the plan is active") is not False
    _runs.append(run)
    try:
        with ExitStack() as stack:
            if wanted:
                _judge_decoded(run)
                # The parser takes prompts, which it has the model encode; so may anybody.
                stack.enter_context(_judging(host.prompt_parser, ""))
                stack.enter_context(_judging(host.shared.sd_model, host.prompt_parser.__name__))
            yield
    finally:
        _runs.pop()


def _judge_decoded(run: Any) -> None:
    """Judge what the host's script *img2img alternative test* takes a picture back to noise with.

    It may know that noise from an earlier run, and encode nothing. What it guides away from there
    the picture is moved towards when it is made of that noise.
    """
    for entry, own in (("Decode prompt", PROMPTS), ("Decode negative prompt", ())):
        text = run.p.extra_generation_params.get(entry)
        if isinstance(text, str) and text not in _texts(run.p, own):
            _judge_text(run, "img2img alternative test", text)


@contextmanager
def _judging(holder: Any, judged: str) -> Iterator[None]:
    """Within it, what ``holder`` encodes is judged, unless module ``judged`` has had it done."""
    original = getattr(holder, ENCODE, None)
    if original is None or hasattr(original, "safegen_run"):
        yield
        return
    own = vars(holder).get(ENCODE)

    def encode(*args: Any, **named: Any) -> Any:
        who = _caller(judged) if encode.safegen_run and _runs else ""  # type: ignore[attr-defined]
        if who:
            texts = args[0] if judged else args[1]
            _judge(_runs[-1], who, texts)
        return original(*args, **named)

    encode.safegen_run = True  # type: ignore[attr-defined]
    setattr(holder, ENCODE, encode)
    try:
        yield
    finally:
        # Not by the holder's own methods: reForge takes a model apart when a refiner comes.
        held = vars(holder)
        if held.get(ENCODE) is encode:  # else another extension stands around it
            if own is None:
                del held[ENCODE]
            else:
                held[ENCODE] = own
        encode.safegen_run = False  # type: ignore[attr-defined]


def _caller(judged: str) -> str:
    """The extension or script that has a text encoded; ``""`` if it is the host, or SafeGen."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        module, code = str(frame.f_globals.get("__name__", "")), frame.f_code
        own = module == host.processing.__name__ and code.co_name in OF_THE_HOST
        if own or module.startswith("safegen.") or module == judged:
            return ""
        who = host.extension_of(code.co_filename)
        if who:
            return who
        file = Path(code.co_filename)
        if file.parent.name == "scripts":
            return file.stem
        frame = frame.f_back
    return ""


def _judge(run: Any, who: str, texts: Sequence[str]) -> None:
    """Refuse the run if ``who`` gives the model a text that is not harmless and not the prompt's.

    What it marks as negative is not judged, nor what it repeats of the negative prompt.

    Raises:
        Unsupported: It is not; the host may swallow that, and `Run` raises it again.
    """
    if not run.plan.active or getattr(texts, "is_negative_prompt", False):
        return
    own_parts = [part.text for text in _texts(run.p, PROMPTS) for part in parts(text)]
    known = {form for text in own_parts for form in (text, _bare(text))}
    negatives = [_bare(text) for text in _texts(run.p, ("negative_prompt", "all_negative_prompts"))]
    for text in texts:
        own = text.strip()
        if own in known or own in negatives:
            continue
        for negative in filter(None, negatives):
            own = own.replace(negative, "")
        _judge_text(run, who, own)


def _judge_text(run: Any, who: str, text: str) -> None:
    plan = run.plan
    if plan.mode == WATCH:
        plan = plan.replace(mode=WORDS)  # the model is at work
    found = deciding.found_in(as_encoded(text), plan)
    if found:
        run.refused = Unsupported(
            told(
                "{extension} gives the model a text of its own that is not harmless ({found}), "
                "and that can't be guarded. Change it there, or switch that extension off.",
                extension=who,
                found=found,
            )
        )
        raise run.refused


def _bare(text: str) -> str:
    return _NETWORK.sub("", text).strip()


def _texts(p: Any, names: Sequence[str]) -> list[str]:
    found = [getattr(p, name, None) for name in names]
    lists = [[one] if isinstance(one, str) else one or [] for one in found]
    return [text for texts in lists for text in texts]
