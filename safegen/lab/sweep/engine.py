"""Make every cell of a sweep once, on as many servers as there are.

One queue, one *lane* (thread) per server, one writer. A lane takes a unit, asks its server,
and hands the pictures to the writer, which alone touches the manifest. A unit whose server
fails goes back to the queue for another; a server that keeps failing is retired and reported.
"""

from __future__ import annotations

import itertools
import queue
import signal
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from tqdm import tqdm

import safegen
from safegen.errors import SafeGenError
from safegen.lab.sweep.backends import (
    UNKNOWN,
    Backend,
    BackendInfo,
    Refused,
    Temporary,
    TooSlow,
    Unusable,
)
from safegen.lab.sweep.cells import Unit
from safegen.lab.sweep.executors import Call
from safegen.lab.sweep.manifest import FORMAT, Manifest, ManifestError, Picture


@dataclass(frozen=True)
class Patience:
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
class Lane:
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


@dataclass(frozen=True)
class Summary:
    """How a sweep ended.

    Args:
        wanted: Pictures that the command asks for.
        before: Of those, finished when it began.
        made: Of those, made now.
        failed: (cell's key, why) of pictures that could not be made.
        lanes: The servers.
        stopped: Whether the user stopped it.
    """

    wanted: int
    before: int
    made: int
    failed: tuple[tuple[str, str], ...]
    lanes: tuple[Lane, ...]
    stopped: bool

    @property
    def complete(self) -> bool:
        """Whether every picture is there."""
        return self.before + self.made == self.wanted

    def lines(self) -> list[str]:
        """The summary for people."""
        left = self.wanted - self.before - self.made
        said = [f"{self.made} pictures made, {self.before} were there, {left} are missing"]
        fastest = min((lane.typical for lane in self.lanes if lane.seconds), default=0.0)
        for lane in self.lanes:
            line = f"  {lane.name}: {lane.made} pictures"
            if lane.seconds:
                line += f", {lane.typical:.2f} s each"
                if lane.typical > 3 * fastest:
                    line += " (slow)"
            if lane.errors:
                line += f", {lane.errors} errors"
            if lane.retired:
                line += f"; given up: {lane.retired}"
            said.append(line)
        for key, why in self.failed[:5]:
            said.append(f"  failed: {key[:8]}: {why}")
        if len(self.failed) > 5:
            said.append(f"  and {len(self.failed) - 5} more, all in the manifest")
        if left:
            said.append("the same command goes on from here")
        return said


# --------------------------------------------------------------------------- the queue


@dataclass
class _Task:
    unit: Unit
    tried: set[str] = field(default_factory=set)
    rounds: int = 0
    why: str = ""


class _Tasks:
    """The units still to be made, shared by all lanes."""

    def __init__(self, units: Sequence[Unit], lanes: Sequence[str]) -> None:
        self._waiting = deque(_Task(unit) for unit in units)
        self._in_flight = 0
        self._alive = set(lanes)
        self._stopped = False
        self._changed = threading.Condition()

    def take(self, lane: str) -> _Task | None:
        """The next unit for ``lane``; ``None`` when there will be none any more."""
        with self._changed:
            while True:
                if self._stopped or lane not in self._alive:
                    return None
                for i, task in enumerate(self._waiting):
                    # A unit that failed here is left to others, while there are others.
                    if lane not in task.tried or self._alive <= task.tried:
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

    def give_back(self, task: _Task) -> None:
        """A unit was not made: it goes to the end, so that one bad unit does not hold up others."""
        with self._changed:
            self._in_flight -= 1
            self._waiting.append(task)
            self._changed.notify_all()

    def retire(self, lane: str) -> None:
        """``lane`` takes no more."""
        with self._changed:
            self._alive.discard(lane)
            self._changed.notify_all()

    def stop(self) -> None:
        """No lane gets anything more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    @property
    def stopped(self) -> bool:
        return self._stopped


# --------------------------------------------------------------------------- the lanes


@dataclass(frozen=True)
class _Event:
    lane: Lane
    unit: Unit = ()
    pictures: tuple[Picture, ...] = ()
    failure: str = ""
    crash: BaseException | None = None


class _Runner:
    """A lane's thread."""

    def __init__(
        self,
        lane: Lane,
        tasks: _Tasks,
        call: Call,
        patience: Patience,
        events: queue.SimpleQueue[_Event],
        halt: threading.Event,
    ) -> None:
        self.lane, self.tasks, self.call = lane, tasks, call
        self.patience, self.events, self.halt = patience, events, halt
        self.failing: set[int] = set()

    def run(self) -> None:
        try:
            while (task := self.tasks.take(self.lane.name)) is not None:
                self._do(task)
                if self.lane.retired:
                    break
        except BaseException as error:  # a bug: the sweep must end loudly, not lose a lane
            self.events.put(_Event(self.lane, crash=error))
        finally:
            self.tasks.retire(self.lane.name)
            self.events.put(_Event(self.lane))

    def _do(self, task: _Task) -> None:
        try:
            pictures = self._try(task.unit)
        except Refused as error:
            self.lane.errors += 1
            self.tasks.finish()
            self.events.put(_Event(self.lane, task.unit, failure=str(error)))
            self._strike(task, str(error))
        except Temporary as error:
            self.lane.errors += 1
            self._hand_on(task, str(error))
            self._strike(task, str(error))
        except Unusable as error:
            self.lane.errors += 1
            self._retire(str(error))
            task.tried.add(self.lane.name)
            self.tasks.give_back(task)
        except BaseException:
            self.tasks.give_back(task)
            raise
        else:
            self.failing.clear()
            self.events.put(_Event(self.lane, task.unit, tuple(pictures)))
            self.tasks.finish()

    def _try(self, unit: Unit) -> list[Picture]:
        for wait in self.patience.waits():
            try:
                return self.call(self.lane.backend, unit)
            except TooSlow:
                raise  # asked again it would be no faster
            except Temporary:
                self.lane.errors += 1
                if self.halt.wait(wait):
                    raise
        return self.call(self.lane.backend, unit)

    def _hand_on(self, task: _Task, why: str) -> None:
        task.tried.add(self.lane.name)
        task.rounds += 1
        task.why = why
        if task.rounds >= self.patience.rounds and not self.tasks.stopped:
            self.tasks.finish()
            self.events.put(_Event(self.lane, task.unit, failure=why))
        else:
            self.tasks.give_back(task)

    def _strike(self, task: _Task, why: str) -> None:
        self.failing.add(id(task))
        if len(self.failing) >= self.patience.strikes:
            self._retire(f"{len(self.failing)} units in a row failed, the last with: {why}")

    def _retire(self, why: str) -> None:
        self.lane.retired = why
        self.tasks.retire(self.lane.name)


# --------------------------------------------------------------------------- the sweep


def check_same(infos: Mapping[str, BackendInfo], header: Mapping[str, Any] | None) -> BackendInfo:
    """The one thing that all backends are, and that the folder's earlier runs were.

    Raises:
        SafeGenError: Two servers have different checkpoints, or the folder's pictures were made
            with another checkpoint or another version of SafeGen.
    """
    names = list(infos)
    first = infos[names[0]]
    for one, other in itertools.combinations(names, 2):  # all: the first may not tell everything
        here, there = infos[one], infos[other]
        if there.model_hash != here.model_hash or there.model != here.model:
            raise SafeGenError(
                f"{one} has {here.model} [{here.model_hash[:10]}] loaded, {other} has "
                f"{there.model} [{there.model_hash[:10]}]: a sweep is about one checkpoint"
            )
        if _differ(here.versions, there.versions):
            raise SafeGenError(
                f"{one} runs {_say(here.versions)}, {other} runs {_say(there.versions)}: a sweep "
                "needs the same versions everywhere"
            )
    if header is not None:
        known = header["model_hash"] or header["model"]
        if known != (first.model_hash or first.model):
            raise ManifestError(
                f"this folder is about {header['model']} [{header['model_hash'][:10]}], but "
                f"{first.model} [{first.model_hash[:10]}] is loaded: load that one, or choose "
                "another --out"
            )
        if header["safegen"] != safegen.__version__:
            raise ManifestError(
                f"this folder was begun with SafeGen {header['safegen']}, this is "
                f"{safegen.__version__}: choose another --out"
            )
    return first


def _differ(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two backends run different versions of anything; what is not known is no difference.

    A WebUI without its page (``--nowebui``) does not tell its version.
    """
    return any(
        UNKNOWN not in (said := (one.get(name, ""), other.get(name, ""))) and said[0] != said[1]
        for name in one.keys() | other.keys()
    )


def _say(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in versions.items())


def begin(
    manifest: Manifest,
    infos: Mapping[str, BackendInfo],
    command: Mapping[str, Any],
    prompt_sets: Sequence[Mapping[str, Any]],
) -> None:
    """Write the folder's first line, or check that this run goes with it; then note the run.

    Raises:
        SafeGenError: see `check_same`; also a prompt set of the same name with other content.
    """
    header = manifest.header()
    info = check_same(infos, header)
    for run in manifest.records("run"):
        known = {known["name"]: known["sha256"] for known in run["prompts"]}
        for used in prompt_sets:
            if known.get(used["name"], used["sha256"]) != used["sha256"]:
                raise ManifestError(
                    f"{used['name']} has changed since this sweep began; choose another --out"
                )
    if header is None:
        manifest.note(
            "sweep",
            format=FORMAT,
            safegen=safegen.__version__,
            model=info.model,
            model_hash=info.model_hash,
        )
    manifest.note(
        "run",
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        command=dict(command),
        prompts=[dict(p) for p in prompt_sets],
        backends={name: info.to_data() for name, info in infos.items()},
    )


def run(
    manifest: Manifest,
    units: Sequence[Unit],
    lanes: Sequence[Lane],
    call: Call,
    *,
    patience: Patience | None = None,
    say: Callable[[str], None] = lambda _: None,
    progress: bool = True,
) -> Summary:
    """Make what is missing of ``units``.

    The first interrupt (Ctrl-C) lets every server finish what it is at and then stops; the
    second stops at once. Either way nothing that was finished is lost.

    Args:
        manifest: The folder, entered.
        units: Everything that is wanted, finished or not.
        lanes: The servers; a backend that can do several things at once has several lanes.
        call: The executor's function.
        patience: How failures are borne with.
        say: Where one-line messages go.
        progress: Whether to draw a progress bar.
    """
    patience = patience or Patience()
    finished = set(manifest.finished())
    wanted = {cell.key for unit in units for cell in unit}
    todo: list[Unit] = []
    planned: set[str] = set()
    for unit in units:
        missing = tuple(c for c in unit if c.key not in finished and c.key not in planned)
        planned |= {cell.key for cell in missing}
        if missing:
            todo.append(missing)
    before = len(wanted & finished)
    tasks = _Tasks(todo, [lane.name for lane in lanes])
    events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
    halt = threading.Event()
    failed: dict[str, str] = {}
    made = 0
    threads = [
        threading.Thread(
            target=_Runner(lane, tasks, call, patience, events, halt).run,
            name=lane.name,
            daemon=True,
        )
        for lane in lanes
    ]
    bar = tqdm(
        total=len(wanted), initial=before, unit="img", desc="sweep", disable=not progress,
        dynamic_ncols=True, smoothing=0.05,
    )  # fmt: skip

    def announce(text: str) -> None:
        bar.clear()
        say(text)
        bar.refresh()

    crash: BaseException | None = None
    with bar, _interruptible(tasks, halt, announce) as interrupted:
        for thread in threads:
            thread.start()
        running = len(threads)
        try:
            while running and crash is None:
                try:
                    event = events.get(timeout=0.2)
                except queue.Empty:
                    continue
                lane = event.lane
                if event.crash is not None:
                    crash = event.crash
                elif event.pictures:
                    manifest.finish(event.unit, event.pictures, lane.backend.name)
                    made += len(event.unit)
                    lane.made += len(event.unit)
                    lane.seconds += [picture.seconds for picture in event.pictures]
                    bar.update(len(event.unit))
                elif event.failure:
                    for cell in event.unit:
                        failed[cell.key] = event.failure
                        manifest.note("failed", key=cell.key, backend=lane.name, why=event.failure)
                    announce(f"failed: {event.failure}")
                else:
                    running -= 1
                    if lane.retired:
                        manifest.note("retired", backend=lane.name, why=lane.retired)
                        announce(f"{lane.name} is given up: {lane.retired}")
                bar.set_postfix(servers=running, failed=len(failed), refresh=False)
        finally:
            tasks.stop()
            halt.set()
    if crash is not None:
        raise crash
    summary = Summary(
        len(wanted), before, made, tuple(failed.items()), tuple(lanes), interrupted.is_set()
    )
    manifest.note(
        "end",
        made=made,
        missing=summary.wanted - before - made,
        stopped=summary.stopped,
        lanes=[
            {"name": x.name, "made": x.made, "errors": x.errors, "retired": x.retired}
            for x in lanes
        ],
    )
    return summary


@contextmanager
def _interruptible(
    tasks: _Tasks, halt: threading.Event, say: Callable[[str], None]
) -> Iterator[threading.Event]:
    """Within the block the first Ctrl-C stops the queue and the second one raises."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        # Not from here: the handler may have interrupted the very code that holds the locks.
        threading.Thread(target=stop, daemon=True).start()

    def stop() -> None:
        tasks.stop()
        halt.set()
        say("stopping after the pictures that are being made; Ctrl-C again drops those")

    former = signal.signal(signal.SIGINT, handle)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, former)
