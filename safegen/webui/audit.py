"""The operator's log: one line of JSON for each picture, if the settings page asks for it.

A line has no text of a user's unless that is asked for too. The file is turned over when it has
grown large, and only the latest few are kept.
"""

from __future__ import annotations

import json
import logging
import threading
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safegen.errors import SafeGenError
from safegen.webui import host, record, resources, settings, users

if TYPE_CHECKING:
    from safegen.webui.run import Run

LARGEST, KEPT = 10_000_000, 5
"""Bytes of a file, and how many older ones there are beside it."""

_lock = threading.Lock()


class _File(RotatingFileHandler):
    """The standard library's, which does not swallow what goes wrong."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802
        raise


def file() -> Path:
    """Where the log is."""
    return host.data_path() / "safegen" / "audit.jsonl"


def wanted() -> bool:
    """Whether the log is kept."""
    return str(host.option(settings.AUDIT, settings.NO_AUDIT)) != settings.NO_AUDIT


def check() -> None:
    """Raise `SafeGenError` if the log is wanted and can't be written: nothing is made then."""
    if wanted():
        _write([])


def _write(lines: list[dict[str, Any]]) -> None:
    path = file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock:
            log = _File(path, maxBytes=LARGEST, backupCount=KEPT, encoding="utf-8")
            try:
                for line in lines:
                    text = json.dumps(line, ensure_ascii=False)
                    log.emit(logging.LogRecord("safegen", logging.INFO, "", 0, text, None, None))
            finally:
                log.close()
    except OSError as error:
        raise SafeGenError(
            f"the audit log can't be written, so nothing is generated: {error.strerror or error} "
            f"({path})"
        ) from error


def note(
    p: Any, run: Run | None, kept: record.Record | None, error: BaseException | None = None
) -> None:
    """Write what came of ``p``: a line for each picture that it asked for.

    Args:
        p: The host's processing object.
        run: Its run; ``None`` if its settings could not be read.
        kept: What is known of it; ``None`` if SafeGen had no part in it.
        error: What it ended with.
    """
    if not wanted():
        return
    pictures = {} if kept is None else kept.pictures
    count = max(int(p.n_iter) * int(p.batch_size), 1)
    prompts = getattr(p, "all_prompts", None) or [p.prompt] * count
    shared = {
        "time": datetime.now().astimezone().isoformat(timespec="milliseconds"),
        "user": users.of(p),
        "tab": host.tab_of(p),
        "nested": run is not None and run.around is not None,
        "policy": None if run is None or run.policy is None else run.policy.name,
        **_model(),
        **_counts(kept),
    }
    lines = []
    for number in range(count):
        line = {**shared, "picture": number, **_verdict(kept, pictures.get(number))}
        if error is not None and line["verdict"] != record.FAILED:
            line.update(verdict=record.FAILED, message=record.without_user_text(error))
        if host.option(settings.AUDIT, settings.NO_AUDIT) == settings.WITH_PROMPTS:
            line["prompt"] = str(prompts[number]) if number < len(prompts) else str(p.prompt)
            line["negative_prompt"] = str(p.negative_prompt)
        lines.append(line)
    _write(lines)


def _model() -> dict[str, Any]:
    if not host.is_loaded():
        return {"model": None, "model_sha256": None}
    info = host.checkpoint()
    known = getattr(info, "sha256", None)
    path = getattr(info, "filename", None)
    if not known and path is not None and Path(path).is_file():
        known = resources.sha256(Path(path))
    return {"model": host.checkpoint_name(), "model_sha256": known}


def _counts(kept: record.Record | None) -> dict[str, Any]:
    if kept is None:
        return {"calls": None, "needed": None, "guarded": None}
    counts = kept.counts
    return {"calls": counts.calls, "needed": counts.needed, "guarded": counts.guarded}


def _verdict(kept: record.Record | None, picture: record.Picture | None) -> dict[str, Any]:
    """Of the run, told for one of its pictures."""
    if kept is None:
        return {"verdict": record.OFF, "context": None}
    verdict = kept.outcome
    if verdict == record.FAILED:
        return {
            "verdict": verdict,
            "context": None if picture is None else picture.context,
            "message": kept.error,
        }
    if picture is None:
        return {"verdict": verdict, "context": None}
    named = [name for name in (picture.context, picture.hires) if name and name != "none"]
    if verdict == record.GUARDED and not named:
        verdict = record.BENIGN
    return {"verdict": verdict, "context": named[0] if named else None, "why": picture.why}
