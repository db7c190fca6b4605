"""What the last generation did, for whoever shows it: the tab, a test, an operator's log.

`last_run` is the latest request with SafeGen's script in it, or one that was guarded without it
(enforcement); `last_error` is the latest that failed, and stays when later ones go well. Both are
``None`` at first and survive "Reload UI". A record holds no prompt and no picture.

Code that makes a picture of its own and wants to see where the streams disagree asks around it::

    with last.keeping_maps():
        processed = process_images(p)
    maps = last.last_run().disagreement

That goes for the runs started in this thread within the block and for no others. Nobody else
pays for it: without being asked nothing is computed and nothing kept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]

OFF = "off"
BENIGN = "benign"
GUARDED = "guarded"
FAILED = "failed"


@dataclass(frozen=True, eq=False)
class LastRun:
    """One request: all its batches and passes, and what other extensions made within it.

    Args:
        finished: When, as ``time.time()`` tells it. While later batches are under way it is the
            time of the latest.
        tab: ``txt2img``, ``img2img`` or ``other``, by the kind of the host's processing object.
        outcome: ``off`` (switched off, or weight 0), ``benign`` (there was nothing to guard),
            ``guarded`` or ``failed`` (no picture of at least one batch was shown).
        settings: ``SafetyPlan.to_dict()`` as it ran, after enforcement; empty if the settings
            could not be read, and then ``message`` says why.
        calls: Denoiser calls, unguarded batches included; 0 when off, where nothing counts.
        needed: Calls that had to be blended.
        guarded: Calls that were.
        evaluated: Calls in which the model evaluated safe rows.
        contexts: For each picture in the host's order the name of the context that applied, or
            ``None`` for a harmless prompt. Empty when off.
        why: For each picture why, as its infotext says it.
        rows: Model rows per picture and call, mean; 2 is an unguarded run. Only SafeGen's own
            rows are counted on top, so ``AND`` parts and CFG 1 don't show.
        message: The error, or what enforcement changed, or ``""``.
        evidence: The image-time check of each picture, ``""`` where it has none; empty if the
            setting ``evidence`` was off.
        disagreement: For each picture ``[h, w]`` on its latent's grid, 0 to 1: mean over the
            calls with safe rows of |x0_safe - x0|, scaled to its own maximum. Of a picture with
            two guarded passes it is the second's. Zeros for a picture that was not guarded.
            Empty unless asked for with `keeping_maps`.
    """

    finished: float
    tab: str
    outcome: str
    settings: dict[str, Any]
    calls: int = 0
    needed: int = 0
    guarded: int = 0
    evaluated: int = 0
    contexts: tuple[str | None, ...] = ()
    why: tuple[str, ...] = ()
    rows: float = 2.0
    message: str = ""
    evidence: tuple[str, ...] = ()
    disagreement: tuple[Map, ...] = ()


# ---------------------------------------------------------------------- the two records

_lock = threading.Lock()
_run: LastRun | None = None
_error: LastRun | None = None


def last_run() -> LastRun | None:
    """The latest request, or ``None`` before the first."""
    with _lock:
        return _run


def last_error() -> LastRun | None:
    """The latest request that failed, or ``None``; a later good one leaves it."""
    with _lock:
        return _error


def record(run: LastRun) -> None:
    """Make ``run`` the last one."""
    global _run, _error
    with _lock:
        _run = run
        if run.outcome == FAILED:
            _error = run


def clear() -> None:
    """Forget both."""
    global _run, _error
    with _lock:
        _run = _error = None


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


# ---------------------------------------------------------------------- gathering


@dataclass
class Tally:
    """What one request has done so far; `Tally.close` makes the record of it.

    Args:
        tab: See `LastRun`.
        settings: See `LastRun`.
        maps: Whether disagreement maps are to be kept.
        checks: Whether the image-time check is on.
        notes: What enforcement changed.
    """

    tab: str
    settings: dict[str, Any]
    maps: bool = False
    checks: bool = False
    notes: Sequence[str] = ()
    calls: int = 0
    needed: int = 0
    guarded: int = 0
    evaluated: int = 0
    contexts: list[str | None] = field(default_factory=list)
    why: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    disagreement: list[Map] = field(default_factory=list)
    error: str = ""
    _seen: int = 0
    _extra: int = 0

    def count(self, images: int, extra: int) -> None:
        """One denoiser call on ``images`` pictures, ``extra`` rows of which are SafeGen's."""
        self._seen += images
        self._extra += extra

    def close(self) -> LastRun:
        """The record as things stand."""
        outcome = GUARDED if self.guarded else BENIGN
        if self.error:
            outcome = FAILED
        return LastRun(
            finished=time.time(),
            tab=self.tab,
            outcome=outcome,
            settings=dict(self.settings),
            calls=self.calls,
            needed=self.needed,
            guarded=self.guarded,
            evaluated=self.evaluated,
            contexts=tuple(self.contexts),
            why=tuple(self.why),
            rows=2.0 + (self._extra / self._seen if self._seen else 0.0),
            message=self.error or "; ".join(dict.fromkeys(self.notes)),
            evidence=tuple(self.evidence),
            disagreement=tuple(self.disagreement),
        )
