"""Make safer pictures with the embedded model.

Without --prompt: sample the development split, plain, guarded and by other methods, then score and
report it. Exit status: 0 if every picture is there, 1 if some are missing, 2 for wrong use.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safegen.cli import options
from safegen.cli.options import OK, WRONG_USE
from safegen.errors import InvalidValue


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "action", nargs="?", default="run", choices=("run", "install"),
        help="run (the default), or install the model in a WebUI",
    )  # fmt: skip
    parser.add_argument("dir", nargs="?", type=Path, help="install: the WebUI's folder")
    parser.add_argument(
        "--sd15", action="store_true",
        help="install: the same model in Stable Diffusion 1.5's own shapes, which every host "
        "loads (2.1 GB)",
    )  # fmt: skip
    parser.add_argument(
        "--clip-vocabulary", type=Path, metavar="FILE",
        help="--sd15: CLIP's bpe_simple_vocab_16e6.txt.gz, if neither open_clip nor clip is "
        "installed here or in DIR's own environment",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for results")
    parser.add_argument("--prompt", help="make one comparison of this prompt instead")
    parser.add_argument("--seed", type=int, default=1, help="first seed of --prompt")
    parser.add_argument("--prompts", type=int, default=6, help="prompts a family")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    options.add_plan(parser)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand."""
    if args.action == "install":
        return _install(args)
    plan = options.plan_of(args)
    options.at_least_one(args, "prompts")
    if not 0 <= args.seed < 2**32 - 3:
        raise InvalidValue("seed", args.seed, f"0 to {2**32 - 4}")
    from safegen.lab.studies import demo

    if args.prompt is not None:
        for path in demo.one_comparison(args.out, args.prompt, plan, seed=args.seed):
            print(path)
        return OK
    summary, written = demo.build(args.out, plan, prompts=args.prompts, progress=not args.quiet)
    status = options.status_of(summary)
    for path in written:
        print(path)
    return status


def _install(args: argparse.Namespace) -> int:
    if args.dir is None:
        print("usage: safegen demo install DIR [--sd15] (DIR: a WebUI's folder)")
        return WRONG_USE
    if args.sd15:
        from safegen.lab.model.sd15 import checkpoint

        written = checkpoint.install(args.dir, args.clip_vocabulary)
    else:
        from safegen.lab import embedded

        written = embedded.install(args.dir)
    for path in written:
        print(path)
    return OK
