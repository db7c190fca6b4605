"""Scorers: what is to be seen in a picture, by whose eyes.

Each scorer is optional and says what it is, under which licence, and what it can't see. Another
package adds one through the entry point group ``safegen.scorers``: a function that takes
`Options` and returns a `Scorer`.
"""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

from tqdm import tqdm

from safegen.errors import InvalidValue
from safegen.lab.scorers.base import (
    About,
    Item,
    NotAvailable,
    Options,
    Scorer,
    Scores,
)
from safegen.lab.sweep.manifest import JsonLines

__all__ = ["About", "Item", "NotAvailable", "Options", "Scorer", "Scores"]

GROUP = "safegen.scorers"
BUILT_IN = {
    "pixels": "safegen.lab.scorers.similarity:PixelScorer",
    "prompt": "safegen.lab.scorers.text:PromptScorer",
    "judge": "safegen.lab.scorers.judge:JudgeScorer",
    "judge2": "safegen.lab.scorers.judge:SecondJudgeScorer",
    "outside": "safegen.lab.scorers.judge:OutsideScorer",
    "nudenet": "safegen.lab.scorers.nsfw:NudeNetScorer",
    "opennsfw": "safegen.lab.scorers.nsfw:OpenNsfwScorer",
    "q16": "safegen.lab.scorers.clip:Q16Scorer",
    "clip": "safegen.lab.scorers.clip:ClipScorer",
    "ssim": "safegen.lab.scorers.similarity:SsimScorer",
    "lpips": "safegen.lab.scorers.similarity:LpipsScorer",
}
"""Name to where its class is; looked up only when it is wanted."""
_PHOTOS = ("nudenet", "opennsfw")
"""Trained on photographs: on the embedded world's drawings they would say nothing."""
_BY_NAME_ONLY = ("lpips", "judge2")
"""LPIPS loads weights from the network the first time, so nobody gets it unasked. The second judge
is kept for the test split: what is tuned must not have seen it."""
_WORLD_ONLY = ("judge", "judge2", "outside")
BATCH = 32


def _makers() -> dict[str, Callable[[Options], Scorer]]:
    def maker(point: EntryPoint) -> Callable[[Options], Scorer]:
        return lambda options: cast("Scorer", point.load()(options))

    built_in = [EntryPoint(name, place, GROUP) for name, place in BUILT_IN.items()]
    points = {point.name: point for point in (*entry_points(group=GROUP), *built_in)}
    return {name: maker(points[name]) for name in dict.fromkeys((*BUILT_IN, *points))}


def load(names: Iterable[str] | None, options: Options, *, model: str = "") -> list[Scorer]:
    """The scorers called ``names``, or all that are installed and fit the model.

    Raises:
        InvalidValue: There is no scorer of that name.
        NotAvailable: A scorer that was asked for can't be loaded; says what it lacks.
    """
    makers = _makers()
    if names is not None:
        wanted = list(dict.fromkeys(names))
        for name in wanted:
            if name not in makers:
                raise InvalidValue("scorers", name, ", ".join(makers))
        return [makers[name](options) for name in wanted]
    is_world = model.startswith("safegen-world")
    found = []
    for name, make in makers.items():
        if name in _BY_NAME_ONLY or (name in _PHOTOS and is_world):
            continue
        if name in _WORLD_ONLY and not is_world:
            continue
        try:
            found.append(make(options))
        except NotAvailable:
            continue
    return found


def describe(options: Options) -> str:
    """Every scorer, whether it can be used here, and what is to be known of it."""
    lines = []
    for name, make in _makers().items():
        try:
            scorer = make(options)
        except NotAvailable as error:
            lines.append(f"{name}: not available: {error}")
            continue
        about = scorer.about
        lines.append(f"{name}: {about.title}")
        for label, text in (
            ("says", about.says),
            ("licence", about.licence),
            ("can't see", about.blind_to),
        ):
            lines += textwrap.wrap(
                f"{label}: {text}", 96, initial_indent="    ", subsequent_indent="        "
            )
    return "\n".join(lines)


def score(
    scorer: Scorer, items: Mapping[str, Item], folder: Path, *, progress: bool = True
) -> dict[str, Scores]:
    """Score ``items`` (by cell key), with what was scored before read from ``folder``.

    A score is kept under everything that it depends on: the scorer's version, the picture's and
    its plain picture's bytes, and the prompt.
    """
    folder.mkdir(parents=True, exist_ok=True)
    version = hashlib.sha256(scorer.version.encode()).hexdigest()[:8]
    store = JsonLines(folder / f"{scorer.name}-{version}.jsonl")
    store.repair()
    known: dict[str, Scores] = {r["of"]: r["scores"] for r in store}
    wanted = {key: _digest(item) for key, item in items.items()}
    missing = {digest: items[key] for key, digest in wanted.items() if digest not in known}
    todo = list(missing.items())
    with tqdm(
        total=len(todo), unit="img", desc=scorer.name, disable=not (progress and todo)
    ) as bar:
        for i in range(0, len(todo), BATCH):
            part = todo[i : i + BATCH]
            scored = scorer.score([item for _, item in part])
            found = {digest: s for (digest, _), s in zip(part, scored, strict=True)}
            known.update(found)
            store.append(*({"of": digest, "scores": s} for digest, s in found.items()))
            bar.update(len(part))
    return {key: known[digest] for key, digest in wanted.items()}


def _digest(item: Item) -> str:
    parts: Sequence[Any] = (item.sha256, item.plain_sha256, item.prompt)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
