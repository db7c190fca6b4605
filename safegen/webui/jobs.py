"""Work that takes longer than a request may: one request begins it, others ask how far it is."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from safegen.errors import InvalidValue, Unsupported
from safegen.sentence import told
from safegen.webui import host
from safegen.webui.words import say

Answer = dict[str, Any]
Tell = Callable[[float, str], Any]
"""Told how far the work has come, 0 to 1, and with what."""
Work = Callable[[Tell], Answer]

PATIENCE = 0.3
"""Seconds for which a request waits for the end: what is quick needs no second one."""
KEPT = 600.0
"""Seconds for which an answer that nobody asks for is kept."""
MOST = 16
"""Jobs at once."""


class Job:
    """One piece of work, in a thread of its own."""

    def __init__(self, work: Work) -> None:
        self.id = secrets.token_urlsafe(12)
        self.share, self.said = 0.0, ""
        self.answer: Answer = {}
        self.ended = 0.0
        self._work = work
        self._over = threading.Event()
        threading.Thread(target=self._run, daemon=True, name=f"safegen job {self.id}").start()

    def _run(self) -> None:
        try:
            self.answer = self._work(self._tell)
        except Exception:
            host.report("SafeGen could not do what the page asked for")
            self.answer = {"failed": say("It could not be made. The log says why.")}
        self.ended = time.monotonic()
        self._over.set()

    def _tell(self, share: float, said: str) -> None:
        self.share, self.said = min(max(share, 0.0), 1.0), said

    def told(self) -> Answer:
        """The answer, or how far it has come."""
        if self._over.wait(PATIENCE):
            _jobs.pop(self.id, None)
            return self.answer
        return {"job": self.id, "share": self.share, "said": self.said}


_jobs: dict[str, Job] = {}
_lock = threading.Lock()


def begin(work: Work) -> Answer:
    """Begin ``work``; its answer if that is there at once, else what to ask `after` with.

    Raises:
        Unsupported: Too much is under way.
    """
    with _lock:
        now = time.monotonic()
        for old in [job for job in _jobs.values() if job.ended and now - job.ended > KEPT]:
            del _jobs[old.id]
        if sum(not job.ended for job in _jobs.values()) >= MOST:
            raise Unsupported(told("Too much is being made here just now. Try again later."))
        job = Job(work)
        _jobs[job.id] = job
    return job.told()


def after(name: str) -> Answer:
    """How far a job has come, or its answer, once.

    Raises:
        InvalidValue: There is none of this name, or its answer has been given.
    """
    job = _jobs.get(name)
    if job is None:
        raise InvalidValue(
            "job", name, "one that was begun here",
            plain=told("The WebUI no longer knows of this work. Begin it again."),
        )  # fmt: skip
    return job.told()
