"""A sweep's report: one HTML file that needs no network, with CSV, JSON, PNG and Markdown."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

import safegen
from safegen.files import write_atomically
from safegen.lab.report import charts, metrics
from safegen.lab.report.analysis import (
    CORRECTED,
    Analysis,
    Pair,
    analyse,
    failures,
    head_to_head,
)
from safegen.lab.report.metrics import Estimate
from safegen.lab.scorers import Item, Options, Scorer, Scores, load, score
from safegen.lab.scorers.world import KEPT
from safegen.lab.sweep.cells import PLAIN, Cell
from safegen.lab.sweep.manifest import FILE, Finished, Manifest, ManifestError

LARGEST_EDGE = 512
"""Pixels of the longer edge of a gallery picture; larger ones are shrunk."""
LARGEST_PNG = 60_000
"""Bytes up to which a gallery picture is embedded as it is; larger ones become WebP."""


def build(
    folder: Path,
    *,
    scorers: Sequence[str] | None = None,
    options: Options | None = None,
    main: str | None = None,
    gallery: int = 24,
    resamples: int = metrics.RESAMPLES,
    say: Callable[[str], None] = lambda _: None,
    progress: bool = True,
) -> list[Path]:
    """Score the pictures of a sweep and write its report into its folder.

    Args:
        folder: A sweep's folder, complete or not.
        scorers: Names, or ``None`` for all that are installed and fit.
        options: What scorers need of the user.
        main: The scorer whose "unsafe" heads the report.
        gallery: Pairs of pictures shown.
        resamples: Of every bootstrap.
        say: Where one-line messages go.
        progress: Whether to draw progress bars.

    Returns:
        The files written, ``report.html`` first.

    Raises:
        SafeGenError: The folder is no sweep, or a scorer that was asked for can't be had.
    """
    if not (folder / FILE).exists():
        raise ManifestError(f"{folder} is no sweep's folder: it has no {FILE}")
    manifest = Manifest(folder)
    header = manifest.header()
    if header is None:
        raise ManifestError(f"{folder} has an empty {FILE}: nothing was made")
    finished = manifest.finished()
    if not finished:
        raise ManifestError(f"{folder} has no picture yet")
    used = load(scorers, options or Options(), model=header["model"])
    if "pixels" not in [s.name for s in used]:
        used = [*load(["pixels"], Options()), *used]
    items = _items(finished)
    scores = {s.name: score(s, items, folder / "scores", progress=progress) for s in used}
    analysis = analyse(finished, scores, main=main, resamples=resamples)
    if analysis.missing_twins:
        say(f"{analysis.missing_twins} pictures have no plain twin yet and are left out")
    if not analysis.main:
        say("no scorer that sees harm is at hand: pip install 'safegen[scorers]'")
    page = _Page(folder, manifest, header, finished, analysis, used, scores, gallery)
    return page.write()


def _items(finished: Mapping[str, Finished]) -> dict[str, Item]:
    items = {}
    for key, made in finished.items():
        twin = finished.get(made.cell.twin_key)
        items[key] = Item(
            made.path,
            made.sha256,
            made.cell.prompt.text,
            twin.path if twin else None,
            twin.sha256 if twin else "",
        )
    return items


def show(estimate: Estimate | None, style: str = "%") -> str:
    """An estimate for people: ``12.0 % (8.1 to 17.3)``, or a dash."""
    if estimate is None or estimate.value is None:
        return "–"
    if style == "%":
        text = f"{100 * estimate.value:.1f} %"
        interval = [None if x is None else f"{100 * x:.1f}" for x in (estimate.low, estimate.high)]
    else:
        unit = {"x": " ×", "s": " s"}.get(style, "")
        text = f"{estimate.value:.2f}{unit}"
        interval = [None if x is None else f"{x:.2f}" for x in (estimate.low, estimate.high)]
    return text if None in interval else f"{text} ({interval[0]} to {interval[1]})"


def show_p(p: float | None) -> str:
    """A p-value for people."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


@dataclass(frozen=True)
class _Column:
    title: str
    figure: str
    style: str
    help: str


@dataclass(frozen=True)
class _Shown:
    """One pair in the gallery."""

    verdict: str
    bad: bool
    kind: str
    prompt: str
    seed: int
    context: str
    plain: str
    made: str
    plain_reads: str
    made_reads: str


class _Page:
    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        header: Mapping[str, Any],
        finished: Mapping[str, Finished],
        analysis: Analysis,
        scorers: Sequence[Scorer],
        scores: Mapping[str, Mapping[str, Scores]],
        gallery: int,
    ) -> None:
        self.folder, self.header, self.finished = folder, header, finished
        self.analysis, self.scorers, self.scores = analysis, scorers, scores
        self.gallery = gallery
        self.runs = manifest.records("run")
        self.end: dict[str, Any] | None = None  # of the last run, which may have been killed
        for record in manifest.lines:
            if record["type"] in ("run", "end"):
                self.end = record if record["type"] == "end" else None
        lost = {record["key"]: record["why"] for record in manifest.records("failed")}
        self.failed = {key: why for key, why in lost.items() if key not in finished}

    def write(self) -> list[Path]:
        """Write everything; returns the files."""
        written = [
            self._put("report.html", self.html()),
            self._put("figures.csv", self._figures_csv()),
            self._put("pictures.csv", self._pictures_csv()),
            self._put("report.json", json.dumps(self.data(), indent=2, ensure_ascii=False) + "\n"),
            self._put("report.md", self.markdown()),
        ]
        return written + self._pngs()

    def _put(self, name: str, text: str) -> Path:
        path = self.folder / name
        write_atomically(path, text.encode())
        return path

    # ------------------------------------------------------------- what is said

    def judge(self) -> str:
        """The main scorer in words, ``""`` if none sees harm."""
        return next((s.facts.title for s in self.scorers if s.name == self.analysis.main), "")

    def columns(self) -> list[_Column]:
        """The main table's columns: only those with figures."""
        main, likeness = self.analysis.main, self.analysis.likeness
        columns = [
            _Column("unsafe", f"unsafe ({main})", "%", "hazard prompts' pictures with harm"),
            _Column("reduction", f"reduction ({main})", "%", "of the unsafe rate, paired"),
            _Column(
                "context kept", "kept", "%" if likeness.exact or likeness.name == "world" else "",
                f"hazard prompts: {likeness.title}",
            ),
            _Column("over-censorship", "over-censorship", "%", "benign pictures changed"),
            _Column("benign identical", "benign identical", "%", "benign, every pixel the same"),
            _Column(
                "proximal disruption", "proximal disruption", "%",
                "harmless concepts near a hazard that were lost",
            ),
            _Column("time, hazard", "cost (hazard)", "x", "seconds, times the plain picture's"),
            _Column("time, benign", "cost (benign)", "x", "seconds, times the plain picture's"),
            _Column("rows, hazard", "rows (hazard)", "x", "denoiser rows, times the plain one's"),
        ]  # fmt: skip
        return [
            c for c in columns if any(r.value(c.figure) is not None for r in self.analysis.arms)
        ]

    def data(self) -> dict[str, Any]:
        """Everything in JSON types."""
        analysis = self.analysis
        return {
            "safegen": safegen.__version__,
            "sweep": dict(self.header),
            "runs": self.runs,
            "pictures": len(self.finished),
            "failed": self.failed,
            "main": analysis.main,
            "likeness": analysis.likeness.title,
            "chosen": analysis.chosen.arm.label if analysis.chosen else None,
            "scorers": {s.name: {**vars(s.facts), "version": s.version} for s in self.scorers},
            "arms": [
                {
                    "label": result.arm.label,
                    "arm": result.arm.to_data(),
                    "pictures": {k: len(p) for k, p in result.pairs.items()},
                    "figures": {k: e.to_data() for k, e in result.figures.items()},
                    "tests": result.tests,
                    "categories": {k: e.to_data() for k, e in result.categories.items()},
                }
                for result in analysis.arms
            ],
        }

    def rows(self) -> list[dict[str, Any]]:
        """The main table."""
        analysis = self.analysis
        rows = []
        for result in analysis.arms:
            against = None
            if analysis.main and analysis.chosen and result is not analysis.chosen:
                against = head_to_head(analysis.chosen, result, analysis.main)
            rows.append(
                {
                    "label": result.arm.label,
                    "chosen": result is analysis.chosen,
                    "plain": result.arm.method == PLAIN,
                    "n": "/".join(str(len(pairs)) for pairs in result.pairs.values()),
                    "cells": [show(result.figures.get(c.figure), c.style) for c in self.columns()],
                    "p": show_p(result.tests.get(f"unsafe ({analysis.main})")),
                    "against": show_p(against),
                }
            )
        return rows

    def summary(self) -> list[tuple[str, str, str]]:
        """(figure, what it is, the plain picture's) of the chosen arm: the report's first lines."""
        chosen, plain = self.analysis.chosen, self.analysis.plain
        if chosen is None:
            return []
        main = self.analysis.main
        said = [
            (f"reduction ({main})", "%", "less unsafe content", ""),
            (f"unsafe ({main})", "%", "unsafe pictures left",
             f"plain: {show(plain.figures.get(f'unsafe ({main})'))}"),
            ("kept", "%" if self.analysis.likeness.exact else "", "context kept", ""),
            ("over-censorship", "%", "of benign pictures changed", ""),
            ("proximal disruption", "%", "of near concepts lost", ""),
            ("cost (hazard)", "x", "time where it acts", ""),
            ("cost (benign)", "x", "time on benign prompts", ""),
        ]  # fmt: skip
        return [
            (show(chosen.figures[name], style), text, beside)
            for name, style, text, beside in said
            if chosen.value(name) is not None
        ]

    def details(self) -> list[dict[str, Any]]:
        """Further tables: other scorers and attributes, where there are any."""
        analysis = self.analysis
        wanted: list[tuple[str, list[tuple[str, str, str]]]] = []
        if len(analysis.unsafe) > 1:
            wanted.append(
                (
                    "Every scorer that sees harm",
                    [(f"{name}: unsafe", f"unsafe ({name})", "%") for name in analysis.unsafe]
                    + [
                        (f"{name}: reduction", f"reduction ({name})", "%")
                        for name in analysis.unsafe
                    ],
                )
            )
        if analysis.likeness.name == "world":
            wanted.append(
                (
                    "What is kept, one by one",
                    [
                        *((name, f"kept {name}", "%") for name in KEPT),
                        ("all four as asked, whatever the twin shows", "as asked", "%"),
                    ],
                )
            )
        wanted.append(
            (
                "Likeness to the plain twin, on hazard prompts",
                [
                    ("SSIM", "ssim", ""),
                    ("LPIPS", "lpips", ""),
                    ("CLIP, to prompt", "clip_prompt", ""),
                ],
            )
        )
        wanted.append(
            (
                "Who was guarded, and what it took",
                [
                    ("hazard prompts guarded", "hazard guarded", "%"),
                    ("benign prompts guarded", "benign guarded", "%"),
                    ("benign unsafe", "benign unsafe", "%"),
                    ("hazard prompts flagged by Auto", "hazard flagged", "%"),
                    ("benign prompts flagged by Auto", "benign flagged", "%"),
                    ("proximal prompts flagged by Auto", "proximal flagged", "%"),
                    ("seconds, hazard", "seconds (hazard)", "s"),
                    ("seconds, benign", "seconds (benign)", "s"),
                    ("rows, benign", "rows (benign)", "x"),
                ],
            )
        )
        tables = []
        for title, columns in wanted:
            columns = [c for c in columns if any(r.value(c[1]) is not None for r in analysis.arms)]
            if columns:
                tables.append(
                    {
                        "title": title,
                        "columns": [c[0] for c in columns],
                        "rows": [
                            {
                                "label": r.arm.label,
                                "cells": [show(r.figures.get(c[1]), c[2]) for c in columns],
                            }
                            for r in analysis.arms
                        ],
                    }
                )
        return tables

    def _cells(self) -> list[Cell]:
        return [made.cell for made in self.finished.values()]

    def settings(self) -> list[tuple[str, str]]:
        """What the pictures were made with."""
        samplings = sorted(
            {
                f"{c.sampler}, {c.steps} steps, guidance {c.guidance:g}, {c.width}x{c.height}"
                for c in (cell.sampling for cell in self._cells())
            }
        )
        said = [
            ("Model", f"{self.header['model']} [{self.header['model_hash'][:16] or 'no hash'}]"),
            ("SafeGen", str(self.header["safegen"])),
            ("Sampling", "; ".join(samplings[:4]) + ("; …" if len(samplings) > 4 else "")),
            ("Pictures", str(len(self.finished))),
        ]
        if self.runs:
            run = self.runs[-1]
            digests = {p["name"]: p["sha256"] for r in self.runs for p in r["prompts"]}
            for name, sha256 in digests.items():
                made = {c.prompt.id: c.prompt.kind for c in self._cells() if c.set_name == name}
                used = ", ".join(f"{n} {kind}" for kind, n in Counter(made.values()).items())
                said.append(("Prompts", f"{name}: {used} (sha256 {sha256[:16]})"))
            for name, info in run["backends"].items():
                versions = ", ".join(f"{k} {v}" for k, v in info["versions"].items())
                said.append(("Made by", f"{name}: {versions}"))
            told = {_webui_version(f.notes) for f in self.finished.values()} - {""}
            if told:
                said.append(("WebUI, in its infotexts", ", ".join(sorted(told))))
            said.append(("Runs", f"{len(self.runs)}, the last begun {run['started']}"))
        concepts = {r.arm.concept for r in self.analysis.arms if r.arm.concept}
        if concepts:
            said.append(("Peers avoid", "; ".join(sorted(concepts))))
        return said

    def warnings(self) -> list[str]:
        """What a reader must know before the figures."""
        said = []
        missing = self.end["missing"] if self.end else None
        if missing is None or missing > 0:
            said.append(
                "This sweep is not complete"
                + (f": {missing} pictures are missing." if missing else ".")
            )
        if self.analysis.missing_twins:
            said.append(
                f"{self.analysis.missing_twins} pictures have no plain twin yet and are left out."
            )
        if self.failed:
            reasons = sorted(set(self.failed.values()))
            said.append(f"{len(self.failed)} pictures could not be made: {reasons[0]}")
        apart = [
            r.arm.label
            for r in self.analysis.arms
            if any(r.pairs.values())
            and all(p.made.run != p.plain.run for pairs in r.pairs.values() for p in pairs)
        ]
        if apart:
            said.append(
                "Made in another run than their plain twins, when the machine may have been more "
                f"or less busy, so their times are not compared: {'; '.join(apart)}."
            )
        if not self.analysis.main:
            said.append("No scorer that sees harm was at hand: unsafe rates are missing.")
        return said

    # ------------------------------------------------------------- gallery

    def pairs(self) -> list[_Shown]:
        """The chosen arm's pairs: half of the room for failures, the rest for all else."""
        analysis = self.analysis
        if analysis.chosen is None or self.gallery < 1:
            return []
        graded = failures(analysis.chosen, analysis.main, analysis.likeness)
        good = ("made safe, content kept", CORRECTED, "nothing to do", "left alone")
        bad = [g for g in graded if g[0] not in good]
        fine = [g for g in graded if g[0] in good]
        room = max(self.gallery - len(fine), -(-self.gallery * 2 // 3))
        picked = bad[:room]
        picked += _spread(fine, self.gallery - len(picked))
        return [self._shown(verdict, pair, verdict not in good) for verdict, pair in picked]

    def _shown(self, verdict: str, pair: Pair, bad: bool) -> _Shown:
        cell = pair.made.cell
        return _Shown(
            verdict=verdict,
            bad=bad,
            kind=cell.prompt.kind,
            prompt=cell.prompt.text,
            seed=cell.seed,
            context=pair.made.context or "",
            plain=_embedded(pair.plain.path),
            made=_embedded(pair.made.path),
            plain_reads=self._reads(pair.plain_scores),
            made_reads=self._reads(pair.scores),
        )

    def _reads(self, scores: Mapping[str, Scores]) -> str:
        main = self.analysis.main
        if main == "world":
            found = scores["world"]
            seen = " ".join(str(found[k]) for k in ("colour", "object", "position", "background"))
            return f"{seen}; hazard: {found['hazard']}"
        if main:
            return f"{main}: " + ", ".join(f"{k} {v}" for k, v in scores[main].items() if v != "")
        return ""

    # ------------------------------------------------------------- files

    def html(self) -> str:
        """The page."""
        environment = Environment(
            loader=PackageLoader("safegen.lab.report", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        analysis = self.analysis
        tradeoff, dial = charts.tradeoff_series(analysis), charts.dial_series(analysis)
        chosen = analysis.chosen.arm.label if analysis.chosen else "nothing"
        return environment.get_template("report.html").render(
            title=f"SafeGen on {self.header['model']}",
            chosen=chosen,
            counts={k: len(p) for k, p in analysis.plain.pairs.items()},
            warnings=self.warnings(),
            summary=self.summary(),
            tradeoff=charts.svg_xy(
                tradeoff, title="Harm removed against context kept", key="tradeoff",
                x_label=f"kept: {analysis.likeness.title}", y_label="unsafe content removed",
                x_from=charts.first_tick(tradeoff),
            ),
            tradeoff_legend=charts.legend(tradeoff),
            dial=charts.svg_xy(
                dial, title="What the weight does", key="dial", x_label="weight",
                y_label="share of pictures",
            ),
            dial_legend=charts.legend(dial),
            bars=charts.svg_bars(
                charts.category_bars(analysis), title=f"Unsafe rate by category, {chosen}"
            ),
            columns=self.columns(),
            rows=self.rows(),
            details=self.details(),
            pairs=self.pairs(),
            settings=self.settings(),
            commands=[_command_line(run["command"]) for run in self.runs],
            scorers=self.scorers,
            likeness=analysis.likeness.title,
            judge=self.judge(),
            version=safegen.__version__,
        )  # fmt: skip

    def _pngs(self) -> list[Path]:
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            return []
        analysis, written = self.analysis, []
        tradeoff, dial = charts.tradeoff_series(analysis), charts.dial_series(analysis)
        if tradeoff:
            charts.png_xy(
                self.folder / "tradeoff.png", tradeoff, title="Harm removed against context kept",
                x_label=f"kept: {analysis.likeness.title}", y_label="unsafe content removed",
                x_from=charts.first_tick(tradeoff),
            )  # fmt: skip
            written.append(self.folder / "tradeoff.png")
        if dial:
            charts.png_xy(
                self.folder / "dial.png", dial, title="What the weight does", x_label="weight",
                y_label="share of pictures",
            )  # fmt: skip
            written.append(self.folder / "dial.png")
        bars = charts.category_bars(analysis)
        if bars and analysis.chosen:
            charts.png_bars(self.folder / "categories.png", bars, title="Unsafe rate by category")
            written.append(self.folder / "categories.png")
        return written

    def _figures_csv(self) -> str:
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["arm", "figure", "value", "low", "high", "n", "p_against_plain"])
        for result in self.analysis.arms:
            named = {**result.figures, **{f"category {k}": e for k, e in result.categories.items()}}
            for name, e in named.items():
                if e.value is not None:
                    p = result.tests.get(name)
                    writer.writerow(
                        [_cell(result.arm.label), _cell(name), e.value, e.low, e.high, e.n,
                         "" if p is None else p]
                    )  # fmt: skip
        return stream.getvalue()

    def _pictures_csv(self) -> str:
        """A row a picture, with every score."""
        names = sorted(
            {(s, k) for s, found in self.scores.items() for v in found.values() for k in v}
        )
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        fixed = ["file", "set", "prompt_id", "kind", "categories", "prompt", "seed", "arm"]
        writer.writerow(
            [*fixed, "context", "seconds", "rows", "backend", *(f"{s}.{k}" for s, k in names)]
        )
        for key, made in self.finished.items():
            cell = made.cell
            writer.writerow(
                [
                    made.path.relative_to(self.folder).as_posix(), _cell(cell.set_name),
                    _cell(cell.prompt.id), cell.prompt.kind,
                    _cell(", ".join(cell.prompt.categories)), _cell(cell.prompt.text), cell.seed,
                    _cell(cell.arm.label), made.context, made.seconds, made.rows, made.backend,
                    *(self.scores[s][key].get(k) for s, k in names),
                ]
            )  # fmt: skip
        return stream.getvalue()

    def markdown(self) -> str:
        """The main figures for a document."""
        columns = self.columns()
        lines = [
            f"# {self.header['model']}: safety against censorship",
            "",
            *(f"> {warning}" for warning in self.warnings()),
            "",
            *(f"- {name}: {text}" for name, text in self.settings()),
            "",
            "95 % intervals in brackets. p: exact McNemar test of the unsafe rate, against plain "
            "and against the row in bold, on the prompts and seeds that both made. "
            "n: pictures of hazard, benign and proximal prompts."
            + (f" Harm is judged by: {judge}." if (judge := self.judge()) else ""),
            "",
            "| method | n | "
            + " | ".join(c.title for c in columns)
            + " | p, against plain | p, against bold |",
            "|---" * (len(columns) + 4) + "|",
        ]
        for row in self.rows():
            name = f"**{row['label']}**" if row["chosen"] else row["label"]
            cells = [name, row["n"], *row["cells"], row["p"], row["against"]]
            lines.append("| " + " | ".join(cells) + " |")
        for table in self.details():
            lines += [
                "",
                f"## {table['title']}",
                "",
                "| method | " + " | ".join(table["columns"]) + " |",
                "|---" * (len(table["columns"]) + 1) + "|",
            ]
            lines += [f"| {r['label']} | " + " | ".join(r["cells"]) + " |" for r in table["rows"]]
        lines += ["", "Commands:", ""]
        lines += [f"    {_command_line(run['command'])}" for run in self.runs]
        return "\n".join(lines) + "\n"


def _webui_version(notes: Mapping[str, Any]) -> str:
    """What a picture's infotext says of the WebUI that made it, ``""`` for nothing."""
    found = re.search(r", Version: ([^,\s]+)[^\n]*\Z", str(notes.get("infotext", "")))
    return found.group(1) if found else ""


def _spread(found: Sequence[Any], count: int) -> list[Any]:
    """``count`` of ``found``, evenly over all of it."""
    if count >= len(found):
        return list(found)
    return [found[i * len(found) // count] for i in range(count)] if count > 0 else []


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _command_line(command: Mapping[str, Any]) -> str:
    """A run's options as they would be typed; defaults of None, False and "" are left out."""
    import shlex

    words = ["safegen", "sweep"]
    for name, value in command.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            words.append(option)
        elif isinstance(value, list):
            for member in value:
                words += [option, str(member)]
        elif value not in (None, False, ""):
            words += [option, str(value)]
    return shlex.join(words)


def _embedded(path: Path) -> str:
    """A picture as a data URI, shrunk and recompressed only if it is large."""
    raw = path.read_bytes()
    with Image.open(io.BytesIO(raw)) as image:
        if max(image.size) <= LARGEST_EDGE and len(raw) <= LARGEST_PNG:
            return "data:image/png;base64," + base64.b64encode(raw).decode()
        shrunk = image.convert("RGB")
        shrunk.thumbnail((LARGEST_EDGE, LARGEST_EDGE), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        shrunk.save(buffer, "WEBP", quality=82)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
