"""Who asks for a picture, where the WebUI knows: with ``--gradio-auth`` or ``--api-auth``."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

_asking: ContextVar[str | None] = ContextVar("safegen_user", default=None)
"""The name that the API request under way came with; the host has checked its password."""


def of(p: Any) -> str | None:
    """The user for whom ``p`` is made, or ``None`` if nobody is named."""
    name = getattr(p, "user", None)
    if name:
        return str(name)
    return _asking.get() if getattr(p, "is_api", False) else None


class Asking:
    """ASGI middleware that remembers the name in a request's ``Authorization``."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        token = _asking.set(_name_in(scope) if scope["type"] == "http" else None)
        try:
            await self.app(scope, receive, send)
        finally:
            _asking.reset(token)


def _name_in(scope: Any) -> str | None:
    # Of several the host checks the first.
    given: bytes = next((value for key, value in scope["headers"] if key == b"authorization"), b"")
    kind, _, encoded = given.decode("latin-1").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(encoded).decode("utf-8").partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return None


def register(app: Any) -> None:
    """Put the middleware before an app that has not answered yet, or has."""
    if any(one.cls is Asking for one in app.user_middleware):
        return
    app.middleware_stack = None  # it is built anew for the next request
    app.add_middleware(Asking)
