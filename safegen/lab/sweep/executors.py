"""Where a backend's work runs: in this process, in others, or on a Dask cluster.

An executor is one function, `call`: whatever is asked of it, the sweep's queue, retries and
manifest stay the same.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from loky import BrokenProcessPool, ProcessPoolExecutor

from safegen.errors import SafeGenError
from safegen.lab.sweep.backends import Backend, Temporary, ask
from safegen.lab.sweep.cells import Unit
from safegen.lab.sweep.manifest import Picture

Call = Callable[[Backend, Unit], list[Picture]]


@contextmanager
def in_threads() -> Iterator[Call]:
    """Ask the backend from the worker's own thread: right for servers, which do the work."""
    yield ask


def _start_process() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what a Ctrl-C means


@contextmanager
def in_processes() -> Iterator[Call]:
    """Ask the backend in processes of this machine, one for each worker: for local models.

    A process that dies takes its own worker's picture with it and nothing else; the worker gets a
    new one.
    """
    mine = threading.local()
    everyone: list[Any] = []

    def call(backend: Backend, unit: Unit) -> list[Picture]:
        pool = getattr(mine, "pool", None)
        if pool is None:
            pool = mine.pool = ProcessPoolExecutor(1, initializer=_start_process)
            everyone.append(pool)
        try:
            made: list[Picture] = pool.submit(ask, backend, unit).result()
        except BrokenProcessPool as error:
            mine.pool = None
            raise Temporary(f"{backend.name}: its process died ({error})") from error
        return made

    try:
        yield call
    finally:
        for pool in everyone:
            pool.shutdown(wait=False, kill_workers=True)


@contextmanager
def on_dask(address: str) -> Iterator[Call]:
    """Ask the backend from a worker of the Dask cluster whose scheduler is at ``address``.

    Dask moves the work of a worker that dies to another one by itself.

    Raises:
        SafeGenError: Dask is not installed, or there is no scheduler.
    """
    try:
        from distributed import Client
        from distributed.scheduler import KilledWorker
    except ImportError as error:
        raise SafeGenError(
            f"--dask needs the cluster extra: pip install 'safegen[cluster]' ({error})"
        ) from error
    try:
        client: Any = Client(address, timeout=20, set_as_default=False)
    except OSError as error:
        raise SafeGenError(f"no Dask scheduler at {address}: {error}") from error

    def call(backend: Backend, unit: Unit) -> list[Picture]:
        future = client.submit(ask, backend, unit, pure=False)
        try:
            made: list[Picture] = future.result()
        except KilledWorker as error:
            raise Temporary(f"{backend.name}: its Dask worker died ({error})") from error
        finally:
            future.release()
        return made

    try:
        yield call
    finally:
        client.close()
