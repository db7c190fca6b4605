"""Where the tab's panes come from, and what they ask: routes of the host's server, for the page.

Whoever may see the page may ask; with a login, nobody else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import Body, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse

from safegen.errors import SafeGenError
from safegen.webui import arrival, host, jobs, tab
from safegen.webui.errors import as_http
from safegen.webui.jobs import Answer
from safegen.webui.tab import asked, check, compare, contexts, defaults, fitting, status

ROUTE = "/safegen/tab"


def _status(_body: asked.Body) -> Answer:
    return {"html": {"safegen_status_report": status.report()}}


def _interrupt(_body: asked.Body) -> Answer:
    compare.interrupt()
    return {}


AT_ONCE: dict[str, Callable[[asked.Body], Answer]] = {
    "contexts": contexts.on_contexts,
    "defaults": defaults.on_defaults,
    "status": _status,
    "interrupt": _interrupt,
}
IN_TIME: dict[str, Callable[[asked.Body, jobs.Tell], Answer]] = {
    "check": check.on_check,
    "fit": fitting.on_fit,
    "learn": contexts.on_learn,
}
"""What may take long: the answer names a job, and how far it is."""


def answer(name: str, body: Any) -> Answer:
    """What the page asks for by ``name``.

    Raises:
        HTTPException: There is no such thing, or what was sent can't be used.
    """
    if name not in (*AT_ONCE, *IN_TIME):
        raise HTTPException(404, "SafeGen: no such question")
    try:
        given = asked.body_of(body)
        if name in AT_ONCE:
            return AT_ONCE[name](given)
        return jobs.begin(partial(IN_TIME[name], given))
    except SafeGenError as error:
        raise as_http(error) from None


def progress(name: str) -> Answer:
    """How far a job has come, or its answer."""
    try:
        return jobs.after(name)
    except SafeGenError as error:
        raise as_http(error) from None


def register(app: FastAPI) -> None:
    """Put the routes on the host's server, once. Without a page there is nobody to ask them, and
    no login that would keep strangers out.
    """
    there = any(getattr(route, "path", "") == ROUTE for route in app.routes)
    if there or host.flag("nowebui", False):
        return

    def panes(request: Request) -> HTMLResponse:
        arrival.user_of(app, request)
        return HTMLResponse(tab.html(), headers={"Cache-Control": "no-store"})

    def post(request: Request, name: str, body: Any = Body(...)) -> Answer:  # noqa: B008
        arrival.user_of(app, request)
        # A page from elsewhere can send this type only if the host allows that page to ask.
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise HTTPException(415, "SafeGen: application/json is expected")
        return answer(name, body)

    def get(request: Request, job: str) -> Answer:
        arrival.user_of(app, request)
        return progress(job)

    for path, endpoint, method in (
        (ROUTE, panes, "GET"),
        (f"{ROUTE}/{{name}}", post, "POST"),
        (f"{ROUTE}/job/{{job}}", get, "GET"),
    ):
        app.add_api_route(path, endpoint, methods=[method], include_in_schema=False)
