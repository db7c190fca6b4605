"""Make every cell of a sweep once, on as many servers as there are.

One queue, one worker per server, one writer, which alone touches the manifest.
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
from safegen.lab.sweep.manifest import Manifest
from safegen.lab.sweep.workers import Event, Retries, Runner, Tasks, Worker


@dataclass(frozen=True)
class Summary:
    """How a sweep ended.

    Args:
        wanted: Pictures that the command asks for.
        before: Of those, finished when it began.
        made: Of those, made now.
        failed: (cell's key, why) of pictures that could not be made.
        workers: The servers.
        stopped: Whether the user stopped it.
    """

    wanted: int
    before: int
    made: int
    failed: tuple[tuple[str, str], ...]
    workers: tuple[Worker, ...]
    stopped: bool

    @property
    def complete(self) -> bool:
        """Whether every picture is there."""
        return self.before + self.made == self.wanted

    def lines(self) -> list[str]:
        """The summary for people."""
        left = self.wanted - self.before - self.made
        said = [f"{self.made} pictures made, {self.before} were there, {left} are missing"]
        fastest = min((worker.typical for worker in self.workers if worker.seconds), default=0.0)
        for worker in self.workers:
            line = f"  {worker.name}: {worker.made} pictures"
            if worker.seconds:
                line += f", {worker.typical:.2f} s each"
                if worker.typical > 3 * fastest:
                    line += " (slow)"
            if worker.errors:
                line += f", {worker.errors} errors"
            if worker.retired:
                line += f"; given up: {worker.retired}"
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
    workers: Sequence[Worker],
    call: Call,
    *,
    retries: Retries | None = None,
    say: Callable[[str], None] = lambda _: None,
    progress: bool = True,
) -> Summary:
    """Make what is missing of ``units``.

    The first interrupt (Ctrl-C) lets every server finish what it is at and then stops; the
    second stops at once. Either way nothing that was finished is lost.

    Args:
        manifest: The folder, entered.
        units: Everything that is wanted, finished or not.
        workers: The servers; a backend that can do several things at once has several workers.
        call: The executor's function.
        retries: How failures are borne with.
        say: Where one-line messages go.
        progress: Whether to draw a progress bar.
    """
    retries = retries or Retries()
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
    tasks = Tasks(todo, [worker.name for worker in workers])
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    halt = threading.Event()
    failed: dict[str, str] = {}
    made = 0
    threads = [
        threading.Thread(
            target=Runner(worker, tasks, call, retries, events, halt).run,
            name=worker.name,
            daemon=True,
        )
        for worker in workers
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
                worker = event.worker
                if event.crash is not None:
                    crash = event.crash
                elif event.pictures:
                    manifest.finish(event.unit, event.pictures, worker.backend.name)
                    made += len(event.unit)
                    worker.made += len(event.unit)
                    worker.seconds += [picture.seconds for picture in event.pictures]
                    bar.update(len(event.unit))
                elif event.failure:
                    for cell in event.unit:
                        failed[cell.key] = event.failure
                        manifest.note(
                            "failed", key=cell.key, backend=worker.name, why=event.failure
                        )
                    announce(f"failed: {event.failure}")
                else:
                    running -= 1
                    if worker.retired:
                        manifest.note("retired", backend=worker.name, why=worker.retired)
                        announce(f"{worker.name} is given up: {worker.retired}")
                bar.set_postfix(servers=running, failed=len(failed), refresh=False)
        finally:
            tasks.stop()
            halt.set()
    if crash is not None:
        raise crash
    summary = Summary(
        len(wanted), before, made, tuple(failed.items()), tuple(workers), interrupted.is_set()
    )
    manifest.note(
        "end",
        made=made,
        missing=summary.wanted - before - made,
        stopped=summary.stopped,
        workers=[
            {"name": x.name, "made": x.made, "errors": x.errors, "retired": x.retired}
            for x in workers
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
