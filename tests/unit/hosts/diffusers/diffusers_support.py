"""Shared by the tests of the diffusers host: prompts, a chooser that decides as told, pipelines."""

from __future__ import annotations

from typing import Any

import torch

from safegen.choice import Choice, Chooser
from safegen.conditioning.strategies import SafeConditioning
from safegen.hosts.diffusers import Generated, generate
from safegen.plan import SafetyPlan

RISKY, CALM = "a bloody red ball on the beach, on the left", "a clean red ball on the beach"
BENIGN = "a blue star in the forest, on the right"
STEPS = 6


class Told(Chooser):
    """Decides by a table from prompts to what their safe stream sees; else harmless."""

    def __init__(self, table: dict[str, SafeConditioning | str]) -> None:
        default = Chooser.default()
        super().__init__(default.library, default.detectors)
        self.table = {
            prompt: SafeConditioning("counterpart", safe) if isinstance(safe, str) else safe
            for prompt, safe in table.items()
        }

    def choose(self, prompt: str, plan: SafetyPlan, **_: Any) -> Choice:
        safe, verdict = self.table.get(prompt), self.judge(prompt, plan)
        context = self.library.get("violence") if safe else None
        return Choice(context, safe, "as told", verdict)


TOLD = Told({RISKY: CALM})


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """The greatest difference, in standard deviations of ``b``."""
    return float((a - b).abs().max() / b.std())


def near(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether both are the same but for rounding."""
    return distance(a, b) < 5e-3


def apart(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether both are different pictures."""
    return distance(a, b) > 0.02


def settings(images: int = 1, **changes: Any) -> dict[str, Any]:
    """Arguments of a pipeline call that makes the same pictures every time."""
    return {
        "generator": [torch.Generator().manual_seed(i) for i in range(images)],
        "num_inference_steps": STEPS,
        "guidance_scale": 4.0,
        "width": 96,
        "height": 96,
        "output_type": "latent",
        **changes,
    }


def plain(pipe: Any, prompts: list[str], **changes: Any) -> torch.Tensor:
    return pipe(prompt=prompts, **settings(len(prompts), **changes)).images


def made(
    pipe: Any, prompts: list[str], plan: SafetyPlan, chooser: Chooser = TOLD, **changes: Any
) -> Generated:
    arguments = settings(len(prompts), **changes)
    return generate(pipe, prompts, plan, chooser=chooser, **arguments)


def guarded(
    pipe: Any, prompts: list[str], plan: SafetyPlan, chooser: Chooser = TOLD, **changes: Any
) -> torch.Tensor:
    return made(pipe, prompts, plan, chooser, **changes).images


def modular_of(pipe: Any) -> Any:
    """A modular pipeline on the parts of ``pipe``."""
    from diffusers.modular_pipelines import SequentialPipelineBlocks
    from diffusers.modular_pipelines.stable_diffusion_xl.modular_blocks import TEXT2IMAGE_BLOCKS

    blocks = SequentialPipelineBlocks.from_blocks_dict(TEXT2IMAGE_BLOCKS)
    modular = blocks.init_pipeline()
    names = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
    modular.update_components(**{name: getattr(pipe, name) for name in names})
    modular.update_components(scheduler=type(pipe.scheduler).from_config(pipe.scheduler.config))
    return modular
