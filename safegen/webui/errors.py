"""SafeGen's errors as a person meets them: on the page, and as answers of the WebUI's API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import HTTPException

from safegen.errors import GuardFailure, InvalidValue, SafeGenError, Unsupported
from safegen.plan import SETTINGS
from safegen.sentence import Told, told
from safegen.webui.words import later, refusal, say, spoken

PREFIX = "SafeGen: "
"""Every message of ours begins so; the page's script goes by it."""
DETAILS = " Details: "
"""Between what anybody understands and the technical part, which the page's script folds."""


class Blocked(SafeGenError):
    """Nothing can be generated, whatever is asked for."""


NOTHING_GENERATED = later("Nothing is generated here until SafeGen can work.")


class SafeGen(SafeGenError):
    """A message for the page. The host shows it after this class's name, which is ours."""


def message(error: object) -> str:
    """``error`` as a message that begins with `PREFIX`."""
    text = str(error)
    return text if text.startswith(PREFIX) else PREFIX + text.removeprefix("SafeGen ")


_LABELS = {"cfg_scale": "CFG scale"}
"""What a person calls a field of a request, where that isn't told by its name."""


def label_of(field: str) -> str:
    """What a person calls ``field``: a setting's label, or the field's name in words."""
    if field in SETTINGS:
        return SETTINGS[field].label
    words = field.replace("_", " ")
    return _LABELS.get(field, words[:1].upper() + words[1:])


def _about(error: BaseException) -> BaseException:
    """The value that a guard stopped for, if it was one; else ``error`` itself."""
    cause = error.__cause__
    return cause if isinstance(error, GuardFailure) and isinstance(cause, InvalidValue) else error


def plainly(error: BaseException) -> str:
    """``error`` for somebody who knows labels and no field names."""
    error = _about(error)
    if not isinstance(error, InvalidValue):
        said = error.args[0] if error.args else ""
        if isinstance(said, Told):
            return said
        text = str(error).removeprefix(PREFIX)
        if text.split(" ", 1)[0].rstrip(",:;").isalpha():  # a word, and no file's name
            text = text[:1].upper() + text[1:]
        return text if text.endswith((".", "!", "?")) else f"{text}."
    if error.plain:
        return error.plain
    return told(
        "{field}: {value} is not allowed. Allowed: {allowed}.",
        field=told(label_of(error.field)),
        value=error.shown,
        allowed=error.allowed,
    )


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


def for_page(error: BaseException) -> str:
    """``error`` as the page says it.

    What is wrong with a control says what to do. Any other refusal begins with the operator's own
    sentence, unless other words would be refused too; the reason comes behind `DETAILS`.
    """
    about = _about(error)
    if isinstance(about, InvalidValue) and about.field in SETTINGS:
        return spoken(plainly(about))
    said = say(NOTHING_GENERATED) if isinstance(about, Blocked) else refusal()
    return f"{said}{DETAILS}{spoken(plainly(error))}"


def for_caller(error: SafeGenError, p: Any) -> Exception:
    """``error`` as whoever asked for the picture of ``p`` can read it."""
    return as_http(error) if getattr(p, "is_api", False) else SafeGen(for_page(error))


def as_http(error: SafeGenError) -> HTTPException:
    """``error`` for a client: 422 that names the field if the request is at fault, else 500.

    Only an ``HTTPException`` reaches an API client with its text: the host's own handler of
    other exceptions meets them wrapped in an ``ExceptionGroup`` and answers without their cause.
    """
    plain = plainly(error)
    detail: dict[str, Any] = {"field": None, "message": PREFIX + plain, "plain": plain}
    if isinstance(error, InvalidValue):
        detail.update(field=error.field, value=repr(error.value), allowed=error.allowed)
    at_fault = isinstance(error, InvalidValue | Unsupported)
    return HTTPException(status_code=422 if at_fault else 500, detail=detail)
