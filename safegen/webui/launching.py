"""Attaching to a sampler as it is launched, with or without the hook of SafeGen's script."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from safegen.hosts.a1111.wrapping import Wrapping
from safegen.webui import host
from safegen.webui.batch import Batch
from safegen.webui.errors import explaining


@contextmanager
def watched(batch: Batch) -> Iterator[None]:
    """Within the block every sampler that is made for ``batch`` has its guard before it begins.

    Other extensions start runs without SafeGen's script (ADetailer does), and then its hook never
    comes. The WebUI's first callback is early enough for a guard. On Forge and reForge it is not:
    a call of the denoiser that has begun can't be looked at to its end.
    """
    wrapping = Wrapping(host.sd_samplers)

    def create_sampler(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        sampler = original(*args, **kwargs)
        _attach_at_launch(batch, sampler)
        return sampler

    if batch.guarding and host.is_forge():
        wrapping.put("create_sampler", create_sampler)
    try:
        yield
    finally:
        wrapping.off()


def _attach_at_launch(batch: Batch, sampler: Any) -> None:
    launch = sampler.launch_sampling

    def launch_sampling(*args: Any, **kwargs: Any) -> Any:
        if any(guard.denoiser is sampler.model_wrap_cfg for guard in batch.guards):
            return launch(*args, **kwargs)
        vars(sampler).pop("launch_sampling", None)
        try:
            with explaining():
                batch.attach_before_sampling()
        except Exception as error:  # the first callback tells the user
            batch.fail(error)
        return sampler.launch_sampling(*args, **kwargs)

    sampler.launch_sampling = launch_sampling
