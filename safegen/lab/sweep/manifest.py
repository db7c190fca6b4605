"""The memory of a sweep: an append-only file of JSON lines, and the pictures beside it.

A unit of work is finished when, and only when, its line is in the file. Pictures are written
whole under another name, synced and renamed before that line is; a line is written in one
go and synced. Whatever a crash leaves behind, a half-written picture has no line and a
half-written last line is no line.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from safegen.errors import SafeGenError
from safegen.files import write_atomically
from safegen.lab.sweep.cells import Cell, Unit

FORMAT = 2
FILE = "manifest.jsonl"
_KEY = re.compile(r"[0-9a-f]{32}\Z")


class ManifestError(SafeGenError):
    """A sweep's folder that cannot be used; says which and why."""


class JsonLines:
    """An append-only file of JSON objects, one a line, each synced to disk.

    The last line counts only if it ends in a newline: what a crash tore off is dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        with self.path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    record = json.loads(line)
                    if not isinstance(record, dict):
                        raise ValueError
                except ValueError:
                    raise ManifestError(
                        f"{self.path}, line {number}: not a JSON object. The file was changed by "
                        "something else; restore it, or cut the line out by hand"
                    ) from None
                yield record

    def repair(self) -> int:
        """Cut off a torn last line; returns how many bytes it had."""
        if not self.path.exists():
            return 0
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with self.path.open("r+b") as stream:
                stream.truncate(whole)
                os.fsync(stream.fileno())
        return len(data) - whole

    def append(self, *records: Mapping[str, Any]) -> None:
        """Write records in one go and wait until the disk has them."""
        lines = [json.dumps(record, separators=(",", ":")) + "\n" for record in records]
        with self.path.open("ab") as stream:
            stream.write("".join(lines).encode())
            stream.flush()
            os.fsync(stream.fileno())


@dataclass(frozen=True)
class Picture:
    """One finished picture.

    Args:
        png: The file's bytes.
        seconds: What making it took, its share of a batch by rows; on a server with the way there.
        rows: Denoiser rows evaluated for it, where the backend counts them.
        context: The safety context that guarded it, ``""`` for none, ``None`` if not known.
        notes: Whatever else the backend says of it, such as the infotext.
    """

    png: bytes
    seconds: float
    rows: int | None = None
    context: str | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    """A picture that a manifest lists.

    Args:
        unit, batch: Which unit of work it was made in, and how many pictures that had: they
            share its seconds.
        run: In which of the folder's runs it was made, counted from 1: the machine may have
            been busier in one than in another.
    """

    cell: Cell
    path: Path
    sha256: str
    seconds: float
    rows: int | None
    context: str | None
    backend: str
    notes: Mapping[str, Any]
    unit: int
    batch: int
    run: int = 0


class Manifest:
    """A sweep's folder, held by one sweep at a time.

    Use as a context manager: the lock is the operating system's and goes with the process,
    however it ends.

    Raises:
        ManifestError: Another sweep holds the folder, or the folder is another format's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines = JsonLines(folder / FILE)
        self._lock = FileLock(str(folder / ".lock"))

    def __enter__(self) -> Manifest:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ManifestError(
                f"{self.folder} is in use by another sweep; choose another --out, or wait for it"
            ) from None
        try:
            self.torn = self.lines.repair()
            for path in (self.folder / "images").glob("*/*.partial"):
                path.unlink()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def header(self) -> dict[str, Any] | None:
        """The sweep's first line, or ``None`` for a new folder."""
        for record in self.lines:
            if record.get("type") != "sweep" or record.get("format") != FORMAT:
                raise ManifestError(
                    f"{self.lines.path}: not a sweep of format {FORMAT}, which this version reads"
                )
            return record
        return None

    def records(self, kind: str) -> list[dict[str, Any]]:
        """All lines of one type: sweep, server, done, failed, end."""
        return [record for record in self.lines if record.get("type") == kind]

    def path_of(self, key: str) -> Path:
        """Where the picture of a cell lies."""
        if not _KEY.match(key):  # the file may have been written by anyone
            raise ManifestError(f"{self.lines.path}: {key!r} is no cell's key")
        return self.folder / "images" / key[:2] / f"{key}.png"

    def note(self, kind: str, **fields: Any) -> None:
        """Append a line of another type than done."""
        self.lines.append({"type": kind, **fields})

    def finish(self, unit: Unit, pictures: Iterable[Picture], backend: str) -> None:
        """Keep a unit's pictures, then its line: the moment at which it is finished."""
        entries = []
        for cell, picture in zip(unit, pictures, strict=True):
            path = self.path_of(cell.key)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, picture.png)
            entries.append(
                {
                    **cell.to_data(),
                    "sha256": hashlib.sha256(picture.png).hexdigest(),
                    "seconds": round(picture.seconds, 4),
                    "rows": picture.rows,
                    "context": picture.context,
                    "notes": dict(picture.notes),
                }
            )
        self.note("done", backend=backend, cells=entries)

    def finished(self, *, check: bool = True) -> dict[str, Finished]:
        """Every finished picture by its cell's key.

        With ``check`` a picture whose bytes are gone or are not those that were written is left
        out, so that it is made again.

        Raises:
            ManifestError: A line is broken.
        """
        found: dict[str, Finished] = {}
        run = 0
        for number, record in enumerate(self.lines):
            run += record.get("type") == "run"
            if record.get("type") != "done":
                continue
            for entry in record["cells"]:
                path = self.path_of(entry["key"])
                if check and not _intact(path, entry["sha256"]):
                    continue
                found[entry["key"]] = Finished(
                    cell=Cell.from_data(entry),
                    path=path,
                    sha256=entry["sha256"],
                    seconds=entry["seconds"],
                    rows=entry["rows"],
                    context=entry["context"],
                    backend=record["backend"],
                    notes=entry["notes"],
                    unit=number,
                    batch=len(record["cells"]),
                    run=run,
                )
        return found


def _intact(path: Path, sha256: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except OSError:
        return False
