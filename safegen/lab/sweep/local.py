"""Any diffusers model on this machine as a backend: SD1, SD2 and SDXL, folder or single file."""

from __future__ import annotations

import functools
import io
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import safegen
from safegen.choice import Chooser
from safegen.contexts.context import SafetyContext
from safegen.detectors.protocol import MODEL
from safegen.errors import InvalidValue, SafeGenError
from safegen.files import sha256
from safegen.hosts.diffusers import Forward, PipelineEncoder, replaced_forward
from safegen.lab import embedded
from safegen.lab.methods.apply import applied
from safegen.lab.sweep.backends import BackendInfo, Unusable
from safegen.lab.sweep.cells import Unit
from safegen.lab.sweep.manifest import Picture
from safegen.lab.sweep.start import code_digest
from safegen.plan import WORDS, SafetyPlan

SAMPLERS = {
    "DDIM": "DDIMScheduler",
    "Euler": "EulerDiscreteScheduler",
    "Euler a": "EulerAncestralDiscreteScheduler",
    "DPM++ 2M": "DPMSolverMultistepScheduler",
    "PNDM": "PNDMScheduler",
}


@functools.cache
def load(
    model: str,
    device: str,
    half: bool,
    config: str = "",
    *,
    offline: bool = False,
    texts_alone: bool = False,
) -> Any:
    """A pipeline, ready to sample on ``device``.

    Args:
        model: ``embedded``, a diffusers folder, or a ``.safetensors`` checkpoint.
        device: As torch names it, such as ``cpu`` or ``cuda:1``.
        half: float16 instead of float32.
        config: Folder with a checkpoint's configurations and tokenizers in diffusers' layout;
            without it diffusers fetches them once, unless ``offline``.
        texts_alone: Of a folder the text encoders and tokenizers alone, which can't sample.

    Raises:
        InvalidValue: Nothing that can be loaded is there.
    """
    import diffusers

    if device == "cpu" and not texts_alone:
        torch.set_num_threads(1)  # several processes: threads that wait for each other only lose
    dtype = torch.float16 if half else torch.float32
    allowed = "embedded, a diffusers folder or a .safetensors checkpoint of SD1, SD2 or SDXL"
    path = Path(model)
    try:
        if model == embedded.NAME:
            pipe = embedded.load_pipeline().to(dtype=dtype)
        elif (path / f"{embedded.MODEL_NAME}.safetensors").exists():
            pipe = embedded.load_pipeline(path).to(dtype=dtype)
        elif (path / "model_index.json").exists():
            left_out = _but_texts(path) if texts_alone else {}
            pipe = diffusers.DiffusionPipeline.from_pretrained(
                model, torch_dtype=dtype, local_files_only=True, use_safetensors=True, **left_out,
            )  # fmt: skip
        elif path.suffix == ".safetensors" and path.exists():
            pipe = _single_file(path, dtype, config, offline)
        else:
            raise InvalidValue("model", model, allowed)
    except InvalidValue:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise InvalidValue("model", model, f"{allowed} ({error})") from error
    if not texts_alone and not hasattr(pipe, "unet"):
        raise InvalidValue("model", f"{model}, {type(pipe).__name__}", "a model with a UNet")
    for part in ("safety_checker", "watermark"):
        if getattr(pipe, part, None) is not None:
            setattr(pipe, part, None)  # the scorers judge, and a twin must be what was sampled
    pipe = pipe.to(device)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _but_texts(folder: Path) -> dict[str, None]:
    """What of a pipeline's folder no text needs, as arguments that leave it out."""
    found = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    parts = ("unet", "vae", "scheduler", "safety_checker", "feature_extractor", "image_encoder")
    return {name: None for name in parts if name in found}


def _single_file(path: Path, dtype: torch.dtype, config: str, offline: bool) -> Any:
    import diffusers
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        is_xl = any(name.startswith("conditioner.embedders.1") for name in file.keys())  # noqa: SIM118
    kind = diffusers.StableDiffusionXLPipeline if is_xl else diffusers.StableDiffusionPipeline
    more = {"config": config} if config else {}
    local = offline or bool(config)
    return kind.from_single_file(str(path), torch_dtype=dtype, local_files_only=local, **more)


@functools.cache
def weights_digest(model: str) -> str:
    """sha256 of a model's weights, whatever they are called."""
    if model == embedded.NAME:
        return embedded.digest()
    path = Path(model)
    return sha256(*([path] if path.is_file() else sorted(path.rglob("*.safetensors"))))


@functools.cache
def chooser_for(model: str, contexts: str) -> Chooser:
    """Whose contexts methods are told: those of the embedded world for its model."""
    folder = Path(contexts) if contexts else None
    return embedded.chooser(folder) if model == embedded.NAME else Chooser.default(folder)


@functools.cache
def _learned(local: Local, name: str) -> Any:
    """A context's embedding in the model's own encoder, from the pairs that its words make."""
    from safegen.learned.store import learn_from_pairs, pairs_of

    context = local.chooser.library.get(name)
    if local.model == embedded.NAME:
        return embedded.learned(local.pipeline, context)
    return learn_from_pairs(pairs_of(context), PipelineEncoder(local.pipeline))


@functools.cache
def _watching(local: Local) -> Any:
    """What watches the embedded model."""
    from safegen.lab.embedded import watch

    return watch.detector(local.pipeline)


@dataclass(frozen=True)
class Local:
    """A model on this machine, one thread a process on the CPU.

    Args:
        model: ``embedded``, a diffusers folder, or a ``.safetensors`` checkpoint.
        device: As torch names it.
        half: float16 instead of float32.
        contexts: Folder with contexts of the user's own, ``""`` for none.
        config: Of a single file, see `load`.
    """

    model: str = embedded.NAME
    device: str = "cpu"
    half: bool = False
    contexts: str = ""
    config: str = ""

    @property
    def name(self) -> str:
        """Where it runs."""
        return f"local {self.device}"

    @property
    def chooser(self) -> Chooser:
        """Whose contexts and detectors it uses."""
        return chooser_for(self.model, self.contexts)

    def choosing(self, plan: SafetyPlan | None) -> Chooser:
        """The same with what watches the model, where ``plan`` wants it and it is shipped."""
        chooser = self.chooser
        if plan is None or plan.mode == WORDS or self.model != embedded.NAME:
            return chooser
        return Chooser(chooser.library, {**chooser.detectors, MODEL: _watching(self)})

    @property
    def pipeline(self) -> Any:
        """The model itself."""
        return load(self.model, self.device, self.half, self.config)

    def probe(self) -> BackendInfo:
        """Load the model and say which it is.

        Raises:
            Unusable: There is no model that can be loaded.
        """
        try:
            pipe = self.pipeline
        except SafeGenError as error:
            raise Unusable(str(error)) from error
        name = embedded.MODEL_NAME if self.model == embedded.NAME else Path(self.model).name
        return BackendInfo(
            name,
            weights_digest(self.model),
            {
                "safegen": safegen.__version__,
                "code": code_digest(),
                "dtype": str(pipe.unet.dtype).removeprefix("torch."),
                **{name: version(name) for name in ("torch", "diffusers", "transformers")},
            },
        )

    @torch.no_grad()
    def make(self, unit: Unit) -> list[Picture]:
        """Sample ``unit`` in one batch.

        Raises:
            InvalidValue: An unknown sampler.
            Unsupported: The model does not allow the method.
            GuardFailure: The guard did not run where it had to.
        """
        arm, sampling, count = unit[0].arm, unit[0].sampling, len(unit)
        pipe = self._with_sampler(sampling.sampler)
        choosing = self.choosing(arm.plan)
        rows: list[int] = []

        def counted(forward: Forward) -> Forward:
            def call(sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
                rows.append(len(sample))
                return forward(sample, *args, **kwargs)

            return call

        started = self._clock()
        with (
            replaced_forward(pipe.unet, counted),
            applied(
                pipe, arm, [cell.prompt for cell in unit], choosing, sampling.steps,
                self._embedding,
            ) as method,
        ):  # fmt: skip
            found = method.run(
                **method.arguments,
                generator=[torch.Generator().manual_seed(cell.seed) for cell in unit],
                num_inference_steps=sampling.steps,
                guidance_scale=sampling.guidance,
                width=sampling.width,
                height=sampling.height,
                output_type="pt",
            ).images
        seconds = self._clock() - started
        shares = shared(sum(rows), 2 * count * sampling.steps, method.acts)
        pixels = (found.float().clamp(0, 1) * 255).round().to(torch.uint8)
        arrays = pixels.permute(0, 2, 3, 1).cpu().numpy()
        return [
            Picture(
                _png(array),
                seconds * share / max(sum(rows), 1),
                rows=round(share),
                context=context,
                notes={"prompt": text, "why": why, "calls": sampling.steps},
            )
            for array, share, context, text, why in zip(
                arrays, shares, method.contexts, method.arguments["prompt"], method.why, strict=True
            )
        ]

    def _with_sampler(self, name: str) -> Any:
        import diffusers

        if name not in SAMPLERS:
            raise InvalidValue("sampler", name, ", ".join(SAMPLERS))
        pipe = self.pipeline
        kind = getattr(diffusers, SAMPLERS[name])
        if type(pipe.scheduler) is not kind:
            pipe.scheduler = kind.from_config(pipe.scheduler.config)
        return pipe

    def _embedding(self, context: SafetyContext) -> Any:
        return _learned(self, context.name)

    def _clock(self) -> float:
        """Seconds: of this thread's own work on the CPU, so that a busy machine counts less."""
        if self.device == "cpu":
            return time.thread_time()
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def shared(total: int, plain: int, acts: Sequence[bool]) -> list[float]:
    """How many of ``total`` rows each picture of a batch took.

    Args:
        total: Rows that the batch took.
        plain: Rows that it takes without any method.
        acts: Which pictures the method acted on: they share what it added, or saved.
    """
    acting = sum(acts)
    more = (total - plain) / acting if acting else (total - plain) / len(acts)
    return [plain / len(acts) + (more if acted or not acting else 0.0) for acted in acts]


def _png(array: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()
