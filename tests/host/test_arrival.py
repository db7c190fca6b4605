"""What the page's script is told when the page is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from driver import Host
from fastapi import FastAPI
from fastapi.testclient import TestClient


@pytest.fixture
def app() -> FastAPI:
    from safegen.webui import arrival

    made = FastAPI()
    arrival.register(made)
    arrival.register(made)
    return made


def told(app: FastAPI, **cookies: str) -> Any:
    answer = TestClient(app, cookies=cookies).get("/safegen/arrival")
    return answer.json() if answer.status_code == 200 else answer.status_code


def test_both_tabs_are_told_and_nothing_has_to_follow(
    demo: Any, own_folder: Path, app: FastAPI
) -> None:
    found = told(app)
    assert set(found) == {"txt2img", "img2img"}
    assert all('data-safegen-state="off"' in tab["line"] for tab in found.values())
    assert not any(tab["follow"] for tab in found.values())


def test_what_is_enforced_since_the_page_was_built_is_told(
    demo: Any, host: Host, own_folder: Path, app: FastAPI
) -> None:
    host.shared.opts.data["safegen_enforce"] = "basic"
    found = told(app)["txt2img"]
    assert 'data-safegen-state="enforced"' in found["line"]
    assert found["follow"], "the tick has to be locked"


def test_a_context_made_since_the_page_was_built_is_offered(
    demo: Any, own_folder: Path, app: FastAPI
) -> None:
    from safegen.webui import deciding

    deciding.library().duplicate("violence", "calm")
    assert told(app)["txt2img"]["follow"]


def test_a_page_with_a_login_tells_nobody_else(demo: Any, own_folder: Path, app: FastAPI) -> None:
    app.auth, app.tokens = {"child": "secret"}, {"abc": "child"}  # type: ignore[attr-defined]
    assert told(app) == 401
    assert told(app, access="wrong") == 401
    assert 'data-safegen-state="off"' in told(app, access="abc")["txt2img"]["line"]


def test_the_page_s_own_accordions_are_meant(demo: Any, own_folder: Path) -> None:
    """The host's API builds the controls again, for itself."""
    from safegen.webui import accordion

    before = dict(accordion.on_page)
    assert set(before) == {"txt2img", "img2img"}
    assert all(tab in made.elem_id("enable") for tab, made in before.items())
