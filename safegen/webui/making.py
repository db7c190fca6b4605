"""Pictures that SafeGen asks the host for itself, for a comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from safegen.webui import host


def queued(function: Callable[..., Any], outputs_on_error: list[Any]) -> Callable[..., Any]:
    """``function`` as the host runs a click on Generate: in its queue, with progress.

    The first argument is the task's id; of what it returns the last is HTML, to which the host
    adds the time. If it raises, ``outputs_on_error`` and the message take its place.
    """
    wrapped: Callable[..., Any] = host.call_queue.wrap_gradio_gpu_call(
        function, extra_outputs=outputs_on_error
    )
    return wrapped


def process(p: Any) -> Any:
    """Make ``p``'s pictures."""
    return host.processing.process_images(p)


def one_picture(p: Any, seeds: tuple[Any, Any] | None) -> tuple[Any, Any]:
    """Make ``p`` one picture that is not saved, with ``seeds`` or fixed ones of its own.

    Returns its seed and variation seed.
    """
    p.n_iter = p.batch_size = 1
    p.do_not_save_samples = p.do_not_save_grid = True
    if seeds is None:
        host.processing.fix_seed(p)
    else:
        p.seed, p.subseed = seeds
    return p.seed, p.subseed


def first_picture(processed: Any) -> tuple[Any, str]:
    """The first picture that is no grid, and its infotext; ``(None, "")`` if there is none."""
    first = int(processed.index_of_first_image)
    if len(processed.images) <= first:
        return None, ""
    texts = processed.infotexts
    return processed.images[first], str(texts[first]) if len(texts) > first else ""


def expect(p: Any, pictures: int) -> None:
    """Let the progress bar count ``pictures`` like ``p``'s own."""
    passes = 2 if getattr(p, "enable_hr", False) else 1
    host.shared.state.job_count = pictures * passes
    host.shared.state.processing_has_refined_job_count = True


def tell(text: str | None) -> None:
    """Put ``text`` before the numbers in the progress bar, or nothing."""
    host.shared.state.textinfo = text
