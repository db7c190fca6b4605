"""Make every cell of a sweep once, on as many servers as there are.

One queue, one lane per server, one writer, which alone touches the manifest.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from tqdm import tqdm

from safegen.lab.sweep.cells import Unit
from safegen.lab.sweep.executors import Call
from safegen.lab.sweep.lanes import Event, Lane, Patience, Runner, Tasks
from safegen.lab.sweep.manifest import Manifest


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
    tasks = Tasks(todo, [lane.name for lane in lanes])
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    halt = threading.Event()
    failed: dict[str, str] = {}
    made = 0
    threads = [
        threading.Thread(
            target=Runner(lane, tasks, call, patience, events, halt).run,
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
    tasks: Tasks, halt: threading.Event, say: Callable[[str], None]
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
