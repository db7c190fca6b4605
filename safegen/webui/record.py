"""What a run did: gathered while it goes on, and kept on its processing object.

`of` gives the record of a run. `last_run` is the latest record that has SafeGen's script in it or
was guarded without it (enforcement); `last_error` is the latest that failed, and stays when later
runs go well. Both are ``None`` at first and survive "Reload UI".

What is shown to everybody (`Record.message`, ``settings``, ``contexts``, ``why``) holds no text of
a user's own and no picture.

Code that makes a picture of its own and wants to see where the streams disagree asks around it::

    with record.keeping_maps():
        process_images(p)
    maps = record.of(p).disagreement

That goes for the runs started in this thread within the block and for no others. Nobody else
pays for it: without being asked nothing is computed and nothing kept.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safegen.errors import InvalidValue, SafeGenError
from safegen.plan import SafetyPlan
from safegen.sentence import joined, told
from safegen.webui.errors import label_of

Map = NDArray[np.float32]

OFF = "off"
BENIGN = "benign"
GUARDED = "guarded"
FAILED = "failed"

ATTRIBUTE = "_safegen_record"
"""Where a processing object has the record of its run."""


@dataclass
class Picture:
    """One picture of a run.

    Args:
        context: The name of the context that applied, or ``None`` for a harmless prompt.
        why: Why it did, or why none did; ``""`` where it could not be decided.
        hires: The same name for the second pass, ``"none"`` for a harmless prompt; ``""`` if
            that pass has no prompt of its own.
        evidence: The image-time check, or ``""``.
        disagreement: ``[h, w]`` on the latent's grid, 0 to 1: the mean over the calls with safe
            rows of |x0_safe - x0|, scaled to its own maximum. Of two guarded passes it is the
            second's; zeros for a picture that was not guarded. ``None`` unless asked for.
        failure: Why it is black, or ``""``. May hold the user's own words: for the infotext.
    """

    context: str | None
    why: str
    hires: str = ""
    evidence: str = ""
    disagreement: Map | None = None
    failure: str = ""


@dataclass
class Counts:
    """Calls of the denoiser, and rows of the model.

    Args:
        calls: Denoiser calls, unguarded batches included.
        needed: Calls that had to be blended.
        guarded: Calls that were.
        evaluated: Calls in which the model evaluated safe rows.
        pictures: Pictures times calls.
        own_rows: Model rows that were SafeGen's.
    """

    calls: int = 0
    needed: int = 0
    guarded: int = 0
    evaluated: int = 0
    pictures: int = 0
    own_rows: int = 0

    def add(self, other: Counts) -> None:
        """Count ``other`` too."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


class Record:
    """One run: all its batches and passes, and what other extensions made within it.

    Args:
        p: The host's processing object.
        tab: ``txt2img``, ``img2img`` or ``other``, by the kind of ``p``.
        plan: The plan as it ran, after enforcement; ``None`` if it could not be read.
        notes: What enforcement changed.
        around: The record of the run that this one is nested in. It counts this one's calls.
    """

    def __init__(
        self,
        p: Any,
        tab: str,
        plan: SafetyPlan | None,
        notes: Sequence[str] = (),
        around: Record | None = None,
    ) -> None:
        self._p = weakref.ref(p)
        self.tab = tab
        self.settings = {} if plan is None else _without_texts(plan)
        self.notes = list(notes)
        self.around = around
        self.keeps_maps = maps_wanted()
        self.pictures: dict[int, Picture] = {}
        """By their number in the run, in the host's order."""
        self.counts = Counts()
        self.error = ""
        self.finished = 0.0
        """When, as ``time.time()`` tells it; while the run goes on, that of its latest batch."""

    # ------------------------------------------------------------------ gathering

    def belongs_to(self, p: Any) -> bool:
        """Whether this is the record of ``p`` itself and not of what ``p`` was copied from."""
        return self._p() is p

    def count(self, counts: Counts) -> None:
        """Count calls, also for the run around this one."""
        self.counts.add(counts)
        if self.around is not None:
            self.around.count(counts)

    def fail(self, error: BaseException) -> None:
        """Note why no picture came of it; the first error stays."""
        self.error = self.error or without_user_text(error)
        if self.around is not None:
            self.around.fail(error)

    def publish(self) -> None:
        """Make the request that this run is part of the last one."""
        if self.around is not None:
            self.around.publish()
            return
        global _last, _last_error
        with _lock:
            self.finished = time.time()
            _last = self
            if self.outcome == FAILED:
                _last_error = self

    # ------------------------------------------------------------------ reading

    @property
    def outcome(self) -> str:
        """`OFF` (switched off, or weight 0), `BENIGN` (there was nothing to guard), `GUARDED`, or
        `FAILED` (no picture of at least one batch was shown)."""
        if self.error:
            return FAILED
        if self.settings.get("enabled") is False or self.settings.get("weight") == 0:
            return OFF
        return GUARDED if self.counts.guarded else BENIGN

    @property
    def rows(self) -> float:
        """Model rows per picture and call, mean; 2 is an unguarded run. Only SafeGen's own rows
        are counted on top, so ``AND`` parts and CFG 1 don't show."""
        counts = self.counts
        return 2.0 + (counts.own_rows / counts.pictures if counts.pictures else 0.0)

    @property
    def message(self) -> str:
        """The error, or what enforcement changed, or ``""``."""
        return self.error or joined("; ", dict.fromkeys(self.notes))

    def _in_order(self) -> list[Picture]:
        return [picture for _, picture in sorted(self.pictures.items())]

    @property
    def contexts(self) -> tuple[str | None, ...]:
        """For each picture the name of its context, or ``None``."""
        return tuple(picture.context for picture in self._in_order())

    @property
    def why(self) -> tuple[str, ...]:
        """For each picture why its context applied, or why none did."""
        return tuple(picture.why for picture in self._in_order())

    @property
    def evidence(self) -> tuple[str, ...]:
        """The image-time check of each picture; empty if it was off."""
        if not self.settings.get("evidence"):
            return ()
        return tuple(picture.evidence for picture in self._in_order())

    @property
    def disagreement(self) -> tuple[Map, ...]:
        """The map of each picture; empty unless asked for with `keeping_maps`."""
        maps = (picture.disagreement for picture in self._in_order())
        return tuple(found for found in maps if found is not None)


def _without_texts(plan: SafetyPlan) -> dict[str, Any]:
    return {name: value for name, value in plan.to_dict().items() if not name.endswith("_text")}


def without_user_text(error: BaseException) -> str:
    """``error`` for everybody's eyes: what a user typed is left out."""
    if isinstance(error, InvalidValue):
        if error.plain:
            return error.plain
        return told(
            "{field}: a value that is not allowed. Allowed: {allowed}.",
            field=told(label_of(error.field)),
            allowed=error.allowed,
        )
    if not isinstance(error, SafeGenError):
        return told("The WebUI itself stopped. Its log says why.")
    cause = error.__cause__
    if cause is not None and not isinstance(cause, SafeGenError):
        return told("{text}. The log says why.", text=str(error).partition(":")[0])
    return str(error)


def of(p: Any) -> Record | None:
    """The record of ``p``'s latest run, or ``None``."""
    found = vars(p).get(ATTRIBUTE)
    return found if isinstance(found, Record) and found.belongs_to(p) else None


# ---------------------------------------------------------------------- the two that are shown

_lock = threading.Lock()
_last: Record | None = None
_last_error: Record | None = None


def last_run() -> Record | None:
    """The latest request, or ``None`` before the first."""
    with _lock:
        return _last


def last_error() -> Record | None:
    """The latest request that failed, or ``None``; a later good one leaves it."""
    with _lock:
        return _last_error


def clear() -> None:
    """Forget both."""
    global _last, _last_error
    with _lock:
        _last = _last_error = None


class _NoPicture:
    """In place of a processing object, where it never came to one."""


def refuse(error: SafeGenError, where: str) -> None:
    """Put on record that a request was refused before anything was made."""
    run = Record(_NoPicture(), where, None)
    run.fail(error)
    run.publish()


# ---------------------------------------------------------------------- asking for maps

_maps: ContextVar[bool] = ContextVar("safegen_keeping_maps", default=False)


@contextmanager
def keeping_maps() -> Iterator[None]:
    """Runs that start within the block, in this thread, record their disagreement maps."""
    token = _maps.set(True)
    try:
        yield
    finally:
        _maps.reset(token)


def maps_wanted() -> bool:
    """Whether the code that runs now is within `keeping_maps`."""
    return _maps.get()
