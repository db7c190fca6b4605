"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_atomically(file: Path, data: str | bytes) -> None:
    """Write all of ``data`` (text as UTF-8) or nothing; folders are made where they are missing.

    Raises:
        OSError: if it cannot be written; what was there before is then still there.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
