"""What the page sends to the panes: read and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safegen.errors import InvalidValue

Body = dict[str, Any]


def body_of(value: Any) -> Body:
    """``value``, which must be a table.

    Raises:
        InvalidValue: It is none.
    """
    if not isinstance(value, dict):
        raise InvalidValue("body", value, "a table")
    return value


def text(body: Body, name: str) -> str:
    """A text; empty if there is none."""
    value = body.get(name, "")
    if not isinstance(value, str):
        raise InvalidValue(name, value, "a text")
    return value


def tick(body: Body, name: str) -> bool:
    """Whether a box is ticked."""
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise InvalidValue(name, value, "true or false")
    return value


def number(body: Body, name: str) -> float:
    """A number."""
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidValue(name, value, "a number")
    return float(value)


def texts(body: Body, name: str) -> list[str]:
    """A list of texts."""
    value = body.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InvalidValue(name, value, "a list of texts")
    return value


def file(body: Body, name: str, folder: Path) -> Path | None:
    """A file that the page has read, written into ``folder``; ``None`` if none was chosen."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InvalidValue(name, value, "a table with name and text")
    called = Path(text(value, "name").replace("\\", "/")).name[-100:].replace("\0", "")
    path = folder / (called if called.strip(". ") else "file")
    path.write_bytes(text(value, "text").encode("utf-8", "replace"))
    return path
