"""SafeGen's errors as answers of the WebUI's API."""

from __future__ import annotations

from fastapi import HTTPException

from safegen.errors import InvalidValue, SafeGenError, Unsupported


def as_http(error: SafeGenError) -> HTTPException:
    """``error`` for a client: 422 that names the field if the request is at fault, else 500.

    Only an ``HTTPException`` reaches an API client with its text: the host's own handler of
    other exceptions meets them wrapped in an ``ExceptionGroup`` and answers without their cause.
    """
    if isinstance(error, InvalidValue):
        detail: object = {
            "field": error.field,
            "value": repr(error.value),
            "allowed": error.allowed,
            "message": str(error),
        }
        return HTTPException(status_code=422, detail=detail)
    if isinstance(error, Unsupported):
        return HTTPException(status_code=422, detail={"field": None, "message": str(error)})
    return HTTPException(status_code=500, detail={"field": None, "message": str(error)})
