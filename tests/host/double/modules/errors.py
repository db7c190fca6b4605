"""What scripts and callbacks raise is recorded and printed, never passed on."""

import sys
import traceback

exception_records: list[tuple[str, str]] = []
"""What was swallowed: where it happened, and the last line of its traceback."""


def report(message: str, *, exc_info: bool = False) -> None:
    text = traceback.format_exc() if exc_info else ""
    exception_records.append((message, text.strip().splitlines()[-1] if text else ""))
    print(f"*** {message}\n{text}", file=sys.stderr)  # noqa: T201
