"""For whoever runs the server: what is enforced, said at the start and at ``/safegen/status``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from safegen import __version__
from safegen.errors import SafeGenError
from safegen.files import write_atomically
from safegen.hosts.a1111.beside import is_ours
from safegen.webui import host, lifecycle, record, settings
from safegen.webui.enforcement import OFF, Policy

OF_EXTENSIONS = ("disabled_extensions", "disable_all_extensions")
"""Settings of the host that would switch SafeGen off at the next start."""

_warnings: list[str] = []


def _marker() -> Path:
    """Says, from one start to the next, that the settings page enforces something."""
    return host.data_path() / "safegen" / "enforced.json"


def begin() -> None:
    """At the start of the server: keep it from being switched off, and say what is enforced."""
    host.on_option(settings.ENFORCE, keep_on)
    _warnings[:] = _of_the_last_start()
    keep_on(changed=False)
    for text in (line(), *_warnings):
        print(f"SafeGen: {text}")  # noqa: T201  the host's log


def keep_on(*, changed: bool = True) -> None:
    """While something is enforced the API can't disable extensions.

    Args:
        changed: Whether somebody has just changed the level on the settings page.
    """
    enforcing = settings.enforcing()
    for name in OF_EXTENSIONS:
        host.restrict_option(name, restricted=enforcing)
    level = str(host.option(settings.ENFORCE, OFF))
    if level != OFF:
        write_atomically(_marker(), json.dumps({"level": level}))
    elif changed:
        _marker().unlink(missing_ok=True)
        _warnings.clear()


def _of_the_last_start() -> list[str]:
    """What is to be said if the level has gone, and not by the settings page."""
    if str(host.option(settings.ENFORCE, OFF)) != OFF or not _marker().exists():
        return []
    try:
        level = str(json.loads(_marker().read_text(encoding="utf-8"))["level"])
    except (OSError, ValueError, KeyError, TypeError):
        level = "unknown"
    return [
        f"level {level} was enforced by the settings page, and is no longer, though nobody has "
        f"switched it off there. Look at config.json; choose a level again, or delete {_marker()}"
    ]


def line() -> str:
    """What is enforced, in one line."""
    reason = host.why_unsupported()
    try:
        policy = settings.active_policy()
    except SafeGenError as error:
        return f"{__version__}, the policy can't be read, so nothing is generated: {error}"
    if reason is not None:
        more = "; since it is enforced, nothing is generated" if policy is not None else ""
        return f"{__version__}, {reason}{more}"
    if policy is None:
        return f"{__version__}, nothing is enforced: whoever makes a picture decides"
    by = "--safegen-enforce" if host.flag("safegen_enforce") else "the settings page"
    return f"{__version__}, enforced by {by}: {summary(policy)}"


def summary(policy: Policy) -> str:
    """A policy in a few words."""
    return f"level {policy.name}. {'; '.join(policy.limits())}"


def status() -> dict[str, Any]:
    """``GET /safegen/status``: what a monitor wants to know, and nothing that a user typed."""
    enforced: dict[str, Any] | None = None
    error = ""
    try:
        policy = settings.active_policy()
    except SafeGenError as problem:
        policy, error = None, str(problem)
    if policy is not None:
        enforced = {
            "level": policy.name,
            "minimum": dict(policy.minimum),
            "maximum": dict(policy.maximum),
            "fixed": {name: _plain(value) for name, value in policy.fixed.items()},
            "required": list(policy.required),
        }
    return {
        "version": __version__,
        "webui": host.version(),
        "supported": host.why_unsupported() is None,
        "enforcing": enforced is not None or bool(error),
        "enforced": enforced,
        "policy_error": error,
        "in_place": in_place(),
        "checkpoint": host.checkpoint_name() if host.is_loaded() else None,
        "warnings": list(_warnings),
        "last_run": _run(record.last_run()),
        "last_error": _run(record.last_error()),
    }


def in_place() -> bool:
    """Whether the door and both callbacks are there, each in its place."""
    callbacks = all(
        any(is_ours(entry) for entry in host.callbacks(name))
        for name in ("cfg_denoiser", "cfg_denoised")
    )
    return lifecycle.stands() and callbacks


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _run(found: record.Record | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(found.finished)),
        "tab": found.tab,
        "verdict": found.outcome,
        "contexts": list(found.contexts),
        "calls": found.counts.calls,
        "needed": found.counts.needed,
        "guarded": found.counts.guarded,
        "message": found.message,
    }
