"""A report's tables, for page, document and terminal alike."""

from __future__ import annotations

from dataclasses import dataclass

from safegen.lab.report.analysis import Analysis, Figure
from safegen.lab.report.statistics import Estimate

HEAD = (
    "disagree", "strength", "kept", "kept either", "likeness", "asked", "ssim outside", "changed",
    "identical", "near lost", "rows", "benign rows", "time", "benign time",
)  # fmt: skip
"""The main table's figures, after the unsafe rates."""


def show(estimate: Estimate | None, style: str = "%") -> str:
    """An estimate for people: ``12.0 % (8.1 to 17.3)``, or a dash."""
    if estimate is None or estimate.value is None:
        return "–"
    scale, digits, unit = {"%": (100, 1, " %"), "x": (1, 2, " ×")}.get(style, (1, 2, ""))
    text = f"{scale * estimate.value:.{digits}f}{unit}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({scale * estimate.low:.{digits}f} to {scale * estimate.high:.{digits}f})"


def show_p(p: float | None) -> str:
    """A p-value for people."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


@dataclass(frozen=True)
class Table:
    """A table for page and document alike: a heading for each column, a row for each arm."""

    title: str
    columns: tuple[str, ...]
    helps: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bold: int | None = None

    def markdown(self) -> str:
        """The table for a document."""
        lines = ["| " + " | ".join(self.columns) + " |", "|---" * len(self.columns) + "|"]
        for i, row in enumerate(self.rows):
            first = f"**{row[0]}**" if i == self.bold else row[0]
            lines.append("| " + " | ".join((first, *row[1:])) + " |")
        return "\n".join([f"## {self.title}", "", *lines, ""])


def head_of(analysis: Analysis) -> list[Figure]:
    """The main table's figures, as far as there are any."""
    names = [f"unsafe {name}" for name in analysis.unsafe] + list(HEAD)
    found = {figure.name: figure for figure in analysis.figures}
    return [
        found[n] for n in names
        if n in found and any(arm.value(n) is not None for arm in analysis.arms)
    ]  # fmt: skip


def tables_of(analysis: Analysis) -> list[Table]:
    """The main table, the other figures, and those of each kind of prompt."""
    bold = analysis.arms.index(analysis.chosen) if analysis.chosen else None
    head = head_of(analysis)
    rows = []
    for arm in analysis.arms:
        n = "/".join(str(arm.frame.loc[arm.frame["kind"] == k, "prompt"].nunique())
                     for k in ("hazard", "benign", "proximal"))  # fmt: skip
        cells = [show(arm.figures.get(f.name), f.style) for f in head]
        rows.append((arm.arm.label, n, *cells, show_p(arm.p_plain), show_p(arm.p_chosen)))
    found = [
        Table(
            "All figures",
            ("method", "n", *(f.title for f in head), "p, against plain", "p, against bold"),
            ("", "prompts: hazard, benign, near a hazard", *(f.help for f in head),
             "sign-flip test, Holm", "sign-flip test, Holm"),
            tuple(rows), bold,
        )
    ]  # fmt: skip
    rest = [f for f in analysis.figures if f not in head]
    rest = [f for f in rest if any(arm.value(f.name) is not None for arm in analysis.arms)]
    if rest:
        found.append(Table(
            "More figures", ("method", *(f.title for f in rest)), ("", *(f.help for f in rest)),
            tuple((a.arm.label, *(show(a.figures.get(f.name), f.style) for f in rest))
                  for a in analysis.arms), bold,
        ))  # fmt: skip
    wanted = [f"unsafe {name}" for name in analysis.unsafe]
    wanted += ["strength", "kept", "kept either", "asked", "near lost", "changed"]
    for figure in (f for f in analysis.figures if f.name in wanted):
        table = _by_group(analysis, figure, bold)
        if table is not None:
            found.append(table)
    return found


def _by_group(analysis: Analysis, figure: Figure, bold: int | None) -> Table | None:
    arms = analysis.arms
    groups = [
        g for g in analysis.groups
        if any(a.groups.get(g, {}).get(figure.name, Estimate()).value is not None for a in arms)
    ]  # fmt: skip
    if not groups:
        return None
    rows = tuple(
        (a.arm.label,
         *(show(a.groups.get(g, {}).get(figure.name), figure.style) for g in groups))
        for a in arms
    )  # fmt: skip
    title = f"{figure.title[0].upper()}{figure.title[1:]}, by kind of prompt"
    return Table(title, ("method", *groups), ("", *[figure.help] * len(groups)), rows, bold)
