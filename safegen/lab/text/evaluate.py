"""Measure the detectors on held-out prompts: every table and figure of ``docs/detectors.md``.

``python -m safegen.lab.text.evaluate all --pairs … --benign … --i2p … [--plot file.png]``

The held-out pairs are found again by the division that training used. The benign captions have
to be those that training was told to leave out.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safegen.detectors.auto import AutoPolicy, Verdict
from safegen.detectors.protocol import Span
from safegen.errors import SafeGenError
from safegen.lab.text import corpus
from safegen.lab.text.obfuscate import (
    EUPHEMISMS,
    HARMLESS_PADDING,
    OBFUSCATIONS,
    OTHER_LANGUAGES,
    obfuscate,
)
from safegen.learned import pairs as pairs_module
from safegen.learned.pairs import CorpusError, Pair

Floats = NDArray[np.float64]

COMBINED = "combined"


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The probability that a positive scores above a negative, ties counting half."""
    scores = np.concatenate([np.asarray(positive, float), np.asarray(negative, float)])
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    n, m = len(positive), len(negative)
    return float((ranks[:n].sum() - n * (n + 1) / 2.0) / (n * m))


def share(flags: Iterable[bool]) -> str:
    """A share in per cent, with the half width of its 95 % interval (Agresti-Coull)."""
    values = list(flags)
    n = len(values) + 4
    p = (sum(values) + 2) / n
    half = 1.96 * (p * (1 - p) / n) ** 0.5
    return f"{100 * sum(values) / len(values):.2f} % (± {100 * half:.2f})"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


@dataclass
class Bench:
    """The prompts, and Auto with its default detectors."""

    args: argparse.Namespace

    @cached_property
    def policy(self) -> AutoPolicy:
        """Auto with its defaults."""
        return AutoPolicy()

    @cached_property
    def pairs(self) -> list[Pair]:
        """The held-out pairs."""
        everything = pairs_module.read_pairs(self._file("pairs"))
        return pairs_module.divide(everything, pairs_module.scenes(everything))["test"]

    def benign(self) -> list[str]:
        """The benign captions."""
        return corpus.read_prompts(self._file("benign"))

    def _file(self, name: str) -> Path:
        file: Path | None = getattr(self.args, name)
        if file is None:
            raise CorpusError(f"this needs --{name}")
        return file

    def judge(self, prompts: Iterable[str]) -> list[Verdict]:
        """Verdicts in order."""
        return [self.policy.judge(prompt) for prompt in prompts]

    def scores(self, prompts: Sequence[str]) -> dict[str, list[float]]:
        """``unsafe`` of every detector and of all together."""
        found = {
            detector.name: [detector.score(prompt).unsafe for prompt in prompts]
            for detector in self.policy.detectors
        }
        return {**found, COMBINED: [verdict.unsafe for verdict in self.judge(prompts)]}


# ------------------------------------------------------------------ the sections


def auc_section(bench: Bench) -> str:
    """AUC of unsafe against safe twin, per category."""
    unsafe = bench.scores([pair.unsafe for pair in bench.pairs])
    safe = bench.scores([pair.safe for pair in bench.pairs])
    names = list(unsafe)
    rows: list[list[object]] = []
    for category in [*sorted({pair.category for pair in bench.pairs}), "all"]:
        chosen = [i for i, pair in enumerate(bench.pairs) if category in (pair.category, "all")]
        values = [
            f"{auc([unsafe[n][i] for i in chosen], [safe[n][i] for i in chosen]):.3f}"
            for n in names
        ]
        flagged = [
            share(side[COMBINED][i] >= bench.policy.threshold for i in chosen)
            for side in (unsafe, safe)
        ]
        rows.append([category, len(chosen), *values, *flagged])
    return table(["category", "pairs", *names, "unsafe flagged", "safe twins flagged"], rows)


def benign_section(bench: Bench) -> str:
    """Share of harmless prompts that are flagged."""
    captions = bench.benign()
    rng = random.Random(1)
    sets = {
        "captions": captions,
        "captions + unseen style words": [
            corpus.with_styles(text, rng, corpus.UNSEEN_STYLES) for text in captions
        ],
    }
    if bench.args.other is not None:
        sets["other benign prompts"] = corpus.read_prompts(bench.args.other)
    rows = []
    for name, prompts in sets.items():
        scores = bench.scores(prompts)
        shares = [share(s >= bench.policy.threshold for s in scores[n]) for n in scores]
        rows.append([name, len(prompts), *shares])
    return table(["prompts", "number", *scores], rows)


def i2p_section(bench: Bench) -> str:
    """Share of I2P flagged, by the published share of inappropriate pictures."""
    rows = pairs_module.read_csv(bench._file("i2p"), ("prompt", "inappropriate_pct"))
    flagged = [verdict.context is not None for verdict in bench.judge(r["prompt"] for r in rows)]
    percent = [float(row["inappropriate_pct"]) for row in rows]
    out: list[list[object]] = []
    for low, high in ((0, 25), (25, 50), (50, 75), (75, 101), (0, 101)):
        chosen = [f for f, p in zip(flagged, percent, strict=True) if low <= p < high]
        name = "all" if (low, high) == (0, 101) else f"{low} to {min(high, 100)} %"
        out.append([name, len(chosen), share(chosen)])
    return table(["inappropriate pictures, published", "prompts", "flagged"], out)


def calibration_section(bench: Bench) -> str:
    """Predicted probability against the share that is unsafe, on held-out pairs."""
    verdicts = bench.judge(p.unsafe for p in bench.pairs), bench.judge(p.safe for p in bench.pairs)
    predicted = np.asarray([v.unsafe for side in verdicts for v in side])
    actual = np.repeat([1.0, 0.0], len(bench.pairs))
    edges = np.linspace(0.0, 1.0, 11)
    index = np.clip(np.digitize(predicted, edges) - 1, 0, 9)
    rows, points = [], []
    error = 0.0
    for i in range(10):
        inside = index == i
        if not inside.any():
            continue
        mean, share_unsafe = float(predicted[inside].mean()), float(actual[inside].mean())
        error += float(inside.mean()) * abs(mean - share_unsafe)
        points.append((mean, share_unsafe, int(inside.sum())))
        span = f"{edges[i]:.1f} to {edges[i + 1]:.1f}"
        rows.append([span, int(inside.sum()), f"{mean:.2f}", f"{share_unsafe:.2f}"])
    if bench.args.plot is not None:
        plot_calibration(points, bench.args.plot)
    head = ["predicted", "prompts", "mean predicted", "share unsafe"]
    return f"{table(head, rows)}\n\nExpected calibration error: {error:.3f}"


def plot_calibration(points: Sequence[tuple[float, float, int]], file: Path) -> None:
    """A reliability diagram as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(5, 5.6), height_ratios=(3, 1), sharex=True, layout="constrained"
    )
    top.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle="--", label="perfect")
    top.plot([p[0] for p in points], [p[1] for p in points], marker="o", label="combined")
    top.set(ylabel="share unsafe", xlim=(0, 1), ylim=(0, 1))
    top.legend(frameon=False)
    bottom.bar([p[0] for p in points], [p[2] for p in points], width=0.05, color="0.6")
    bottom.set(xlabel="predicted probability", ylabel="prompts", yscale="log")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=130, metadata={"Software": None})
    plt.close(figure)


def confusion_section(bench: Bench) -> str:
    """Which context is picked for held-out unsafe prompts of each category."""
    picked: Counter[tuple[str, str]] = Counter()
    for pair, verdict in zip(bench.pairs, bench.judge(p.unsafe for p in bench.pairs), strict=True):
        picked[pair.category, verdict.context.name if verdict.context else "none"] += 1
    names = sorted({pair.category for pair in bench.pairs})
    columns = [*names, "none"]
    rows = []
    for name in names:
        total = sum(picked[name, column] for column in columns)
        rows.append([name, *(f"{picked[name, column] / total:.2f}" for column in columns)])
    right = sum(picked[name, name] for name in names)
    flagged = sum(count for (_, column), count in picked.items() if column != "none")
    head = ["labelled \\ picked", *columns]
    return f"{table(head, rows)}\n\nRight among those flagged: {right / flagged:.2f}"


def robustness_section(bench: Bench, count: int = 600) -> str:
    """What stays flagged when the words that gave a prompt away are hidden."""
    flagged = [v for v in bench.judge(p.unsafe for p in bench.pairs) if v.context and v.spans]
    flagged = random.Random(2).sample(flagged, min(count, len(flagged)))
    benign = bench.benign()
    captions = random.Random(3).sample(benign, min(count, len(benign)))
    rows: list[list[object]] = []
    for name, way in OBFUSCATIONS.items():
        rng = random.Random(4)
        hidden = [obfuscate(v.prompt, v.spans, way, rng) for v in flagged]
        spoiled = [_hide_some(way, caption, rng) for caption in captions]
        rows.append(
            [
                name,
                obfuscate("bloody knife", [_whole("bloody knife")], way, random.Random(4)),
                share(v.context is not None for v in bench.judge(hidden)),
                share(v.context is not None for v in bench.judge(spoiled)),
            ]
        )
    padded = bench.judge(v.prompt + HARMLESS_PADDING for v in flagged)
    rows.append(["harmless padding", "…, peaceful, serene, …",
                 share(v.context is not None for v in padded), "-"])  # fmt: skip
    head = ["way", "example", "unsafe still flagged", "harmless flagged, two words hidden"]
    first = table(head, [[r[0], f"`{_visible(str(r[1]))}`", *r[2:]] for r in rows])
    others = {"euphemisms": EUPHEMISMS, **OTHER_LANGUAGES}
    second = []
    for name, prompts in others.items():
        found = sum(v.context is not None for v in bench.judge(prompts))
        second.append([name, f"{found} of {len(prompts)}"])
    return f"{first}\n\n{table(['prompts', 'flagged'], second)}"


def _hide_some(way: Callable[[str, random.Random], str], text: str, rng: random.Random) -> str:
    """``text`` with up to two of its longer words hidden."""
    words = text.split()
    able = [i for i, word in enumerate(words) if word.isalpha() and len(word) > 3]
    for index in rng.sample(able, min(2, len(able))):
        words[index] = way(words[index], rng)
    return " ".join(words)


def _whole(text: str) -> Span:
    return Span(0, len(text), "", "")


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() else "·" for c in text)


def world_section(bench: Bench, count: int = 2000) -> str:
    """Auto on captions of the embedded model's world, among a context for each hazard."""
    from safegen.lab.demo import world
    from safegen.lab.demo.hazards import world_library

    policy = AutoPolicy(bench.policy.detectors, tuple(world_library()))
    rng = random.Random(2024)
    rows: list[list[object]] = []
    for hazard in (*world.HAZARDS, world.NO_HAZARD):
        picked: Counter[str] = Counter()
        for _ in range(count):
            base = world.random_scene(rng, hazard_rate=0.0)
            scene = world.Scene(base.background, base.object, base.colour, base.position, hazard)
            verdict = policy.judge(world.caption(scene, rng, drop=rng.choice((0.0, 0.3, 0.6))))
            picked[verdict.context.name if verdict.context else world.NO_HAZARD] += 1
        others = [f"{name}: {n}" for name, n in picked.most_common() if name != hazard]
        right = [True] * picked[hazard] + [False] * (count - picked[hazard])
        rows.append([hazard, count, share(right), ", ".join(others) or "-"])
    return table(["hazard said", "captions", "its own context (none: no context)", "others"], rows)


def speed_section(bench: Bench) -> str:
    """Time per prompt, everything included, on this machine: on the clock, and of the processor.

    The second is what the work takes; on a busy machine the first is what one waits.
    """
    prompts = [p.unsafe for p in bench.pairs] + bench.benign()
    random.Random(5).shuffle(prompts)
    policy = AutoPolicy()
    policy.judge(prompts[0])
    begin, busy = time.perf_counter(), time.thread_time()
    for prompt in prompts:
        policy.judge(prompt)
    waited, worked = time.perf_counter() - begin, time.thread_time() - busy
    return (
        f"{len(prompts)} prompts in {waited:.1f} s: {len(prompts) / waited:,.0f} per second, "
        f"{1000 * waited / len(prompts):.2f} ms each, of which {1000 * worked / len(prompts):.2f} "
        "ms on the processor"
    )


SECTIONS: dict[str, Callable[[Bench], str]] = {
    "auc": auc_section,
    "benign": benign_section,
    "i2p": i2p_section,
    "calibration": calibration_section,
    "confusion": confusion_section,
    "robustness": robustness_section,
    "world": world_section,
    "speed": speed_section,
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m safegen.lab.text.evaluate")
    parser.add_argument("section", choices=[*SECTIONS, "all"])
    parser.add_argument("--pairs", type=Path, help="CSV: category, unsafe, safe")
    parser.add_argument("--benign", type=Path, help="CSV: prompt")
    parser.add_argument("--i2p", type=Path, help="CSV: prompt, inappropriate_pct")
    parser.add_argument("--other", type=Path, help="more benign prompts: CSV or TSV")
    parser.add_argument("--plot", type=Path, help="where the calibration plot goes (PNG)")
    args = parser.parse_args(argv)
    bench = Bench(args)
    try:
        for name in SECTIONS if args.section == "all" else [args.section]:
            print(f"## {name}\n\n{SECTIONS[name](bench)}\n", flush=True)
    except SafeGenError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
