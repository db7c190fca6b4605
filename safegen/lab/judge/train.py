"""Train both judges: ``python -m safegen.lab.judge.train``.

Each learns from renders of its own range of seeds, and from the same renders passed through
the autoencoder; neither sees a generated picture. Resumable like the model's training, whose
work folder it needs for the autoencoder. Both are trained side by side, each with one thread.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn

from safegen.files import write_atomically
from safegen.lab.judge.networks import Answers
from safegen.lab.judge.pairs import Pairs, make_pairs, opacities, passed, roughen
from safegen.lab.judge.reading import NETWORKS, WEIGHTS, save_network
from safegen.lab.model.architecture import VAE_CONFIG
from safegen.lab.model.data import FIRST, SEED
from safegen.lab.model.runs import Run

RANGES = {"main": "judge", "second": "second judge"}
PAIRS = 9000
PASSED = 3000
STEPS = 2000
SECOND_STEPS = 2400
"""Steps of a second part, which starts anew from half the learning rate."""
BATCH = 48


def load_autoencoder(work: Path) -> Any:
    """The autoencoder of the model's training, from its checkpoint."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(**VAE_CONFIG)
    prefix = "module.vae."
    stored = load_file(work / "autoencoder.safetensors")
    vae.load_state_dict({k[len(prefix) :]: v for k, v in stored.items() if k.startswith(prefix)})
    return vae.eval()


def passed_set(work: Path, name: str, pairs: Pairs) -> dict[str, Tensor]:
    """Pictures through the autoencoder (uint8), with their pair's number and their opacity."""
    path = work / f"passed-{name}-{PASSED}.safetensors"
    if not path.exists():
        generator = torch.Generator().manual_seed(SEED)
        chosen = torch.randint(len(pairs), (PASSED,), generator=generator)
        opacity = opacities(PASSED, generator)
        with torch.autocast("cpu", torch.bfloat16):
            pictures = passed(pairs, load_autoencoder(work), chosen, opacity, generator).float()
        data = {
            "pictures": ((pictures + 1) * 127.5).round().to(torch.uint8),
            "chosen": chosen,
            "opacity": opacity,
        }
        write_atomically(path, save(data))
    return load_file(path)


def loss_of(
    network: nn.Module, pictures: Tensor, labels: Tensor, truth: tuple[Tensor, Tensor]
) -> Tensor:
    """Cross-entropies of attributes, presence and strength; hazards weigh more."""
    with torch.autocast("cpu", torch.bfloat16):
        answers: Answers = network(pictures)
    present, strength = truth
    loss = 6 * F.binary_cross_entropy_with_logits(answers.present.float(), present)
    loss = loss + 6 * F.binary_cross_entropy_with_logits(answers.strength.float(), strength)
    for logits, classes in zip(answers.attributes, labels.T, strict=True):
        loss = loss + F.cross_entropy(logits.float(), classes)
    return loss


def _learn(run: Run, network: nn.Module, pairs: Pairs, extra: dict[str, Tensor]) -> None:
    for _ in run:
        chosen = run.random_indices(len(pairs), BATCH // 2)
        opacity = opacities(len(chosen), run.generator)
        rows = run.random_indices(PASSED, BATCH // 2)
        pictures = torch.cat([pairs.blend(chosen, opacity), extra["pictures"][rows] / 127.5 - 1.0])
        chosen = torch.cat([chosen, extra["chosen"][rows]])
        opacity = torch.cat([opacity, extra["opacity"][rows]])
        pictures = roughen(pictures, run.generator)
        loss = loss_of(network, pictures, pairs.labels[chosen], pairs.truth(chosen, opacity))
        run.descend(loss)
        run.note(loss=loss.detach())


def train_judge(work: Path, name: str, *, steps: int = STEPS) -> nn.Module:
    """Train, or go on training, one judge; returns it in evaluation mode."""
    torch.manual_seed(SEED + len(name))
    network = NETWORKS[name]()
    pairs = make_pairs(FIRST[RANGES[name]], PAIRS, work)
    extra = passed_set(work, name, pairs)
    for part, count, rate in (("", steps, 2e-3), ("-second-part", SECOND_STEPS, 1e-3)):
        run = Run(work, f"judge-{name}{part}", {"judge": network}, steps=count, rate=rate)
        if part:
            run.offset = steps  # other random numbers than in the first part
        _learn(run, network, pairs, extra)
    return network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("out/train"))
    parser.add_argument("--export", type=Path, default=WEIGHTS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--only", choices=tuple(NETWORKS), help="that judge alone")
    args = parser.parse_args()
    if args.only:
        _train_and_save(args.only, args)
        return
    # A judge uses one thread: two processors train both in the time of one.
    processes = [
        mp.get_context("spawn").Process(target=_train_and_save, args=(name, args))
        for name in NETWORKS
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit("a judge's training failed; the same command goes on from its checkpoint")


def _train_and_save(name: str, args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    network = train_judge(args.work, name, steps=args.steps)
    save_network(network, args.export / f"{name}.safetensors")


if __name__ == "__main__":
    main()
