"""One sweep from beginning to end, for every command that makes pictures."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safegen.choice import Chooser
from safegen.errors import SafeGenError
from safegen.lab.sweep import executors
from safegen.lab.sweep.backends import Backend, BackendError, BackendInfo
from safegen.lab.sweep.cells import Unit
from safegen.lab.sweep.engine import Summary, run
from safegen.lab.sweep.executors import Call
from safegen.lab.sweep.manifest import Manifest
from safegen.lab.sweep.start import begin, check_agree, contexts_digest
from safegen.lab.sweep.webui import WebUI
from safegen.lab.sweep.workers import Retries, Worker


@dataclass(frozen=True)
class Job:
    """What a command wants made, and where.

    Args:
        out: The sweep's folder.
        units: Every picture.
        backends: Servers, or one local model.
        chooser: Whose contexts the methods are told.
        prompt_sets: `PromptSet.to_data` of each set.
        command: The options, for the manifest; no password among them.
        batch: Pictures made together.
        workers: Processes, for one local model.
        dask: Address of a Dask scheduler, ``""`` for none.
        retries: How failures are borne with.
        progress: Whether to draw a progress bar.
    """

    out: Path
    units: Sequence[Unit]
    backends: Sequence[Backend]
    chooser: Chooser
    prompt_sets: Sequence[Mapping[str, Any]] = ()
    command: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 1
    workers: int = 1
    dask: str = ""
    retries: Retries = field(default_factory=Retries)
    progress: bool = True


def sweep(job: Job) -> Summary:
    """Make what is missing of a job's pictures, and note it in its folder.

    Raises:
        SafeGenError: No server can be used, or the folder was begun under other conditions.
        OSError: The folder can't be written.
    """
    with Manifest(job.out) as manifest:
        infos, absent = probe(job.backends)
        info = check_agree(infos)
        backends = [_held_to(b, info) for b in job.backends if b.name in infos]
        begin(
            manifest, infos, job.command, job.prompt_sets,
            batch=job.batch, contexts=contexts_digest(job.chooser.library),
        )  # fmt: skip
        for name, why in absent.items():
            manifest.note("retired", backend=name, why=why)
            _to_stderr(f"{name} is left out: {why}")
        if manifest.torn:
            _to_stderr(f"dropped {manifest.torn} bytes of a line that was half written")
        local = not isinstance(backends[0], WebUI)
        workers = [Worker(backend.name, backend) for backend in backends]
        if local and job.workers > 1:
            workers = [
                Worker(f"{backends[0].name}/{i + 1}", backends[0]) for i in range(job.workers)
            ]
        with _executor(job, in_processes=local and job.workers > 1) as call:
            return run(
                manifest, job.units, workers, call,
                retries=job.retries, say=_to_stderr, progress=job.progress,
            )  # fmt: skip


def _to_stderr(text: str) -> None:
    sys.stderr.write(text + "\n")


def probe(backends: Sequence[Backend]) -> tuple[dict[str, BackendInfo], dict[str, str]]:
    """What each backend is, and why some are left out.

    Raises:
        SafeGenError: None is left.
    """
    infos, absent = {}, {}
    for backend in backends:
        try:
            infos[backend.name] = backend.probe()
        except BackendError as error:
            absent[backend.name] = str(error)
    if not infos:
        raise SafeGenError("no server can be used: " + "; ".join(absent.values()))
    return infos, absent


def _held_to(backend: Backend, info: BackendInfo) -> Backend:
    """From now on a server's picture of any other checkpoint is refused."""
    if isinstance(backend, WebUI):
        return dataclasses.replace(backend, model=info.model, model_hash=info.model_hash)
    return backend


@contextlib.contextmanager
def _executor(job: Job, *, in_processes: bool) -> Iterator[Call]:
    if job.dask:
        with executors.on_dask(job.dask) as call:
            yield call
    elif in_processes:
        with executors.in_processes() as call:
            yield call
    else:
        with executors.in_threads() as call:
            yield call
