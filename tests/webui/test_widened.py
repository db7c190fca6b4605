"""The widened checkpoint draws on every host what it draws in diffusers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common import HAZARD
from server import WEBUI, Server, difference, install_widened

WITHIN = 2
"""Grey levels of 255."""
STEPS, GUIDANCE, SEED, EDGE = 6, 2.5, 7, 96
SETTINGS: dict[str, Any] = {
    "context": "violence",
    "weight": 0.7,
    "strategy": "counterpart",
    "tau": 0.2,
}
SAMPLERS = {"Euler": "Automatic", "DPM++ 2M": "Karras", "DDIM": "Automatic"}
"""Sampler to its schedule on the hosts."""


def scheduler(sampler: str, config: Any) -> Any:
    """The scheduler of diffusers that takes a host's own steps."""
    import torch
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler

    class Steps(DDIMScheduler):
        """The hosts' DDIM leaves out the last step of an evenly spaced grid, not its noisiest."""

        def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
            super().set_timesteps(num_inference_steps, device)
            grid = torch.arange(0, 1000, 1000 // num_inference_steps) + 1
            self.timesteps = grid[1:].flip(0)

    class Unrounded(DPMSolverMultistepScheduler):
        """The hosts ask the model for the time of each noise level, between whole steps too."""

        def set_timesteps(self, *args: Any, **named: Any) -> None:
            super().set_timesteps(*args, **named)
            every = (1 / self.alphas_cumprod - 1).sqrt().log().numpy()
            wanted = self.sigmas[:-1].log().numpy()
            self.timesteps = torch.from_numpy(np.interp(wanted, every, np.arange(len(every))))

    if sampler == "DDIM":
        return Steps.from_config(config)
    if sampler == "Euler":
        return EulerDiscreteScheduler.from_config(
            config, timestep_spacing="linspace", steps_offset=0, final_sigmas_type="zero"
        )
    return Unrounded.from_config(config, use_karras_sigmas=True, final_sigmas_type="zero")


@pytest.fixture(scope="module")
def folder(shared_server: Server) -> Path:
    """Where the widened model is, with its configurations for diffusers."""
    if os.environ.get("SAFEGEN_SMALL_UNET"):
        pytest.skip("SAFEGEN_SMALL_UNET: there is no model to compare")
    from safegen.lab.model.sd15.checkpoint import NAME

    pytest.importorskip("diffusers")
    if os.environ.get("SAFEGEN_SD15"):
        made = Path(os.environ["SAFEGEN_SD15"]).resolve()
        found = made.parents[2]
        if made.stem != NAME or not (found / "models" / NAME).is_dir():
            pytest.skip("SAFEGEN_SD15 is not what safegen demo install --sd15 makes")
        return found
    if shared_server.kind == WEBUI:
        install_widened(Path(os.environ.get("SD_WEBUI_DIR", ".")), shared_server.data)
    return shared_server.data


@pytest.fixture
def widened(folder: Path, server: Server) -> Iterator[Server]:
    """The host with this model loaded."""
    from safegen.lab.model.sd15.checkpoint import NAME

    before = server.call("GET", "/sdapi/v1/options").body["sd_model_checkpoint"]
    for suffix in (".safetensors", ".yaml"):
        own = server.data / "models" / "Stable-diffusion" / f"{NAME}{suffix}"
        if not own.exists():
            own.symlink_to(folder / "models" / "Stable-diffusion" / own.name)
    server.call("POST", "/sdapi/v1/refresh-checkpoints")
    name = f"{NAME}.safetensors"
    assert server.call("POST", "/sdapi/v1/options", {"sd_model_checkpoint": name}).status == 200
    yield server
    server.call("POST", "/sdapi/v1/options", {"sd_model_checkpoint": before})


@cache
def pipeline(folder: Path) -> Any:
    from safegen.lab.model.sd15.checkpoint import NAME
    from safegen.lab.sweep.local import load

    models = folder / "models"
    checkpoint = models / "Stable-diffusion" / f"{NAME}.safetensors"
    return load(str(checkpoint), "cpu", half=False, config=str(models / NAME))


def of_diffusers(folder: Path, sampler: str, guarded: bool) -> np.ndarray:
    import torch

    import safegen

    pipe = pipeline(folder)
    before = pipe.scheduler
    pipe.scheduler = scheduler(sampler, before.config)
    try:
        with safegen.guard(pipe, **SETTINGS) if guarded else nullcontext():
            made = pipe(
                HAZARD,
                num_inference_steps=STEPS,
                guidance_scale=GUIDANCE,
                height=EDGE,
                width=EDGE,
                generator=torch.Generator().manual_seed(SEED),
                output_type="np",
            )
    finally:
        pipe.scheduler = before
    return np.round(made.images[0] * 255).astype(np.uint8)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_picture_is_that_of_diffusers(
    sampler: str, widened: Server, folder: Path, record_property: Callable[[str, Any], None]
) -> None:
    """Same prompt, same seed, same picture as in diffusers, plain and guarded."""
    found = {}
    for name, settings in (("plain", None), ("guarded", SETTINGS)):
        found[name] = widened.txt2img(
            HAZARD,
            settings,
            sampler_name=sampler,
            scheduler=SAMPLERS[sampler],
            steps=STEPS,
            cfg_scale=GUIDANCE,
            seed=SEED,
            width=EDGE,
            height=EDGE,
        ).image
    assert difference(found["plain"], found["guarded"]) > 50  # there is something to see
    apart = {
        name: difference(image, of_diffusers(folder, sampler, name == "guarded"))
        for name, image in found.items()
    }
    record_property("result", ", ".join(f"{name} {apart[name]}" for name in apart))
    assert max(apart.values()) <= WITHIN, apart
