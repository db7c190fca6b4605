"""What the page's script asks when the page is loaded: how things stand in each tab.

It is a plain request. An event of gradio's would make the browser go through the whole page
again, which takes longer than all else that SafeGen does there.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, HTTPException, Request

from safegen.plan import SETTINGS
from safegen.webui import accordion, standing
from safegen.webui.words import say

ROUTE = "/safegen/arrival"
QUIET = ("off", "zero", "auto", "watch", "on")
"""In these states no control has to change."""


def standings(user: str | None = None) -> dict[str, dict[str, Any]]:
    """By tab: the line in the accordion, and whether its controls have to follow by an event."""
    offered = accordion.context_choices()
    found = {}
    for tab, made in accordion.on_page.items():
        values = [made.controls[name].value for name in SETTINGS]
        now = standing.of(values, user)
        shown = [one[-1] if isinstance(one, tuple) else one for one in made.choices]
        follow = now.state not in QUIET or shown != offered
        found[tab] = {"line": now.html(), "follow": follow}
    return found


def user_of(app: FastAPI, request: Request) -> str | None:
    """Who is logged in to the page.

    Raises:
        HTTPException: 401 if the page has a login, and nobody is.
    """
    known = getattr(app, "tokens", None) or {}
    name = next((known[one] for one in request.cookies.values() if one in known), None)
    if name is None and getattr(app, "auth", None) is not None:
        raise HTTPException(401, say("SafeGen: log in and load the page again."))
    return None if name is None else str(name)


def register(app: FastAPI) -> None:
    """Put the route on the host's server, once."""
    if any(getattr(route, "path", "") == ROUTE for route in app.routes):
        return

    def arrival(request: Request) -> dict[str, dict[str, Any]]:
        return standings(user_of(app, request))

    app.add_api_route(ROUTE, arrival, methods=["GET"], include_in_schema=False)
