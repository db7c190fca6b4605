"""Make the embedded model from nothing: ``python -m safegen.lab.model.train``.

Stages, in order, each resumable from its checkpoint and none needing a download:

``render``       draws the pictures.
``autoencoder``  pictures to latents and back (f = 8, 4 channels).
``denoiser``     the UNet and the text encoder, together, on the autoencoder's latents.
``export``       one SD1-layout checkpoint in fp16, and the tokenizer.

Kill it whenever you like; the same command goes on from the last checkpoint. The judges are
trained by ``python -m safegen.lab.judge.train``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from safegen.lab.model import runs
from safegen.lab.model.autoencoder import encoded, flatten_latents, train_autoencoder
from safegen.lab.model.data import FIRST, rendered
from safegen.lab.model.denoiser import train_denoiser
from safegen.lab.model.pipeline import MODEL_FOLDER, export
from safegen.lab.model.tokenizer import write as write_tokenizer
from safegen.lab.world.captions import vocabulary

PICTURES = 24_000
AUTOENCODER_STEPS = 5600
DENOISER_STEPS = 13_000


def _stages(args: argparse.Namespace) -> None:
    for _ in runs.alone_first():
        rendered(args.work, FIRST["model"], args.pictures)
        if runs.rank() == 0:
            write_tokenizer(vocabulary(), args.work / "tokenizer")
    vae = train_autoencoder(args.work, steps=args.autoencoder_steps, pictures=args.pictures)
    latents, scale = flatten_latents(vae, encoded(args.work, vae, args.pictures))
    unet, text = train_denoiser(args.work, latents, scale, steps=args.denoiser_steps)
    if runs.rank() == 0:
        export(args.work / "tokenizer", args.export, vae, unet, text, scale)


def _process(rank: int, processes: int, meeting: str, args: argparse.Namespace) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=processes
    )
    try:
        _stages(args)
    finally:
        dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("out/train"))
    parser.add_argument("--export", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--autoencoder-steps", type=int, default=AUTOENCODER_STEPS)
    parser.add_argument("--denoiser-steps", type=int, default=DENOISER_STEPS)
    parser.add_argument(
        "--processes",
        type=int,
        default=2,
        help="share each batch among so many (a divisor of 8); the weights depend on it",
    )
    args = parser.parse_args()
    if args.processes < 1 or 8 % args.processes:
        parser.error(f"--processes: {args.processes} is not allowed; allowed: 1, 2, 4, 8")
    args.work.mkdir(parents=True, exist_ok=True)
    if args.processes == 1:
        _stages(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_process, (args.processes, f"{folder}/meeting", args), nprocs=args.processes)  # type: ignore[attr-defined,no-untyped-call]


if __name__ == "__main__":
    main()
