"""SafeGen's errors as a person meets them: on the page, and as answers of the WebUI's API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import HTTPException

from safegen.errors import GuardFailure, InvalidValue, SafeGenError, Unsupported

PREFIX = "SafeGen: "
"""Every message of ours begins so; the page's badge goes by it."""


class Refused(SafeGenError):
    """A message for the page, which shows it under the picture."""


def message(error: object) -> str:
    """``error`` as a message that begins with `PREFIX`."""
    text = str(error)
    return text if text.startswith(PREFIX) else PREFIX + text.removeprefix("SafeGen ")


def explained(error: BaseException) -> SafeGenError:
    """``error`` itself if it was meant for the user, else one that says that SafeGen failed."""
    if isinstance(error, SafeGenError):
        return error
    return GuardFailure(f"SafeGen stopped this picture because of an error of its own: {error!r}")


ENDING = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""What ends the process or a generator; it is never ours to explain."""


@contextmanager
def explaining() -> Iterator[None]:
    """Around our own work: what it raises becomes a `SafeGenError`. The host's errors stay.

    An error that looks like the host's interrupt, which is no `Exception`, is explained too: the
    host would take it for the user's wish and go on.
    """
    try:
        yield
    except (SafeGenError, *ENDING):
        raise
    except BaseException as error:
        raise explained(error) from error


def for_caller(error: SafeGenError, p: Any) -> Exception:
    """``error`` as whoever asked for the picture of ``p`` can read it."""
    return as_http(error) if getattr(p, "is_api", False) else Refused(message(error))


def as_http(error: SafeGenError) -> HTTPException:
    """``error`` for a client: 422 that names the field if the request is at fault, else 500.

    Only an ``HTTPException`` reaches an API client with its text: the host's own handler of
    other exceptions meets them wrapped in an ``ExceptionGroup`` and answers without their cause.
    """
    detail: dict[str, Any] = {"field": None, "message": message(error)}
    if isinstance(error, InvalidValue):
        detail.update(field=error.field, value=repr(error.value), allowed=error.allowed)
    at_fault = isinstance(error, InvalidValue | Unsupported)
    return HTTPException(status_code=422 if at_fault else 500, detail=detail)
