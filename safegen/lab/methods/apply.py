"""One method on one batch: what to call, with which texts, hooked as it needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from safegen.choice import Chooser, Learned
from safegen.errors import InvalidValue, Unsupported
from safegen.hosts.diffusers import guard
from safegen.lab.methods.catalogue import (
    AND_NOT,
    AND_SAFE,
    PEERS,
    SAFEGEN,
    SAFREE,
    SEGA,
    Arm,
)
from safegen.lab.methods.composition import composition
from safegen.lab.methods.rows import encode
from safegen.lab.methods.safree import safree
from safegen.lab.methods.sega import arguments, semantic_pipeline
from safegen.lab.methods.sld import SafeLatentDiffusion, safe_latent_diffusion
from safegen.lab.methods.words import Texts, concept_for, context_for, plan_for, texts_for
from safegen.lab.prompts import Prompt


@dataclass(frozen=True)
class Applied:
    """What makes the batch, and what is known of each of its pictures.

    Args:
        run: The pipeline to call.
        arguments: The call's texts and the method's own arguments.
        contexts: Which context changed each picture, ``""`` for none.
        why: One line on each picture, ``""`` where there is nothing to say.
        acts: Whether the method acts on each picture at all: who shares the rows that it adds.

    Of SafeGen the last three are known once the pictures are made.
    """

    run: Any
    arguments: dict[str, Any]
    contexts: Sequence[str]
    why: Sequence[str]
    acts: Sequence[bool]


def architecture(pipe: Any) -> str:
    """``sdxl`` for two text encoders, else ``sd``."""
    return "sdxl" if getattr(pipe, "text_encoder_2", None) is not None else "sd"


def check_allowed(arm: Arm, pipe: Any) -> None:
    """Raise `Unsupported` for a peer that does not work on the pipeline's architecture."""
    kind = architecture(pipe)
    if arm.method in PEERS and kind not in PEERS[arm.method].architectures:
        raise Unsupported(f"{arm.method} is not to be had on {kind}")


@contextmanager
def applied(
    pipe: Any, arm: Arm, prompts: Sequence[Prompt], chooser: Chooser, steps: int, learned: Learned
) -> Iterator[Applied]:
    """Within the block the pipeline acts as ``arm`` says on one batch of ``prompts``.

    Raises:
        Unsupported: The pipeline does not allow this method.
        GuardFailure: At the end, if SafeGen's guard did not run where it had to.
    """
    check_allowed(arm, pipe)
    texts = [prompt.text for prompt in prompts]
    count = len(prompts)
    all_of_them = (True,) * count
    if arm.method == SAFEGEN:
        contexts, reasons, acts = [""] * count, [""] * count, [False] * count
        plan = plan_for(arm, prompts)
        with guard(pipe, plan, chooser=chooser, learned=learned) as run:
            yield Applied(pipe, {"prompt": texts}, contexts, reasons, acts)
        for i, choice in enumerate(run.choices):
            contexts[i] = choice.context.name if choice.context else ""
            reasons[i], acts[i] = choice.why, choice.context is not None
        return
    if arm.method.startswith("SLD") or arm.method in (SEGA, SAFREE):
        concepts = [concept_for(arm, prompt, chooser) for prompt in prompts]
        names = tuple(context_for(arm, prompt) for prompt in prompts)
        why = tuple(f"avoids {concept}" for concept in concepts)
        if arm.method == SEGA:
            if len(set(concepts)) > 1:
                raise InvalidValue("batch", concepts, "one concept a batch, for SEGA")
            more = arguments(concepts[0], steps, arm.options)
            run = semantic_pipeline(pipe)
            yield Applied(run, {"prompt": texts, **more}, names, why, all_of_them)
        elif arm.method == SAFREE:
            words: dict[str, Any] = {"prompt": texts}
            if arm.options["negative"]:
                words["negative_prompt"] = concepts
            with safree(pipe, texts, concepts, arm.options):
                yield Applied(pipe, words, names, why, all_of_them)
        else:
            with safe_latent_diffusion(pipe, concepts, SafeLatentDiffusion(**arm.options)):
                yield Applied(pipe, {"prompt": texts}, names, why, all_of_them)
        return
    said = [texts_for(arm, prompt, chooser) for prompt in prompts]
    done = Applied(
        pipe,
        {"prompt": [t.prompt for t in said], **_negative(pipe, said)},
        tuple(t.context for t in said),
        tuple(f"avoids {t.negative}" if t.negative else "" for t in said),
        tuple(bool(t.also) for t in said),
    )
    if arm.method in (AND_SAFE, AND_NOT):
        weights = next((t.weights for t in said if t.also), (1.0, 1.0))
        with composition(pipe, [t.also for t in said], weights, count):
            yield done
    else:
        yield done


def _negative(pipe: Any, said: Sequence[Texts]) -> dict[str, Any]:
    """The negative prompts as the pipeline's arguments: as texts, or their encodings moved."""
    if not any(t.negative for t in said):
        return {}
    negatives = [t.negative for t in said]
    strength = said[0].strength
    if strength == 1:
        return {"negative_prompt": negatives}
    empty, there = encode(pipe, [""] * len(said)), encode(pipe, negatives)
    moved = {"negative_prompt_embeds": empty.states + strength * (there.states - empty.states)}
    if there.pooled is not None and empty.pooled is not None:
        moved["negative_pooled_prompt_embeds"] = empty.pooled + strength * (
            there.pooled - empty.pooled
        )
    return moved
