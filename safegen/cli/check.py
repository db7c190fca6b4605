"""Score prompts, say which context Auto would use, and why.

Exit status: 0 if nothing was flagged, 1 if something was, 2 for wrong use or unreadable input.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from safegen.contexts.library import ContextLibrary, default_folder
from safegen.detectors.auto import DEFAULT_THRESHOLD, AutoPolicy, Verdict, default_detectors
from safegen.detectors.protocol import Detector
from safegen.detectors.sentences import NAME as SENTENCES
from safegen.detectors.sentences import SentenceDetector
from safegen.errors import InvalidValue, SafeGenError
from safegen.learned.pairs import read_csv
from safegen.plan import DETECTORS

OK, FLAGGED = 0, 1


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("prompt", nargs="*", help="prompts to check")
    parser.add_argument("--file", type=Path, help=".txt (a prompt a line), .csv or .jsonl (prompt)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--threshold",
        type=float,
        default=DEFAULT_THRESHOLD,
        metavar="P",
        help="probability from which a category counts (default: %(default)s)",
    )
    parser.add_argument(
        "--detectors",
        default="lexicon,ngram",
        metavar="NAMES",
        help=f"which detectors run, joined by commas: {', '.join(DETECTORS)} "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--model",
        default="embedded",
        help="whose text encoder the probe reads in; it has to be fitted there before, by "
        "safegen probe fit (default: embedded)",
    )
    parser.add_argument("--clip-skip", type=int, help="as you use the model (default: none)")
    parser.add_argument("--lexicon", type=Path, help="a word list of your own, beside the built-in")
    parser.add_argument(
        "--contexts",
        type=Path,
        help="folder with contexts of your own (default: that of safegen contexts)",
    )


def read_prompts(file: Path) -> Iterator[str]:
    """The prompts of a file, in order; empty lines of a text file are no prompts.

    Raises:
        SafeGenError: An unknown kind of file, or one without prompts where they should be.
        OSError: It can't be read.
    """
    kind = file.suffix.lower()
    if kind not in {".txt", ".csv", ".jsonl"}:
        raise InvalidValue("file", file.name, "a .txt, .csv or .jsonl file")
    if kind == ".csv":
        yield from (row["prompt"] for row in read_csv(file, ("prompt",)))
        return
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidValue("file", file.name, f"a text in UTF-8 ({error})") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield line if kind == ".txt" else _prompt_of(line, f"{file.name}, line {number}")


def _prompt_of(line: str, where: str) -> str:
    try:
        data: Any = json.loads(line)
    except ValueError as error:
        raise InvalidValue(where, line.strip()[:40], "one JSON object a line") from error
    prompt = data.get("prompt") if isinstance(data, dict) else data
    if not isinstance(prompt, str):
        raise InvalidValue(where, line.strip()[:40], "an object with a text called prompt")
    return prompt


def to_data(verdict: Verdict, milliseconds: float | None = None) -> dict[str, Any]:
    """What ``--json`` prints for one prompt."""
    data: dict[str, Any] = {
        "prompt": verdict.prompt,
        "unsafe": round(verdict.unsafe, 4),
        "categories": {name: round(p, 4) for name, p in verdict.categories.items()},
        "context": verdict.context.name if verdict.context else None,
        "spans": [
            {"start": s.start, "end": s.end, "category": s.category, "detector": s.detector}
            for s in verdict.spans
        ],
    }
    if milliseconds is not None:
        data["ms"] = round(milliseconds, 3)
    if verdict.errors:
        data["errors"] = list(verdict.errors)
    return data


def to_text(verdict: Verdict, milliseconds: float) -> str:
    """What is printed for people."""
    context = verdict.context.name if verdict.context else "no context"
    lines = [f"{verdict.unsafe:.2f}  {context}  {verdict.prompt}"]
    scores = [f"{name} {p:.2f}" for name, p in verdict.categories.items() if p >= 0.05]
    if scores:
        lines.append(f"      {', '.join(scores)}  ({milliseconds:.1f} ms)")
    lines += [
        f"      {verdict.prompt[s.start : s.end]!r}: {s.category} ({s.detector})"
        for s in verdict.spans
    ]
    return "\n".join(lines + [f"      error: {error}" for error in verdict.errors])


def _policy(args: argparse.Namespace) -> AutoPolicy:
    available = {detector.name: detector for detector in default_detectors(args.lexicon)}
    names = [name.strip() for name in args.detectors.split(",")]
    if "probe" in names:
        available["probe"] = _probe(args)
    if SENTENCES in names:
        available[SENTENCES] = SentenceDetector()
    for name in names:
        if name not in available:
            raise InvalidValue("detectors", name, ", ".join(DETECTORS))
    library = ContextLibrary(args.contexts or default_folder())
    for problem in library.problems:
        print(f"skipped: {problem.message}", file=sys.stderr)
    return AutoPolicy([available[name] for name in names], tuple(library), args.threshold)


def _probe(args: argparse.Namespace) -> Detector:
    try:
        from safegen.cli.models import load_encoder
        from safegen.detectors.probe import ProbeDetector
        from safegen.learned.probe import ProbeStore
    except ImportError as error:
        raise SafeGenError(
            f"the probe needs torch and safetensors: pip install 'safegen[demo]' ({error})"
        ) from error
    store = ProbeStore(args.contexts or default_folder())
    encoder = load_encoder(args.model, args.clip_skip)
    return ProbeDetector(store.get(encoder.identity), encoder)


def _prompts(args: argparse.Namespace) -> Iterable[str]:
    if bool(args.prompt) == (args.file is not None):
        raise InvalidValue("check", "", "either prompts or --file")
    return args.prompt if args.prompt else read_prompts(args.file)


def run(args: argparse.Namespace) -> int:
    """Check the prompts; the exit status is described above."""
    flagged = False
    begin = time.perf_counter()
    count = 0
    policy = _policy(args)
    for prompt in _prompts(args):
        start = time.perf_counter()
        verdict = policy.judge(prompt)
        spent = 1000 * (time.perf_counter() - start)
        count += 1
        flagged = flagged or verdict.context is not None
        if args.json:
            print(json.dumps(to_data(verdict, spent), ensure_ascii=False))
        else:
            print(to_text(verdict, spent))
    if not args.json and count > 1:
        print(f"{count} prompts in {time.perf_counter() - begin:.1f} s")
    return FLAGGED if flagged else OK
