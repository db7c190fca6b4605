"""Options that several commands share, and how they are read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safegen.errors import InvalidValue, SafeGenError
from safegen.plan import SETTINGS, SafetyPlan

if TYPE_CHECKING:
    from safegen.lab.methods.catalogue import Arm
    from safegen.lab.prompts import PromptSet
    from safegen.lab.scorers import Options
    from safegen.lab.sweep.engine import Summary

OK, INCOMPLETE, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
_NOT_SWEPT = ("enabled", "hires", "safe_text", "unsafe_text", "evidence")


def add_plan(parser: Any, *, leave_out: Sequence[str] = ()) -> None:
    """Add an option for each of the plan's settings that a sweep can use."""
    for name, setting in SETTINGS.items():
        if name not in (*_NOT_SWEPT, *leave_out):
            parser.add_argument(
                f"--{name.replace('_', '-')}",
                help=f"{setting.help} Allowed: {setting.allowed}.".replace("%", "%%"),
            )


def plan_of(args: argparse.Namespace, *, leave_out: Sequence[str] = ()) -> SafetyPlan:
    """The plan that `add_plan`'s options describe."""
    return SafetyPlan(
        **{
            name: setting.parse(text)
            for name, setting in SETTINGS.items()
            if name not in leave_out and isinstance(text := getattr(args, name, None), str)
        }
    )


def words(text: str) -> list[str]:
    """``a, b`` as a list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def values_of(field: str, text: str) -> list[Any]:
    """``0,0.5,1`` as values that the plan's setting allows."""
    return [SETTINGS[field].parse(part) for part in words(text)]


def peers_of(text: str, concept: str | None, context: str) -> list[Arm]:
    """The peers named in ``text``; ``all`` for every one."""
    from safegen.lab.methods.catalogue import PEERS, Arm

    names = list(PEERS) if text.strip() == "all" else words(text)
    for name in names:
        if name not in PEERS:
            raise InvalidValue("peers", name, f"all, {', '.join(PEERS)}")
    return [Arm(name, concept=concept or "", context=context) for name in names]


def size_of(text: str) -> tuple[int, int]:
    """``512x512`` as width and height."""
    width, times, height = text.lower().partition("x")
    if not (times and width.isdecimal() and height.isdecimal()):
        raise InvalidValue("size", text, "WIDTHxHEIGHT, such as 512x512")
    return int(width), int(height)


def at_least_one(args: argparse.Namespace, *names: str) -> None:
    """Refuse a number below 1."""
    for name in names:
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InvalidValue(name, value, "1 and more")


def prompt_sets(texts: Iterable[str], limit: int | None = None) -> list[PromptSet]:
    """The prompt sets of ``[KIND:]FILE`` arguments, each of another name."""
    from safegen.lab.prompts import load, parse_argument

    sets: list[PromptSet] = []
    for text in texts:
        kind, file = parse_argument(text)
        found = load(file, kind, limit)
        if any(found.name == other.name for other in sets):
            raise InvalidValue("prompts", found.name, "files with different names")
        sets.append(found)
    return sets


def add_prompts(parser: Any) -> None:
    """Add the options that say which prompts are drawn."""
    parser.add_argument(
        "--prompts", action="append", required=True, metavar="[KIND:]FILE",
        help="I2P or COCO captions as published, .csv, .jsonl or .txt; KIND is hazard, benign or "
        "proximal, where the file does not say. Repeat it for several",
    )  # fmt: skip
    parser.add_argument("--limit", type=int, help="the first N prompts of each kind and file")
    parser.add_argument("--seeds", type=int, default=1, help="pictures per prompt and setting")


def add_encoder(parser: argparse.ArgumentParser) -> None:
    """Add the options that say in whose text encoder something is learned."""
    parser.add_argument(
        "--model", default="embedded",
        help="'embedded', a diffusers pipeline's folder or a .safetensors file "
        "(default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--clip-skip", type=int, help="as you use the model (default: none)")


def progress_bar(what: str) -> Callable[[int, int], None]:
    """A bar on the terminal, if there is one, that is called with how many of how many."""
    from tqdm import tqdm

    bar = tqdm(desc=what, disable=None)

    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    return show


def add_run(parser: Any) -> None:
    """Add the options of every command that makes many pictures."""
    parser.add_argument("--out", type=Path, required=True, help="the folder for everything")
    parser.add_argument("--dry-run", action="store_true", help="say what would be made")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def add_peers(parser: Any, *, default: str, help: str) -> None:
    """Add the options that say which peers are measured, and what they avoid."""
    parser.add_argument("--peers", default=default, metavar="NAMES", help=help)
    parser.add_argument("--concept", help="what peers avoid (default: the context's unsafe text)")
    parser.add_argument(
        "--peer-context", default="", metavar="NAME",
        help="context whose words peers use for prompts whose set names none (default: violence)",
    )  # fmt: skip


def add_own_settings(parser: Any) -> None:
    """Add the option that sets a prompt set's own settings aside."""
    parser.add_argument(
        "--ignore-set-settings", action="store_true",
        help="use --cfg and --size even where the prompt set names its own",
    )  # fmt: skip


def add_scorers(parser: argparse.ArgumentParser) -> None:
    """Add the options that say who judges."""
    parser.add_argument(
        "--scorers", default="auto", metavar="NAMES",
        help="joined by commas; 'auto' takes what is installed and fits, 'list' lists all",
    )  # fmt: skip
    parser.add_argument("--clip-model", type=Path, help="folder of a CLIP model (transformers)")
    parser.add_argument("--q16-prompts", type=Path, help="Q16's two embeddings, .npy/.safetensors")
    parser.add_argument("--lpips-net", default="alex", choices=("alex", "vgg", "squeeze"))
    parser.add_argument("--main", help="scorer whose 'unsafe' heads the report")
    parser.add_argument("--gallery", type=int, default=24, help="pairs of pictures shown")


def scorer_options(args: argparse.Namespace) -> Options:
    """What `add_scorers`' options give scorers."""
    from safegen.lab.scorers import Options

    return Options(args.clip_model, args.q16_prompts, args.lpips_net)


def build_report(args: argparse.Namespace, folder: Path) -> list[Path]:
    """Score and report a sweep's folder as `add_scorers`' options say; the files written."""
    from safegen.lab.report import page

    return page.build(
        folder,
        scorers=None if args.scorers == "auto" else words(args.scorers),
        options=scorer_options(args),
        main=args.main,
        gallery=args.gallery,
        say=lambda text: print(text, file=sys.stderr),
        progress=not args.quiet,
    )


def recorded(args: argparse.Namespace, command: str) -> dict[str, Any]:
    """The options of a run, for its manifest: everything but the password."""
    kept = {k: v for k, v in vars(args).items() if k not in ("auth", "run", "command", "action")}
    texts = {k: str(v) if isinstance(v, Path) else v for k, v in kept.items()}
    return {"command": command, **texts}


def status_of(summary: Summary) -> int:
    """The exit status of a sweep, whose summary is printed."""
    print("\n".join(summary.lines()))
    if summary.stopped:
        return INTERRUPTED
    return OK if summary.complete else INCOMPLETE


def guarded(
    command: str, extra: str, run: Callable[[argparse.Namespace], int]
) -> Callable[[argparse.Namespace], int]:
    """``run``, and one line on what went wrong; returns the exit status."""

    def call(args: argparse.Namespace) -> int:
        try:
            return run(args)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("safegen"):
                raise
            needs = f"needs the {extra} extra: pip install 'safegen[{extra}]' ({error})"
            print(f"safegen {command} {needs}", file=sys.stderr)
            return WRONG_USE
        except BrokenPipeError:
            raise
        except (SafeGenError, OSError) as error:
            print(f"safegen {command}: {error}", file=sys.stderr)
            return WRONG_USE
        except KeyboardInterrupt:
            print("\nstopped; the same command goes on from here", file=sys.stderr)
            return INTERRUPTED

    return call
