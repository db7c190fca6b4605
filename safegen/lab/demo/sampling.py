"""Sampling many pictures of the embedded model: cells, worker processes, a cache.

A *cell* is a list of scenes made by one method with one plan. Cells are cut into chunks; each
chunk is sampled by one single-threaded worker and kept on disk, so an interrupted demo goes
on where it stopped. A chunk's result does not depend on which worker made it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from tqdm import tqdm

import safegen
from safegen.choice import Chooser
from safegen.conditioning.strategies import SafeConditioning
from safegen.files import write_atomically
from safegen.hosts.diffusers.pipelines import Forward, guard, replaced_forward
from safegen.lab.demo.classifier import Reading, read
from safegen.lab.demo.classifier import load as load_classifier
from safegen.lab.demo.hazards import world_chooser
from safegen.lab.demo.model import MODEL_FOLDER, load_pipeline
from safegen.lab.demo.pairs import learn_world_embedding
from safegen.lab.demo.world import SIZE, Scene, prompt
from safegen.lab.methods.peers import SLD_PRESETS, safe_latent_diffusion
from safegen.learned.embedding import LearnedEmbedding
from safegen.plan import SafetyPlan

STEPS = 12
CFG_SCALE = 2.5
CHUNK = 25

PLAIN = "plain"
SAFEGEN = "safegen"
NEGATIVE = "negative prompt"
SWAP = "prompt swap"
SLD = {f"SLD {name}": name for name in SLD_PRESETS}
METHODS = (PLAIN, SAFEGEN, NEGATIVE, SWAP, *SLD)

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Job:
    """One picture to make: what to show, from which seed, and the prompt that asks for it."""

    scene: Scene
    seed: int
    text: str = ""

    @property
    def prompt(self) -> str:
        return self.text or prompt(self.scene)


@dataclass(frozen=True)
class Cell:
    """Pictures made by one method with one plan."""

    name: str
    jobs: tuple[Job, ...]
    method: str = PLAIN
    plan: SafetyPlan | None = None

    def chunks(self) -> list[Cell]:
        """The cell in parts of `CHUNK` pictures."""
        return [
            Cell(self.name, self.jobs[i : i + CHUNK], self.method, self.plan)
            for i in range(0, len(self.jobs), CHUNK)
        ]


@dataclass(frozen=True)
class Result:
    """What a cell came to.

    Args:
        pixels: uint8 ``[n, SIZE, SIZE, 3]``.
        readings: What the classifier sees in each picture.
        seconds: Processor time of sampling, decoding left out.
        rows: UNet rows evaluated.
        contexts: Which context guarded each picture, ``""`` for none.
    """

    pixels: Pixels
    readings: tuple[Reading, ...]
    seconds: float
    rows: int
    contexts: tuple[str, ...] = field(default=())

    @property
    def rows_per_step(self) -> float:
        """UNet rows per picture and step: plain classifier-free guidance takes 2."""
        return self.rows / (len(self.readings) * STEPS)

    @staticmethod
    def joined(parts: Sequence[Result]) -> Result:
        return Result(
            np.concatenate([p.pixels for p in parts]),
            tuple(r for p in parts for r in p.readings),
            sum(p.seconds for p in parts),
            sum(p.rows for p in parts),
            tuple(c for p in parts for c in p.contexts),
        )


# --------------------------------------------------------------------------- one worker


@functools.cache
def _pipeline(folder: Path) -> Any:
    pipe = load_pipeline(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@functools.cache
def _classifier(folder: Path) -> Any:
    return load_classifier(folder / "classifier.safetensors")


@functools.cache
def _chooser() -> Chooser:
    return world_chooser()


@functools.cache
def _learned(folder: Path, context: str) -> LearnedEmbedding:
    return learn_world_embedding(_pipeline(folder), context)


def start_worker() -> None:
    """One thread a process: on small models, threads that wait for each other only lose."""
    torch.set_num_threads(1)


def conditionings_for(
    plan: SafetyPlan, prompts: Sequence[str], folder: Path
) -> list[tuple[SafeConditioning | None, str]]:
    """What each prompt's safe stream sees, and the name of the context that asks for it."""
    chosen = []
    for text in prompts:
        choice = _chooser().choose(
            text, plan, learned=lambda context: _learned(folder, context.name)
        )
        chosen.append((choice.conditioning, choice.context.name if choice.context else ""))
    return chosen


@contextlib.contextmanager
def _method(cell: Cell, pipe: Any, folder: Path) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Arguments of the pipeline call for ``cell``, with what must be hooked, hooked."""
    prompts = [job.prompt for job in cell.jobs]
    contexts = [""] * len(prompts)
    violence = _chooser().library.get("violence")
    if cell.method == SAFEGEN:
        assert cell.plan is not None
        pairs = conditionings_for(cell.plan, prompts, folder)
        contexts = [name for _, name in pairs]
        with guard(pipe, cell.plan, [c for c, _ in pairs]):
            yield {"prompt": prompts}, contexts
    elif cell.method == NEGATIVE:
        yield {"prompt": prompts, "negative_prompt": [WORLD_CONCEPT] * len(prompts)}, contexts
    elif cell.method == SWAP:
        plan = SafetyPlan(context=violence.name, strategy="counterpart")
        swapped = [c.text if c else "" for c, _ in conditionings_for(plan, prompts, folder)]
        yield {"prompt": swapped}, contexts
    elif cell.method in SLD:
        settings = SLD_PRESETS[SLD[cell.method]]
        with safe_latent_diffusion(pipe, WORLD_CONCEPT, settings, len(prompts)):
            yield {"prompt": prompts}, contexts
    else:
        yield {"prompt": prompts}, contexts


WORLD_CONCEPT = "bloody, blood, burning, fire, flames, skull"
"""What the negative prompt and SLD are told to avoid: the world's hazards in its own words."""


@torch.no_grad()
def sample(cell: Cell, folder: Path = MODEL_FOLDER) -> Result:
    """Make the pictures of ``cell`` in one batch."""
    pipe = _pipeline(folder)
    rows = 0

    def counted(forward: Forward) -> Forward:
        def call(sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            nonlocal rows
            rows += len(sample)
            return forward(sample, *args, **kwargs)

        return call

    generators = [torch.Generator().manual_seed(job.seed) for job in cell.jobs]
    with replaced_forward(pipe.unet, counted), _method(cell, pipe, folder) as (how, contexts):
        started = time.process_time()
        latents = pipe(
            **how,
            generator=generators,
            num_inference_steps=STEPS,
            guidance_scale=CFG_SCALE,
            width=SIZE,
            height=SIZE,
            output_type="latent",
        ).images
        seconds = time.process_time() - started
    decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample.clamp(-1, 1)
    readings = read(_classifier(folder), decoded)
    pixels = ((decoded + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
    # Contiguous: safetensors writes a numpy array's memory without heeding its strides.
    return Result(pixels.contiguous().numpy(), tuple(readings), seconds, rows, tuple(contexts))


# --------------------------------------------------------------------------- many of them


def _code_digest() -> str:
    """A digest of the package's code, so that a changed method is never read from the cache."""
    digest = hashlib.sha256()
    root = Path(safegen.__file__).parent
    for path in sorted([*root.rglob("*.py"), *root.rglob("*.json")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def model_digest(folder: Path = MODEL_FOLDER) -> str:
    """sha256 of the embedded model's files."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class Cache:
    """Finished chunks on disk, found again by everything that made them."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self._salt = (
            f"{_code_digest()} {model_digest(model)} {torch.__version__} {STEPS} {CFG_SCALE}"
        )
        folder.mkdir(parents=True, exist_ok=True)

    def _path(self, chunk: Cell) -> Path:
        described = json.dumps(
            [
                self._salt,
                chunk.method,
                chunk.plan.to_dict() if chunk.plan else None,
                [asdict(job) for job in chunk.jobs],
            ]
        )
        return self.folder / f"{hashlib.sha256(described.encode()).hexdigest()}.safetensors"

    def get(self, chunk: Cell) -> Result | None:
        path = self._path(chunk)
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                notes = json.loads(file.metadata()["result"])
                pixels = file.get_tensor("pixels")
        except (SafetensorError, OSError):  # torn: make it again
            return None
        readings = tuple(Reading(Scene(**scene)) for scene in notes["readings"])
        return Result(pixels, readings, notes["seconds"], notes["rows"], tuple(notes["contexts"]))

    def put(self, chunk: Cell, result: Result) -> None:
        path = self._path(chunk)
        notes = {
            "readings": [asdict(r.scene) for r in result.readings],
            "seconds": result.seconds,
            "rows": result.rows,
            "contexts": result.contexts,
        }
        write_atomically(path, save({"pixels": result.pixels}, {"result": json.dumps(notes)}))


def _work(chunk: Cell, cache: Cache, folder: Path) -> Result:
    result = cache.get(chunk)
    if result is None:
        result = sample(chunk, folder)
        cache.put(chunk, result)
    return result


def run(
    cells: Iterable[Cell], cache_folder: Path, folder: Path = MODEL_FOLDER, *, workers: int = 0
) -> Mapping[str, Result]:
    """Sample ``cells`` in parallel, with a progress bar; results by the cells' names."""
    cells = list(cells)
    cache = Cache(cache_folder, folder)
    chunks = [(cell.name, i, chunk) for cell in cells for i, chunk in enumerate(cell.chunks())]
    done: dict[tuple[str, int], Result] = {}
    workers = workers or min(os.cpu_count() or 1, 8)
    context = multiprocessing.get_context("spawn")
    pictures = sum(len(cell.jobs) for cell in cells)
    with (
        ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker) as pool,
        tqdm(total=pictures, desc="sampling", unit="img") as bar,
    ):
        futures = {pool.submit(_work, chunk, cache, folder): (name, i) for name, i, chunk in chunks}
        try:
            for future in as_completed(futures):
                done[futures[future]] = future.result()
                bar.update(len(done[futures[future]].readings))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {
        cell.name: Result.joined([done[cell.name, i] for i in range(len(cell.chunks()))])
        for cell in cells
    }
