"""What can only be measured inside a model: the probe, learned embeddings, the image-time check.

``python -m safegen.lab.studies.inside all`` prints a table of each. Minutes on one core; nothing
is sampled to the end.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from safegen.conditioning.edits import MoveAlong, ProjectOut
from safegen.conditioning.strategies import condition
from safegen.detectors.auto import risky_spans
from safegen.detectors.probe import ProbeDetector
from safegen.hosts.diffusers import PipelineEncoder
from safegen.lab import embedded
from safegen.lab.embedded import GUIDANCE, SIZE, STEPS
from safegen.lab.embedded.families import caption_pairs
from safegen.lab.model.data import to_tensor
from safegen.lab.text.evaluate import auc, share, table
from safegen.lab.world.captions import prompt
from safegen.lab.world.picture import pixels, render
from safegen.lab.world.scene import HAZARDS, Scene, random_scene
from safegen.learned.embedding import learn
from safegen.learned.encoder import but_start_mean, encode_in_batches, own_mean, start_mark
from safegen.learned.pairs import Pair
from safegen.learned.probe import fit
from safegen.learned.store import LEAST, learn_from_pairs
from safegen.method.evidence import observe
from safegen.plan import SafetyPlan

UNSEEN = re.compile(r"\b(?:bleeding|blazing|flaming|in flames)\b")
"""Words that the probe is not fitted to, to see whether it reads meaning or knows a list."""


def hazard_pairs(count: int, seed: int) -> list[Pair]:
    """Pairs of captions whose category is the hazard itself."""
    pairs = []
    for i, hazard in enumerate(HAZARDS):
        pairs += [Pair(hazard, *texts) for texts in caption_pairs(count, hazard, seed + i)]
    return pairs


def harmless_scenes(count: int, seed: int) -> list[Scene]:
    """Scenes with neither a hazard nor anything that looks like one."""
    rng = random.Random(seed)
    return [random_scene(rng, hazard_rate=0.0, near_rate=0.0) for _ in range(count)]


def with_hazard(scene: Scene, hazard: str) -> Scene:
    """The scene with all there can be of a hazard."""
    return replace(scene, hazard=hazard, amount=1.0)


def probe_section(pipe: Any, count: int = 300) -> str:
    """The probe, fitted to some wordings and measured on others."""
    encoder = PipelineEncoder(pipe)
    rows: list[list[object]] = []
    everything = hazard_pairs(count, 11)
    seen = [pair for pair in everything if not UNSEEN.search(pair.unsafe)]
    detector = ProbeDetector(fit(seen, encoder), encoder)
    fresh = hazard_pairs(count // 2, 77)
    for name, pairs in (
        ("words it was fitted to", [p for p in fresh if not UNSEEN.search(p.unsafe)]),
        ("words it never saw", [p for p in fresh if UNSEEN.search(p.unsafe)]),
    ):
        scores = detector.categories([pair.unsafe for pair in pairs])
        right = [
            max(found, key=lambda name: found[name]) == pair.category
            for found, pair in zip(scores, pairs, strict=True)
        ]
        bad = [max(found.values()) for found in scores]
        good = [max(found.values()) for found in detector.categories([pair.safe for pair in pairs])]
        threshold = SafetyPlan().threshold
        rows.append(
            [
                name,
                len(pairs),
                f"{auc(bad, good):.3f}",
                share(p >= threshold for p in bad),
                share(p >= threshold for p in good),
                share(right),
            ]
        )
    return table(
        ["captions", "pairs", "AUC", "unsafe flagged", "safe twins flagged", "right hazard"], rows
    )


# ------------------------------------------------------------------ learned embeddings


def _noisy_rows(pipe: Any, scenes: Sequence[Scene], timestep: int, seed: int) -> Tensor:
    """Latents of the scenes' own pictures at ``timestep``, ``[scenes, 4, 12, 12]``."""
    drawn = [pixels(render(scene, seed + i)) for i, scene in enumerate(scenes)]
    pictures = to_tensor(np.stack(drawn))
    latents = pipe.vae.encode(pictures).latent_dist.mean * pipe.vae.config.scaling_factor
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
    noisy: Tensor = pipe.scheduler.add_noise(latents, noise, torch.tensor([timestep] * len(scenes)))
    return noisy


@torch.no_grad()
def learned_section(pipe: Any, count: int = 8) -> str:
    """How near an edited unsafe prompt comes to its safe half, as the denoiser sees both.

    ‖ε(edited) - ε(safe)‖ / ‖ε(unsafe) - ε(safe)‖ at noisy latents of pictures with the hazard:
    1 is no better than the unsafe prompt, 0 is the safe prompt itself.
    """
    encoder = PipelineEncoder(pipe)
    library = embedded.library()
    ratios: dict[str, list[float]] = {}
    for number, hazard in enumerate(HAZARDS):
        pairs = caption_pairs(256, hazard)
        encoded = encode_in_batches(encoder, [text for pair in pairs for text in pair])
        edits: dict[str, Any] = {}
        for tokens, mean in (("all tokens", but_start_mean), ("own tokens", own_mean)):
            means = torch.stack([mean(*one) for one in encoded])
            label = f"learned over {tokens}"
            for least, axes in ((LEAST, "as many axes as speak"), (0.0, "four axes")):
                found = replace(
                    learn(means[0::2], means[1::2], encoder=encoder.identity, least=least),
                    start=start_mark(encoded),
                )
                edits[f"projection, {axes}, {label}"] = ProjectOut(
                    found.basis, found.center, 1.0, found.start
                )
            for strength in (0.5, 1.0, 3.0):
                edits[f"direction × {strength:g}, {label}"] = MoveAlong(
                    found.direction, strength, found.start
                )
        scenes = [with_hazard(s, hazard) for s in harmless_scenes(count, 500 + number)]
        unsafe_texts = [prompt(scene) for scene in scenes]
        unsafe, _ = encoder.encode(unsafe_texts)
        safe, _ = encoder.encode([prompt(scene.without_hazard()) for scene in scenes])
        context = library.get(hazard)
        others = {
            strategy: [
                condition(t, context, strategy, spans=risky_spans(t, context, [])).text
                for t in unsafe_texts
            ]
            for strategy in ("counterpart", "prepend", "append", "context")
        }
        for timestep in (900, 500):
            x = _noisy_rows(pipe, scenes, timestep, 40 + number)
            predict = partial(_predict, pipe, x, timestep)
            goal = predict(safe)
            far = (predict(unsafe) - goal).flatten(1).norm(dim=1)
            states = {name: torch.stack([edit(row) for row in unsafe]) for name, edit in
                      edits.items()}  # fmt: skip
            states |= {name: encoder.encode(texts)[0] for name, texts in others.items()}
            for name, state in states.items():
                left = (predict(state) - goal).flatten(1).norm(dim=1)
                ratios.setdefault(name, []).extend((left / far).tolist())
    rows = [
        [name, len(values), f"{torch.tensor(values).median():.2f}",
         f"{torch.tensor(values).quantile(0.9):.2f}"]
        for name, values in ratios.items()
    ]  # fmt: skip
    return table(["what the safe stream sees", "n", "median ratio", "90th percentile"], rows)


def _predict(pipe: Any, x: Tensor, timestep: int, states: Tensor) -> Tensor:
    found: Tensor = pipe.unet(x, timestep, encoder_hidden_states=states).sample
    return found


# ------------------------------------------------------------------ the image-time check


@torch.no_grad()
def evidence_section(pipe: Any, count: int = 48, tau: float = 0.1) -> str:
    """Does the streams' disagreement tell a prompt with a hazard from one without?

    Both get the same safe stream (the same text before the prompt, or the projection learned
    from all hazards), so nothing but the prompts differs. Rows are taken where the guard first
    blends, at ``tau``.
    """
    encoder = PipelineEncoder(pipe)
    learned = learn_from_pairs(caption_pairs(256, "all"), encoder, rank=4)
    project = ProjectOut(learned.basis, learned.center, 1.0, learned.start)
    found: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for kind in ("hazard", "benign"):
        scenes = harmless_scenes(count, 900)
        if kind == "hazard":
            scenes = [with_hazard(s, HAZARDS[i % 3]) for i, s in enumerate(scenes)]
        texts = [prompt(scene) for scene in scenes]
        states, _ = encoder.encode(texts)
        safe = {
            "prepend": encoder.encode([f"a clean safe peaceful picture, {t}" for t in texts])[0],
            "projection": torch.stack([project(row) for row in states]),
        }
        uncond = encoder.encode([""])[0].expand_as(states)
        generators = [torch.Generator().manual_seed(i) for i in range(count)]
        x = torch.stack(
            [torch.randn(4, SIZE // 8, SIZE // 8, generator=generator) for generator in generators]
        )
        scheduler = pipe.scheduler
        scheduler.set_timesteps(STEPS)
        x = x * scheduler.init_noise_sigma
        for index, timestep in enumerate(scheduler.timesteps):
            cond_row = _predict(pipe, x, int(timestep), states)
            uncond_row = _predict(pipe, x, int(timestep), uncond)
            if index >= tau * STEPS:
                for strategy, state in safe.items():
                    safe_row = _predict(pipe, x, int(timestep), state)
                    seen = observe(index / STEPS, cond_row, safe_row, uncond_row)
                    assert seen.pull is not None
                    found[strategy, kind] = list(seen.pull), list(seen.concentration)
                break
            guided = uncond_row + GUIDANCE * (cond_row - uncond_row)
            x = scheduler.step(guided, timestep, x).prev_sample
    rows = []
    for strategy, (i, name) in product(
        ("prepend", "projection"), enumerate(("pull", "concentration"))
    ):
        hazard, benign = found[strategy, "hazard"][i], found[strategy, "benign"][i]
        rows.append(
            [
                strategy,
                name,
                f"{torch.tensor(hazard).median():.2f}",
                f"{torch.tensor(benign).median():.2f}",
                f"{auc(hazard, benign):.3f}",
            ]
        )
    return table(
        [
            "safe stream",
            "measure",
            f"hazard, median of {count}",
            f"benign, median of {count}",
            "AUC",
        ],
        rows,
    )


SECTIONS: dict[str, Callable[[Any], str]] = {
    "probe": probe_section,
    "learned": learned_section,
    "evidence": evidence_section,
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m safegen.lab.studies.inside")
    parser.add_argument("section", choices=[*SECTIONS, "all"])
    parser.add_argument("--model", type=Path, default=embedded.FOLDER, help="the model's folder")
    args = parser.parse_args(argv)
    pipe = embedded.load_pipeline(args.model)
    for name in SECTIONS if args.section == "all" else [args.section]:
        print(f"## {name}\n\n{SECTIONS[name](pipe)}\n", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
