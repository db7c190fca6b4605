"""What the page asks about a task that it has started."""

from __future__ import annotations

from typing import Any

from fastapi import Body, FastAPI

from modules import shared

_current = ""
_finished: list[str] = []


def start(task: str) -> None:
    global _current
    _current = task


def finish(task: str) -> None:
    global _current
    _current = ""
    _finished.append(task)


def answer(task: str) -> dict[str, Any]:
    state = shared.state
    share = 0.0
    if state.job_count > 0:
        share = state.job_no / state.job_count
        if state.sampling_steps > 0:
            share += state.sampling_step / state.sampling_steps / state.job_count
    active = bool(task) and task == _current
    return {
        "active": active,
        "queued": False,
        "completed": task in _finished,
        "progress": min(share, 1.0) if active else 0.0,
        "textinfo": state.textinfo if active else "Waiting...",
    }


def setup_progress_api(app: FastAPI) -> None:
    def post(body: Any = Body(...)) -> dict[str, Any]:  # noqa: B008
        return answer(str(body.get("id_task", "")))

    app.add_api_route("/internal/progress", post, methods=["POST"])
