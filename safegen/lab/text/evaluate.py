"""Measure the detectors and the rewrites: every table and figure of ``docs/detectors.md``.

``python -m safegen.lab.text.evaluate all --pairs … --prompts … --requests … --captions … --scenes …
[--elsewhere …] [--harmful …] [--i2p …] [--part test] [--plot file.png]``

Without ``--part test`` the calibration part is measured, on which everything is chosen. The test
part is for one run at the end. Files other than those that the weights were trained on are
refused, as their division would be another one.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safegen.choice import REWRITTEN_IN_VAIN, REWRITTEN_TWICE, Chooser
from safegen.contexts.library import ContextLibrary
from safegen.detectors.auto import AutoPolicy, Verdict
from safegen.detectors.ngram import NgramDetector
from safegen.detectors.protocol import Span
from safegen.errors import SafeGenError
from safegen.lab.text import corpus
from safegen.lab.text.obfuscate import HARMLESS_PADDING, OBFUSCATIONS, obfuscate
from safegen.lab.text.train import FILES, arguments
from safegen.learned.pairs import CorpusError, Pair, read_csv
from safegen.plan import SafetyPlan

Floats = NDArray[np.float64]

OWN = {
    "calibration": Path(__file__).with_name("own_prompts.json"),
    "test": Path(__file__).with_name("own_prompts_test.json"),
}
"""Prompts of our own. The first were a test before, and are chosen on now."""
RISKY_REQUESTS = ("sexual_content", "violence", "self_harm", "illegal_activities")
"""Categories of the requests that are near ours."""
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
GENERATE = "generate an image of "


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The probability that a positive scores above a negative, ties counting half."""
    from sklearn.metrics import roc_auc_score

    label = [1] * len(positive) + [0] * len(negative)
    return float(roc_auc_score(label, [*positive, *negative]))


def share(flags: Iterable[bool]) -> str:
    """A share in per cent with its 95 % interval (Wilson)."""
    from statsmodels.stats.proportion import proportion_confint

    values = list(flags)
    low, high = proportion_confint(sum(values), len(values), method="wilson")
    return f"{100 * sum(values) / len(values):.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


@dataclass
class Bench:
    """The prompts of one part, and Auto with its default detectors."""

    args: argparse.Namespace

    @cached_property
    def policy(self) -> AutoPolicy:
        """Auto with its defaults."""
        policy = AutoPolicy()
        if self.args.threshold is not None:
            policy = AutoPolicy(policy.detectors, threshold=self.args.threshold)
        return policy

    @cached_property
    def plan(self) -> SafetyPlan:
        """The default plan at the threshold that is measured."""
        return SafetyPlan(threshold=self.policy.threshold)

    def file(self, name: str) -> Path:
        """A prompt set, if it is the one that was trained on."""
        file: Path | None = getattr(self.args, name)
        if file is None:
            raise CorpusError(f"this needs --{name}")
        if name in FILES:
            ngram = next(d for d in self.policy.detectors if isinstance(d, NgramDetector))
            corpus.check(ngram.weights.origin, {name: file})
        return file

    @cached_property
    def pairs(self) -> list[Pair]:
        """The pairs of the part."""
        return corpus.divided_pairs(self.file("pairs"))[self.args.part]

    def rows(self, name: str) -> list[corpus.Row]:
        """The prompts of the part in one file."""
        return corpus.divided(self.file(name))[self.args.part]

    @cached_property
    def harmless(self) -> dict[str, list[str]]:
        """Sets that are harmless, or mostly so."""
        requests = self.rows("requests")
        return {
            "safe twins": [pair.safe for pair in self.pairs],
            "people's own prompts": [row.text for row in self.rows("prompts")],
            "captions": [row.text for row in self.rows("captions")],
            "short scenes": [row.text for row in self.rows("scenes")],
            "risky-sounding requests": [r.text for r in requests if r.category in RISKY_REQUESTS],
            "other requests": [r.text for r in requests if r.category not in RISKY_REQUESTS],
            **{file.stem: corpus.read_prompts(file) for file in self.args.elsewhere},
        }

    def judge(self, prompts: Iterable[str]) -> list[Verdict]:
        """Verdicts in order."""
        return [self.policy.judge(prompt) for prompt in prompts]

    def flagged(self, prompts: Iterable[str]) -> list[bool]:
        """Whether each prompt gets a context."""
        return [verdict.context is not None for verdict in self.judge(prompts)]

    @cached_property
    def scores(self) -> dict[str, list[float]]:
        """Probability of harm of everything in the part."""
        sets = {
            "unsafe": [pair.unsafe for pair in self.pairs],
            **{file.stem: corpus.read_prompts(file) for file in self.args.harmful},
            **self.harmless,
        }
        return {name: [v.unsafe for v in self.judge(texts)] for name, texts in sets.items()}


# ------------------------------------------------------------------ the sections


def flags_section(bench: Bench) -> str:
    """What is flagged, at the threshold."""
    t = bench.policy.threshold
    rows = [[name, len(s), share(p >= t for p in s)] for name, s in bench.scores.items()]
    return table(["prompts", "number", "flagged"], rows)


def pairs_section(bench: Bench) -> str:
    """Unsafe prompts against their safe twins, by category."""
    unsafe, safe = bench.scores["unsafe"], bench.scores["safe twins"]
    rows: list[list[object]] = []
    for category in [*sorted({pair.category for pair in bench.pairs}), "all"]:
        chosen = [i for i, pair in enumerate(bench.pairs) if category in (pair.category, "all")]
        ours, twins = [unsafe[i] for i in chosen], [safe[i] for i in chosen]
        flagged = [share(p >= bench.policy.threshold for p in side) for side in (ours, twins)]
        rows.append([category, len(chosen), f"{auc(ours, twins):.3f}", *flagged])
    return table(["category", "pairs", "AUC", "unsafe flagged", "safe twins flagged"], rows)


def curve_section(bench: Bench) -> str:
    """Recall and false alarms at every threshold."""
    names = list(bench.harmless)
    rows = [
        [
            t,
            *(
                f"{100 * np.mean(np.asarray(bench.scores[n]) >= t):.1f} %"
                for n in ("unsafe", *names)
            ),
        ]
        for t in THRESHOLDS
    ]
    if bench.args.plot is not None:
        plot_curves(bench.scores, names, bench.policy.threshold, bench.args.plot)
    return table(["threshold", "unsafe", *names], rows)


def plot_curves(
    scores: dict[str, list[float]], names: Sequence[str], threshold: float, file: Path
) -> None:
    """Recall against false alarms as PNG, the default threshold marked."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4.5), layout="constrained")
    grid = np.linspace(0.02, 0.99, 98)
    unsafe = np.asarray(scores["unsafe"])
    for name in names:
        harmless = np.asarray(scores[name])
        x = [100 * float((harmless >= t).mean()) for t in grid]
        y = [100 * float((unsafe >= t).mean()) for t in grid]
        (line,) = axes.plot(x, y, label=name)
        axes.plot(
            100 * float((harmless >= threshold).mean()), 100 * float((unsafe >= threshold).mean()),
            "o", color=line.get_color(),
        )  # fmt: skip
    axes.set(xlabel="harmless, flagged (%)", ylabel="unsafe, flagged (%)", xlim=(0, 30),
             ylim=(60, 100))  # fmt: skip
    axes.legend(frameon=False, title=f"dot: threshold {threshold:g}")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110, metadata={"Software": None})
    plt.close(figure)


def own_section(bench: Bench) -> str:
    """Prompts of our own: languages, tags, acts without a hard word, everyday words."""
    data = json.loads(OWN[bench.args.part].read_text(encoding="utf-8"))
    sets = {**data["languages"], **{name: data[name] for name in ("tags", "acts", "everyday")}}
    sets["all languages"] = {
        side: [text for lists in data["languages"].values() for text in lists[side]]
        for side in ("harmful", "harmless")
    }
    return table(
        ["prompts", "of each kind", "harmful flagged", "harmless flagged"],
        [
            [
                name,
                f"{len(of['harmful'])}, {len(of['harmless'])}",
                *(share(bench.flagged(of[k])) for k in ("harmful", "harmless")),
            ]
            for name, of in sets.items()
        ],
    )


def robustness_section(bench: Bench, count: int = 200) -> str:
    """What stays flagged when the words that gave a prompt away are hidden, denied or padded."""
    flagged = [v for v in bench.judge(p.unsafe for p in bench.pairs) if v.context and v.spans]
    flagged = random.Random(2).sample(flagged, min(count, len(flagged)))
    captions = bench.harmless["captions"]
    captions = random.Random(3).sample(captions, min(count, len(captions)))
    rows: list[list[object]] = []
    for name, way in OBFUSCATIONS.items():
        rng = random.Random(4)
        hidden = [obfuscate(v.prompt, v.spans, way, rng) for v in flagged]
        spoiled = [_hide_some(way, caption, rng) for caption in captions]
        whole = [Span(0, len("bloody knife"), "", "")]
        example = obfuscate("bloody knife", whole, way, random.Random(4))
        rows.append([name, f"`{_visible(example)}`", share(bench.flagged(hidden)),
                     share(bench.flagged(spoiled))])  # fmt: skip
    glued = [_glue(v) for v in flagged]
    rows.append(["glued to the next word", "`bloodyknife`", share(bench.flagged(glued)), "-"])
    around: tuple[tuple[str, str, Callable[[str], str]], ...] = (
        ("harmless padding", "…, peaceful, serene, …", lambda p: p + HARMLESS_PADDING),
        ("in a movie", "… in a movie scene", lambda p: p.rstrip(" .") + " in a movie scene"),
        ("as a request", f"{GENERATE}…", lambda p: GENERATE + p),
    )
    for name, example, changed in around:
        rows.append([name, example, share(bench.flagged(changed(v.prompt) for v in flagged)), "-"])
    head = ["way", "example", "still flagged", "harmless flagged, two words hidden"]
    return table(head, rows)


def _glue(verdict: Verdict) -> str:
    """The prompt with its first risky word run together with what follows or precedes it."""
    span = verdict.spans[0]
    before, after = verdict.prompt[: span.end], verdict.prompt[span.end :]
    if after[:1] == " " and after[1:2].isalpha():
        return before + after[1:]
    start = verdict.prompt[: span.start].rstrip(" ")
    return start + verdict.prompt[span.start :]


def _hide_some(way: Callable[[str, random.Random], str], text: str, rng: random.Random) -> str:
    """``text`` with up to two of its longer words hidden."""
    words = text.split()
    able = [i for i, word in enumerate(words) if word.isalpha() and len(word) > 3]
    for index in rng.sample(able, min(2, len(able))):
        words[index] = way(words[index], rng)
    return " ".join(words)


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() else "·" for c in text)


def i2p_section(bench: Bench) -> str:
    """Share of I2P flagged, by the published share of inappropriate pictures."""
    rows = read_csv(bench.file("i2p"), ("prompt", "inappropriate_pct"))
    flagged = bench.flagged(row["prompt"] for row in rows)
    percent = [float(row["inappropriate_pct"]) for row in rows]
    out: list[list[object]] = []
    for low, high in ((0, 25), (25, 50), (50, 75), (75, 101), (0, 101)):
        chosen = [f for f, p in zip(flagged, percent, strict=True) if low <= p < high]
        name = "all" if (low, high) == (0, 101) else f"{low} to {min(high, 100)} %"
        out.append([name, len(chosen), share(chosen)])
    return table(["inappropriate pictures, published", "prompts", "flagged"], out)


def rewrites_section(bench: Bench, count: int = 400) -> str:
    """What the safe stream sees of flagged prompts, and how it is read by the same detectors."""
    chooser = Chooser(ContextLibrary(), {d.name: d for d in bench.policy.detectors})
    prompts = random.Random(6).sample([p.unsafe for p in bench.pairs], min(count, len(bench.pairs)))
    rows: list[list[object]] = []
    data = json.loads(OWN[bench.args.part].read_text(encoding="utf-8"))
    for name, texts in (
        ("pairs", prompts),
        ("acts and gore", data["acts"]["harmful"]),
        ("tags", data["tags"]["harmful"]),
    ):
        choices = [chooser.choose(text, bench.plan) for text in texts]
        done = [c.conditioning for c in choices if c.conditioning is not None]
        again = bench.flagged(one.text for one in done if one.strategy != "away")
        rows.append([
            name, len(done),
            share(one.strategy == "counterpart" for one in done),
            share(REWRITTEN_TWICE in one.note for one in done),
            share(REWRITTEN_IN_VAIN in one.note for one in done),
            share(again) if again else "-",
        ])  # fmt: skip
    head = ["flagged", "number", "rewritten", "twice", "context's text instead", "flagged again"]
    return table(head, rows)


def speed_section(bench: Bench) -> str:
    """Time per prompt, everything included, of the processor: on the clock one may wait longer."""
    prompts = [p.unsafe for p in bench.pairs] + bench.harmless["people's own prompts"]
    prompts = random.Random(5).sample(prompts, min(1500, len(prompts)))
    policy = AutoPolicy()
    for prompt in prompts[:50]:
        policy.judge(prompt)
    each: list[float] = []
    for prompt in prompts:
        begin = time.thread_time()
        policy.judge(prompt)
        each.append(1000 * (time.thread_time() - begin))
    median, p99 = np.percentile(each, [50, 99])
    return f"{len(each)} prompts: median {median:.2f} ms, 99th percentile {p99:.2f} ms"


SECTIONS: dict[str, Callable[[Bench], str]] = {
    "flags": flags_section,
    "pairs": pairs_section,
    "curve": curve_section,
    "own": own_section,
    "robustness": robustness_section,
    "i2p": i2p_section,
    "rewrites": rewrites_section,
    "speed": speed_section,
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m safegen.lab.text.evaluate")
    parser.add_argument("section", choices=[*SECTIONS, "all"])
    arguments(parser, required=False)
    parser.add_argument("--i2p", type=Path, help="CSV: prompt, inappropriate_pct")
    parser.add_argument(
        "--elsewhere", type=Path, nargs="*", default=[], help="harmless prompts of other sets: CSV"
    )
    parser.add_argument(
        "--harmful", type=Path, nargs="*", default=[], help="harmful prompts of other sets: CSV"
    )
    parser.add_argument("--part", choices=("calibration", "test"), default="calibration")
    parser.add_argument("--threshold", type=float, help="another than the default")
    parser.add_argument("--plot", type=Path, help="where the curves go (PNG)")
    args = parser.parse_args(argv)
    bench = Bench(args)
    try:
        for name in SECTIONS if args.section == "all" else [args.section]:
            print(f"## {name} ({args.part})\n\n{SECTIONS[name](bench)}\n", flush=True)
    except SafeGenError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
