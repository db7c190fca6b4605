"""A resumable training loop, alone or shared by several processes."""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable, Iterator
from multiprocessing import parent_process
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save
from torch import Tensor, nn
from tqdm import tqdm

from safegen.files import write_atomically
from safegen.lab.model.data import SEED

CHECKPOINT_SECONDS = 120.0


def rank() -> int:
    """This process's number; 0 when alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def processes() -> int:
    """How many processes share the work."""
    return dist.get_world_size() if dist.is_initialized() else 1


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if dist.is_initialized():
        dist.barrier()


def alone_first() -> Iterator[None]:
    """Two rounds, the first process's before the others': what it writes, they find."""
    own_threads = torch.get_num_threads()
    for turn in range(2):
        if min(rank(), 1) == turn:
            torch.set_num_threads(os.cpu_count() or 1)  # the others wait
            yield
            torch.set_num_threads(own_threads)
        wait_for_all()


def cosine(step: int, steps: int, rate: float) -> float:
    """The learning rate at ``step``: linear warm-up over 2 % of ``steps``, then a cosine to 0."""
    warm = max(steps // 50, 1)
    if step < warm:
        return rate * (step + 1) / warm
    return rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


class Run:
    """Progress, learning rate and checkpoints of one stage.

    Iterating yields step numbers from the last checkpoint to ``steps``; the state saved is
    every module's and the optimizer's. Random numbers depend on the seed, the step and the
    process only. With several processes each takes its share of the batch, and ``descend``
    averages the gradients, so all of them hold the same weights. ``schedule`` gives the learning
    rate at a step; without it that is `cosine`.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        modules: dict[str, nn.Module],
        *,
        steps: int,
        rate: float,
        fused: bool = False,
        schedule: Callable[[int], float] | None = None,
    ) -> None:
        self.path = folder / f"{name}.safetensors"
        self.name, self.modules, self.steps = name, modules, steps
        self.rate_at = schedule or (lambda step: cosine(step, steps, rate))
        self.parameters = [p for m in modules.values() for p in m.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=rate, betas=(0.9, 0.99), weight_decay=0.01, fused=fused
        )
        self.generator = torch.Generator()
        self.captions = random.Random()
        self.step = self.offset = 0
        self.log: dict[str, float] = {}
        self._restore()

    def _state(self) -> dict[str, Tensor]:
        state = {
            f"module.{name}.{key}": value.detach().contiguous()
            for name, module in self.modules.items()
            for key, value in module.state_dict().items()
        }
        for i, parameter in enumerate(self.parameters):
            for key, value in self.optimizer.state[parameter].items():
                state[f"optimizer.{i}.{key}"] = value.detach().contiguous()
        state["step"] = torch.tensor(self.step)
        return state

    def save(self) -> None:
        """Write the checkpoint; only the first process does."""
        if rank() == 0:
            write_atomically(self.path, save(self._state()))

    def _restore(self) -> None:
        if not self.path.exists():
            return
        state = load_file(self.path)
        for name, module in self.modules.items():
            prefix = f"module.{name}."
            found = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
            if found:
                module.load_state_dict(found)
        self.step = int(state["step"])
        for i, parameter in enumerate(self.parameters):
            prefix = f"optimizer.{i}."
            found = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
            if found:
                self.optimizer.state[parameter] = found

    def random_indices(self, n: int, count: int) -> Tensor:
        """``count`` numbers below ``n``."""
        return torch.randint(n, (count,), generator=self.generator)

    def descend(self, loss: Tensor) -> None:
        """One step of the optimizer down the gradient of ``loss``."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate_at(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if processes() > 1:
            gradients = [p.grad for p in self.parameters if p.grad is not None]
            flat = torch.cat([g.flatten() for g in gradients])
            dist.all_reduce(flat)
            parts = torch.split(flat.div_(processes()), [g.numel() for g in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()

    def __iter__(self) -> Iterator[int]:
        saved = time.monotonic()
        bar = tqdm(
            total=self.steps,
            initial=self.step,
            desc=self.name,
            unit="it",
            disable=rank() != 0,
            mininterval=5,
        )
        with bar:
            while self.step < self.steps:
                parent = parent_process()
                if parent is not None and not parent.is_alive():
                    raise SystemExit("the training command was killed")
                seed = (SEED + self.offset + self.step) * 1024 + rank()
                self.generator.manual_seed(seed)
                self.captions.seed(seed)
                yield self.step
                self.step += 1
                bar.update()
                if self.step % 20 == 0:
                    bar.set_postfix({k: f"{v:.4f}" for k, v in self.log.items()})
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.save()
                    saved = time.monotonic()
        self.save()

    def note(self, **figures: Tensor | float) -> None:
        """Keep a running mean of what the bar shows."""
        for name, value in figures.items():
            figure = float(value)
            self.log[name] = 0.98 * self.log.get(name, figure) + 0.02 * figure
