"""The embedded model as a backend: sweeps without a WebUI, on the diffusers host."""

from __future__ import annotations

import contextlib
import functools
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import safegen
from safegen.choice import Chooser
from safegen.errors import InvalidValue
from safegen.hosts.diffusers.pipelines import Forward, guard, replaced_forward
from safegen.lab.demo.hazards import world_chooser
from safegen.lab.demo.model import MODEL_FOLDER, MODEL_NAME, load_pipeline
from safegen.lab.demo.pairs import learn_world_embedding
from safegen.lab.demo.sampling import model_digest
from safegen.lab.methods.peers import (
    SLD_PRESETS,
    SemanticGuidance,
    composition,
    safe_latent_diffusion,
    semantic_pipeline,
)
from safegen.lab.methods.texts import texts_for
from safegen.lab.sweep.backends import BackendInfo
from safegen.lab.sweep.cells import AND_NOT, AND_SAFE, SAFEGEN, SEGA, SLD, Unit
from safegen.lab.sweep.manifest import Picture
from safegen.plan import SafetyPlan


@functools.cache
def _pipeline(folder: Path) -> Any:
    torch.set_num_threads(1)  # small models: threads that wait for each other only lose
    pipe = load_pipeline(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@functools.cache
def _semantic(folder: Path) -> Any:
    pipe = semantic_pipeline(_pipeline(folder))
    pipe.set_progress_bar_config(disable=True)
    return pipe


@functools.cache
def _chooser() -> Chooser:
    """The shipped detectors over the world's own contexts, whose few words the model can read."""
    return world_chooser()


@functools.cache
def _learned(folder: Path, context: str) -> Any:
    return learn_world_embedding(_pipeline(folder), context)


@dataclass(frozen=True)
class Local:
    """The embedded model on this machine's processor, one thread a process.

    Args:
        folder: Where the model lies.
    """

    folder: Path = MODEL_FOLDER

    @property
    def name(self) -> str:
        """Where it runs."""
        return "local"

    def probe(self) -> BackendInfo:
        """Load the model and say which it is.

        Raises:
            InvalidValue: There is no model in the folder.
        """
        _pipeline(self.folder)
        return BackendInfo(
            MODEL_NAME,
            model_digest(self.folder),
            {
                "safegen": safegen.__version__,
                **{name: version(name) for name in ("torch", "diffusers", "transformers")},
            },
        )

    @torch.no_grad()
    def make(self, unit: Unit) -> list[Picture]:
        """Sample ``unit`` in one batch.

        Raises:
            InvalidValue: The sampler is not DDIM: the only one here.
            GuardFailure: The guard did not run where it had to.
        """
        sampling = unit[0].sampling
        if sampling.sampler != "DDIM":
            raise InvalidValue("sampler", sampling.sampler, "DDIM, on the local model")
        pipe = _pipeline(self.folder)
        rows = 0

        def counted(forward: Forward) -> Forward:
            def call(sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
                nonlocal rows
                rows += len(sample)
                return forward(sample, *args, **kwargs)

            return call

        started = time.thread_time()
        with (
            replaced_forward(pipe.unet, counted),
            self._method(unit, pipe) as (runner, arguments, contexts),
        ):
            latents = runner(
                **arguments,
                generator=[torch.Generator().manual_seed(cell.seed) for cell in unit],
                num_inference_steps=sampling.steps,
                guidance_scale=sampling.guidance,
                width=sampling.width,
                height=sampling.height,
                output_type="latent",
            ).images
        seconds = (time.thread_time() - started) / len(unit)
        decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample.clamp(-1, 1)
        pixels = ((decoded + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        return [
            Picture(
                _png(array),
                seconds,
                rows=round(rows / len(unit)),
                context=context,
                notes={"prompt": text},
            )
            for array, context, text in zip(pixels, contexts, arguments["prompt"], strict=True)
        ]

    @contextlib.contextmanager
    def _method(self, unit: Unit, pipe: Any) -> Iterator[tuple[Any, dict[str, Any], list[str]]]:
        """(what to call, with which texts, which context guards each picture)."""
        arm, count = unit[0].arm, len(unit)
        prompts = [cell.prompt.text for cell in unit]
        contexts = [""] * count
        if arm.method == SAFEGEN:
            assert arm.plan is not None
            chosen = [self._choose(text, arm.plan) for text in prompts]
            contexts = [c.context.name if c.context else "" for c in chosen]
            with guard(pipe, arm.plan, [c.conditioning for c in chosen]):
                yield pipe, {"prompt": prompts}, contexts
        elif arm.method in SLD:
            settings = SLD_PRESETS[arm.method.removeprefix("SLD ")]
            with safe_latent_diffusion(pipe, arm.concept, settings, count):
                yield pipe, {"prompt": prompts}, contexts
        elif arm.method == SEGA:
            steps = unit[0].sampling.steps
            arguments = SemanticGuidance().arguments(arm.concept, steps)
            yield _semantic(self.folder), {"prompt": prompts, **arguments}, contexts
        else:
            texts = [texts_for(cell, _chooser()) for cell in unit]
            arguments = {"prompt": [t.prompt for t in texts]}
            if any(t.negative for t in texts):
                arguments["negative_prompt"] = [t.negative for t in texts]
            contexts = [t.context for t in texts]
            if arm.method in (AND_SAFE, AND_NOT):
                weights = next((t.weights for t in texts if t.also), (1.0, 1.0))
                with composition(pipe, [t.also for t in texts], weights, count):
                    yield pipe, arguments, contexts
            else:
                yield pipe, arguments, contexts

    def _choose(self, text: str, plan: SafetyPlan) -> Any:
        return _chooser().choose(
            text, plan, learned=lambda context: _learned(self.folder, context.name)
        )


def _png(array: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()
