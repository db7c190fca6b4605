"""The servers of a sweep and their queue: who takes what, and how failures are borne with.

A *worker* (a thread) per server takes a unit, asks its server and hands on what came of it. A unit
whose server fails goes back to the queue for another; a server that keeps failing is retired.
"""

from __future__ import annotations

import queue
import statistics
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from safegen.lab.sweep.backends import Backend, Refused, Temporary, TooSlow, Unusable
from safegen.lab.sweep.cells import Unit
from safegen.lab.sweep.executors import Call
from safegen.lab.sweep.manifest import Picture


@dataclass(frozen=True)
class Retries:
    """How long a failing server is borne with.

    Args:
        tries: Attempts at one unit on one server before it goes back to the queue.
        wait: Seconds before the second attempt; each further wait is twice as long.
        longest: Upper limit of a wait, in seconds.
        strikes: Different units that may fail on a server, with no success between, before it
            is retired.
        rounds: Times a unit may go back to the queue before it counts as failed.
    """

    tries: int = 5
    wait: float = 1.0
    longest: float = 30.0
    strikes: int = 3
    rounds: int = 3

    def waits(self) -> Iterator[float]:
        """The waits between the attempts at one unit."""
        for attempt in range(self.tries - 1):
            yield min(self.wait * 2**attempt, self.longest)


@dataclass
class Worker:
    """One server, or one slot of a local backend, and how it fared."""

    name: str
    backend: Backend
    made: int = 0
    errors: int = 0
    seconds: list[float] = field(default_factory=list)
    retired: str = ""

    @property
    def typical(self) -> float:
        """Median seconds per picture; 0 before the first."""
        return statistics.median(self.seconds) if self.seconds else 0.0


@dataclass
class Task:
    """A unit in the queue, and who failed at it."""

    unit: Unit
    tried: set[str] = field(default_factory=set)
    rounds: int = 0
    why: str = ""


class Tasks:
    """The units still to be made, shared by all workers."""

    def __init__(self, units: Sequence[Unit], workers: Sequence[str]) -> None:
        self._waiting = deque(Task(unit) for unit in units)
        self._in_flight = 0
        self._alive = set(workers)
        self._stopped = False
        self._changed = threading.Condition()

    def take(self, worker: str) -> Task | None:
        """The next unit for ``worker``; ``None`` when there will be none any more."""
        with self._changed:
            while True:
                if self._stopped or worker not in self._alive:
                    return None
                for i, task in enumerate(self._waiting):
                    # A unit that failed here is left to others, while there are others.
                    if worker not in task.tried or self._alive <= task.tried:
                        del self._waiting[i]
                        self._in_flight += 1
                        return task
                if not self._waiting and not self._in_flight:
                    return None
                self._changed.wait()

    def finish(self) -> None:
        """A unit was made, or has failed for good."""
        with self._changed:
            self._in_flight -= 1
            self._changed.notify_all()

    def give_back(self, task: Task) -> None:
        """A unit was not made: it goes to the end, so that one bad unit does not hold up others."""
        with self._changed:
            self._in_flight -= 1
            self._waiting.append(task)
            self._changed.notify_all()

    def retire(self, worker: str) -> None:
        """``worker`` takes no more."""
        with self._changed:
            self._alive.discard(worker)
            self._changed.notify_all()

    def stop(self) -> None:
        """No worker gets anything more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped


@dataclass(frozen=True)
class Event:
    """What a worker tells the writer: pictures, a failure, a crash, or nothing: it has ended."""

    worker: Worker
    unit: Unit = ()
    pictures: tuple[Picture, ...] = ()
    failure: str = ""
    crash: BaseException | None = None


@dataclass
class Runner:
    """A worker's thread."""

    worker: Worker
    tasks: Tasks
    call: Call
    retries: Retries
    events: queue.SimpleQueue[Event]
    halt: threading.Event
    failing: set[int] = field(default_factory=set)

    def run(self) -> None:
        """Take units until there are none."""
        try:
            while (task := self.tasks.take(self.worker.name)) is not None:
                self._do(task)
                if self.worker.retired:
                    break
        except BaseException as error:  # a bug: the sweep must end loudly, not lose a worker
            self.events.put(Event(self.worker, crash=error))
        finally:
            self.tasks.retire(self.worker.name)
            self.events.put(Event(self.worker))

    def _do(self, task: Task) -> None:
        try:
            pictures = self._try(task.unit)
        except Refused as error:
            self.worker.errors += 1
            self.tasks.finish()
            self.events.put(Event(self.worker, task.unit, failure=str(error)))
            self._strike(task, str(error))
        except Temporary as error:
            self.worker.errors += 1
            self._hand_on(task, str(error))
            self._strike(task, str(error))
        except Unusable as error:
            self.worker.errors += 1
            self._retire(str(error))
            task.tried.add(self.worker.name)
            self.tasks.give_back(task)
        except BaseException:
            self.tasks.give_back(task)
            raise
        else:
            self.failing.clear()
            self.events.put(Event(self.worker, task.unit, tuple(pictures)))
            self.tasks.finish()

    def _try(self, unit: Unit) -> list[Picture]:
        for wait in self.retries.waits():
            try:
                return self.call(self.worker.backend, unit)
            except TooSlow:
                raise  # asked again it would be no faster
            except Temporary:
                self.worker.errors += 1
                if self.halt.wait(wait):
                    raise
        return self.call(self.worker.backend, unit)

    def _hand_on(self, task: Task, why: str) -> None:
        task.tried.add(self.worker.name)
        task.rounds += 1
        task.why = why
        if task.rounds >= self.retries.rounds and not self.tasks.stopped:
            self.tasks.finish()
            self.events.put(Event(self.worker, task.unit, failure=why))
        else:
            self.tasks.give_back(task)

    def _strike(self, task: Task, why: str) -> None:
        self.failing.add(id(task))
        if len(self.failing) >= self.retries.strikes:
            self._retire(f"{len(self.failing)} units in a row failed, the last with: {why}")

    def _retire(self, why: str) -> None:
        self.worker.retired = why
        self.tasks.retire(self.worker.name)
