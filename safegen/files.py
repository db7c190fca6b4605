"""Files' hashes, and writing files so that a reader never sees half of one."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

PARTIAL = ".partial"
"""How the name of a file ends that is being written; what a killed process leaves behind."""


def sha256(*files: Path) -> str:
    """The hash of what is in ``files``, one after the other."""
    found = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while part := stream.read(1 << 20):
                found.update(part)
    return found.hexdigest()


def write_atomically(file: Path, data: str | bytes) -> None:
    """Write all of ``data`` (text as UTF-8, as it is) or nothing; makes missing folders.

    The file has the permissions that ``open`` would give it.

    Raises:
        OSError: if it cannot be written; what was there before is then still there.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    file.parent.mkdir(parents=True, exist_ok=True)
    # Short enough for a name of any length, hidden, and nobody else's.
    temporary = file.parent / f".{secrets.token_hex(8)}{PARTIAL}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    handle = os.open(temporary, flags, 0o666)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the rename itself must survive a power cut
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
