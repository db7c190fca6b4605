"""Fit the encoder probe in a model's own text encoder, and show it.

With --watch it is fitted in the model's denoiser instead: mode 'watch' asks it what the model
would draw.

Exit status: 0 if all went well, 2 if not.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from safegen.cli import options
from safegen.cli.options import OK
from safegen.contexts.library import default_folder


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("action", choices=("fit", "show"))
    parser.add_argument(
        "--pairs",
        type=Path,
        help="CSV with columns category, unsafe and safe; without it the pairs that were kept the "
        "last time, or else the built-in ones",
    )
    options.add_encoder(parser)
    parser.add_argument("--watch", action="store_true", help="in the denoiser, for mode 'watch'")
    parser.add_argument("--folder", type=Path, help="folder with contexts of your own")


def run(args: argparse.Namespace) -> int:
    """Fit or show; the exit status is described above."""
    from safegen.cli.models import load_denoiser, load_encoder
    from safegen.learned.pairs import read_pairs
    from safegen.learned.probe import PROBE, WATCH, ProbeStore

    store = ProbeStore(args.folder or default_folder(), WATCH if args.watch else PROBE)
    load = load_denoiser if args.watch else load_encoder
    encoder = load(args.model, args.clip_skip)
    if args.action == "fit":
        pairs = read_pairs(args.pairs) if args.pairs else None
        store.fit(encoder, pairs, progress=options.progress_bar("fitting"))
    print(json.dumps({"encoder": encoder.identity, **store.get(encoder.identity).origin}))
    return OK
