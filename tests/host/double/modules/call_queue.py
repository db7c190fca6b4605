"""One generation at a time, and how the page starts one."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from modules import errors, progress, shared

queue_lock = threading.Lock()


def wrap_gradio_gpu_call(
    function: Callable[..., Any], extra_outputs: list[Any] | None = None
) -> Callable[..., Any]:
    """``function`` in the queue; its last output, HTML, gets the time or the error."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        task = args[0] if args and str(args[0]).startswith("task(") else ""
        started = time.perf_counter()
        try:
            with queue_lock:
                shared.state.begin(task)
                progress.start(task)
                try:
                    result = list(function(*args, **kwargs))
                finally:
                    progress.finish(task)
                    shared.state.end()
        except Exception as error:
            errors.report("Error completing request", exc_info=True)
            message = html.escape(f"{type(error).__name__}: {error}")
            result = [*(extra_outputs or [None, ""]), f"<div class='error'>{message}</div>"]
        finally:
            shared.state.interrupted = shared.state.skipped = False
        took = time.perf_counter() - started
        result[-1] += (
            f"<div class='performance'><p class='time'>Time taken: {took:.1f} sec.</p></div>"
        )
        return tuple(result)

    return wrapped
