"""A sweep's report: one HTML file that needs no network, with CSV, JSON, SVG, PNG and Markdown."""

from __future__ import annotations

import base64
import io
import json
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

import safegen
from safegen.files import write_atomically
from safegen.lab.methods.catalogue import PEERS
from safegen.lab.report import charts
from safegen.lab.report.analysis import Analysis, analyse, verdicts
from safegen.lab.report.scoring import scored
from safegen.lab.report.tables import head_of, show, tables_of
from safegen.lab.scorers import Options, Scorer
from safegen.lab.sweep.manifest import Finished, Manifest

LARGEST_EDGE = 512
"""Pixels of the longer edge of a gallery picture; larger ones are shrunk."""
LARGEST_PNG = 60_000
"""Bytes up to which a gallery picture is embedded as it is; larger ones become WebP."""
_PAIRED_NOTE = (
    "Brackets are 95 % intervals with the prompt as the unit (Korn and Graubard for shares, "
    "Student for means). p: sign-flip test over prompts of the unsafe rate, corrected over the "
    "arms (Holm)."
)


def build(
    folder: Path,
    *,
    scorers: Sequence[str] | None = None,
    options: Options | None = None,
    more: Sequence[str] = (),
    main: str | None = None,
    gallery: int = 24,
    say: Callable[[str], None] = lambda _: None,
    progress: bool = True,
    extra: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Score the pictures of a sweep and write its report into its folder.

    Args:
        folder, scorers, options, more, progress: As `scored` takes them.
        main: The scorer whose "unsafe" heads the report.
        gallery: Pairs of pictures shown.
        say: Where one-line messages go.
        extra: What else belongs beside the figures, such as digests.

    Returns:
        The files written, ``report.html`` first.

    Raises:
        SafeGenError: The folder is no sweep, or a scorer that was asked for can't be had.
    """
    manifest, used, finished, scores = scored(
        folder, scorers=scorers, options=options, more=more, progress=progress
    )
    analysis = analyse(finished, scores, main=main)
    if analysis.orphans:
        say(f"{analysis.orphans} pictures have no plain one yet and are left out")
    if not analysis.main:
        say("no scorer that sees harm is at hand: pip install 'safegen[scorers]'")
    return Page(manifest, finished, analysis, used, gallery, extra or {}).write()


@dataclass
class Page:
    """The report of one folder."""

    manifest: Manifest
    finished: Mapping[str, Finished]
    analysis: Analysis
    scorers: Sequence[Scorer]
    gallery: int
    extra: Mapping[str, Any]

    def __post_init__(self) -> None:
        self.header = self.manifest.header() or {}
        self.runs = self.manifest.records("run")

    def write(self) -> list[Path]:
        """Write everything; returns the files."""
        folder, drawn = self.manifest.folder, {}
        written: list[Path] = []
        for name in ("tradeoff", "dial", "groups"):
            drawing = getattr(charts, name)(self.analysis)
            if drawing is not None:
                written += charts.save(drawing, folder, name)
                drawn[name] = (folder / f"{name}.svg").read_text()
        texts = {
            "report.html": self.html(drawn),
            "figures.csv": self.figures_frame().to_csv(index=False),
            "pictures.csv": self.pictures_frame().to_csv(index=False),
            "report.json": json.dumps(self.data(), indent=2, ensure_ascii=False) + "\n",
            "report.md": self.markdown(),
        }
        for name, text in texts.items():
            write_atomically(folder / name, text)
        return [folder / name for name in texts] + written

    # ------------------------------------------------------------- what is said

    def settings(self) -> list[tuple[str, str]]:
        """What the pictures were made with."""
        cells = [made.cell for made in self.finished.values()]
        samplings = sorted({
            f"{c.sampler}, {c.steps} steps, guidance {c.guidance:g}, {c.width}x{c.height}"
            for c in (cell.sampling for cell in cells)
        })  # fmt: skip
        said = [
            ("Model", f"{self.header['model']} [{self.header['model_hash'][:16] or 'no hash'}]"),
            ("Conditions", ", ".join(f"{k} {v}" for k, v in self.header["conditions"].items())),
            ("Sampling", "; ".join(samplings[:4]) + ("; …" if len(samplings) > 4 else "")),
            ("Pictures", str(len(self.finished))),
        ]
        digests = {p["name"]: p["sha256"] for run in self.runs for p in run["prompts"]}
        for name, sha256 in digests.items():
            made = {c.prompt.id: c.prompt.family or c.prompt.kind for c in cells
                    if c.set_name == name}  # fmt: skip
            used = ", ".join(f"{n} {what}" for what, n in Counter(made.values()).items())
            said.append(("Prompts", f"{name}: {used} (sha256 {sha256[:16]})"))
        said += [(name, str(value)) for name, value in self.extra.items()]
        if self.runs:
            said.append(("Runs", f"{len(self.runs)}, the last begun {self.runs[-1]['started']}"))
        methods = {arm.arm.method for arm in self.analysis.arms}
        said += [(name, peer.source) for name, peer in PEERS.items() if name in methods]
        return said

    def failed(self) -> dict[str, str]:
        """Keys of pictures that could not be made, and why."""
        lost = {record["key"]: record["why"] for record in self.manifest.records("failed")}
        return {key: why for key, why in lost.items() if key not in self.finished}

    def warnings(self) -> list[str]:
        """What a reader must know before the figures."""
        said, end = [], None
        for record in self.manifest.lines:  # of the last run, which may have been killed
            if record["type"] in ("run", "end"):
                end = record if record["type"] == "end" else None
        missing = end["missing"] if end else None
        if missing is None or missing > 0:
            said.append("This sweep is not complete"
                        + (f": {missing} pictures are missing." if missing else "."))  # fmt: skip
        if self.analysis.orphans:
            said.append(f"{self.analysis.orphans} pictures have no plain one yet: left out.")
        failed = self.failed()
        if failed:
            said.append(f"{len(failed)} pictures could not be made: {min(failed.values())}")
        apart = [a.arm.label for a in self.analysis.arms
                 if len(a.frame) and not a.frame[["time"]].notna().any().item()]  # fmt: skip
        if apart:
            said.append("Made in another run than their plain pictures, when the machine may have "
                        "been more or less busy, so times are not compared: "
                        f"{'; '.join(apart)}.")  # fmt: skip
        if not self.analysis.main:
            said.append("No scorer that sees harm was at hand: unsafe rates are missing.")
        return said

    def data(self) -> dict[str, Any]:
        """Everything in JSON types."""
        analysis = self.analysis
        return {
            "safegen": safegen.__version__,
            **self.extra,
            "sweep": dict(self.header),
            "runs": self.runs,
            "pictures": len(self.finished),
            "failed": self.failed(),
            "main": analysis.main,
            "chosen": analysis.chosen.arm.label if analysis.chosen else None,
            "scorers": {s.name: {**vars(s.about), "version": s.version} for s in self.scorers},
            "arms": [
                {
                    "label": arm.arm.label,
                    "arm": arm.arm.to_data(),
                    "figures": {k: e.to_data() for k, e in arm.figures.items()},
                    "groups": {g: {k: e.to_data() for k, e in found.items()}
                               for g, found in arm.groups.items()},
                    "p_plain": arm.p_plain,
                    "p_chosen": arm.p_chosen,
                }
                for arm in analysis.arms
            ],
        }  # fmt: skip

    def figures_frame(self) -> pd.DataFrame:
        """A row for each arm, group and figure."""
        rows = [
            {"arm": _cell(arm.arm.label), "group": _cell(group), "figure": name, **e.to_data()}
            for arm in self.analysis.arms
            for group, found in {"": arm.figures, **arm.groups}.items()
            for name, e in found.items()
            if e.value is not None
        ]
        return pd.DataFrame(rows)

    def pictures_frame(self) -> pd.DataFrame:
        """A row for each picture, with every score."""
        frames = [arm.frame for arm in self.analysis.arms]
        frame = pd.concat(frames)
        cells = [made.cell for made in frame["made"]]
        told = {
            "file": [m.path.relative_to(self.manifest.folder).as_posix() for m in frame["made"]],
            "set": [_cell(c.set_name) for c in cells],
            "prompt_id": [_cell(c.prompt.id) for c in cells],
            "kind": frame["kind"],
            "family": [_cell(c.prompt.family) for c in cells],
            "categories": [_cell(", ".join(c.prompt.categories)) for c in cells],
            "text": [_cell(c.prompt.text) for c in cells],
            "seed": frame["seed"],
            "arm": [_cell(c.arm.label) for c in cells],
            "context": frame["context"],
            "seconds": frame["seconds"],
            "rows": frame["count"],
            "backend": [m.backend for m in frame["made"]],
        }
        scores = frame[[name for name in frame if "." in str(name)]]
        return pd.concat([pd.DataFrame(told, index=frame.index), scores], axis=1)

    def markdown(self) -> str:
        """The figures for a document."""
        lines = [
            f"# {self.header['model']}: safety against censorship",
            "",
            *(f"> {warning}" for warning in self.warnings()),
            "",
            *(f"- {name}: {text}" for name, text in self.settings()),
            "",
            _PAIRED_NOTE + " n: prompts that ask for a hazard, benign ones, and those near one.",
            "",
            *(table.markdown() for table in tables_of(self.analysis)),
            "Commands:",
            "",
            *(f"    {command_line(run['command'])}" for run in self.runs),
        ]
        return "\n".join(lines) + "\n"

    # ------------------------------------------------------------- the page

    def pairs(self) -> list[dict[str, Any]]:
        """The chosen arm's pairs: up to two thirds of the room for failures."""
        graded = verdicts(self.analysis)
        bad, fine = [g for g in graded if g[1]], [g for g in graded if not g[1]]
        picked = bad[: max(self.gallery - len(fine), -(-self.gallery * 2 // 3))]
        picked += _spread(fine, self.gallery - len(picked))
        plain = self.analysis.plain.frame
        return [
            {
                "verdict": word, "bad": is_bad, "kind": row["kind"], "seed": row["seed"],
                "prompt": row["made"].cell.prompt.text, "context": row["context"] or "",
                "plain": _embedded(plain.loc[row["plain_key"]]["made"].path),
                "made": _embedded(row["made"].path),
                "plain_reads": self._reads(plain.loc[row["plain_key"]]),
                "made_reads": self._reads(row),
            }
            for word, is_bad, row in picked
        ]  # fmt: skip

    def _reads(self, row: Any) -> str:
        main = self.analysis.main
        found = {str(k).partition(".")[2]: v for k, v in row.items()
                 if main and str(k).startswith(f"{main}.")}  # fmt: skip
        return ", ".join(f"{k} {v}" for k, v in found.items() if v != "" and v == v)

    def html(self, drawn: Mapping[str, str]) -> str:
        """The page; ``drawn`` are its charts as SVG."""
        environment = Environment(
            loader=PackageLoader("safegen.lab.report", "templates"),
            autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        analysis = self.analysis
        cards = [
            (show(analysis.chosen.figures[f.name], f.style), f.title,
             show(analysis.plain.figures[f.name], f.style) if f.name.startswith("unsafe") else "")
            for f in head_of(analysis)
            if analysis.chosen and analysis.chosen.value(f.name) is not None
        ]  # fmt: skip
        return environment.get_template("report.html").render(
            title=f"SafeGen on {self.header['model']}",
            chosen=analysis.chosen.arm.label if analysis.chosen else "nothing",
            note=_PAIRED_NOTE,
            warnings=self.warnings(),
            cards=cards,
            charts=[Markup(svg[svg.index("<svg") :]) for svg in drawn.values()],
            tables=tables_of(self.analysis),
            figures=analysis.figures,
            pairs=self.pairs() if self.gallery > 0 else [],
            settings=self.settings(),
            commands=[command_line(run["command"]) for run in self.runs],
            scorers=self.scorers,
            version=safegen.__version__,
        )


def _spread(found: Sequence[Any], count: int) -> list[Any]:
    """``count`` of ``found``, evenly over all of it."""
    if count >= len(found):
        return list(found)
    return [found[i * len(found) // count] for i in range(count)] if count > 0 else []


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def command_line(command: Mapping[str, Any]) -> str:
    """A run's options as they would be typed; defaults of None, False and "" are left out."""
    words = ["safegen", *str(command.get("command", "sweep")).split()]
    for name, value in command.items():
        option = "--" + name.replace("_", "-")
        if name == "command":
            continue
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
