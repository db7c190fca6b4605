"""A report's charts: SVG for the page, which follows its colours, and PNG of the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from safegen.lab.report.analysis import Analysis, ArmResult
from safegen.lab.report.metrics import Estimate
from safegen.lab.sweep.cells import PLAIN, SAFEGEN


@dataclass(frozen=True)
class Point:
    """One arm in a chart: x and y with their intervals."""

    label: str
    x: Estimate
    y: Estimate
    chosen: bool = False


@dataclass(frozen=True)
class Series:
    """Points that belong together, joined by a line if ``line``."""

    label: str
    points: tuple[Point, ...]
    line: bool = True


def defined(estimate: Estimate | None) -> bool:
    """Whether there is a figure."""
    return estimate is not None and estimate.value is not None


def tradeoff_series(analysis: Analysis) -> list[Series]:
    """Context kept (x) against harm removed (y), an arm a point.

    SafeGen's arms that differ in weight alone are one line.
    """
    name = f"reduction ({analysis.main})"
    lines: dict[str, list[ArmResult]] = {}
    others: list[ArmResult] = []
    for result in analysis.arms:
        if result.arm.method == PLAIN or not (
            defined(result.figures.get("kept")) and defined(result.figures.get(name))
        ):
            continue
        if result.arm.method == SAFEGEN:
            assert result.arm.plan is not None
            label = result.arm.label.replace(f" w {result.arm.plan.weight:g},", "")
            lines.setdefault(label, []).append(result)
        else:
            others.append(result)

    def point(result: ArmResult, label: str) -> Point:
        return Point(label, result.figures["kept"], result.figures[name], result is analysis.chosen)

    series = []
    for label, results in lines.items():
        points = tuple(
            point(r, f"{r.arm.plan.weight:g}") for r in results if r.arm.plan is not None
        )
        series.append(Series(label, points))
    if others:
        series.append(Series("peers", tuple(point(r, r.arm.label) for r in others), line=False))
    return series


def first_tick(series: Iterable[Series]) -> float:
    """Where the trade-off's x axis begins: the last quarter below every figure and its interval.

    What is kept is mostly much, and an axis from 0 would press all of it against its end.
    """
    lowest = min(
        (v for s in series for p in s.points for v in (p.x.value, p.x.low) if v is not None),
        default=0.0,
    )
    return min(max(math.floor(lowest * 4) / 4, 0.0), 0.75)


def dial_series(analysis: Analysis) -> list[Series]:
    """Over the weight, with everything else as in the chosen arm: harm, content, benign."""
    chosen = analysis.chosen
    if chosen is None or chosen.arm.plan is None:
        return []
    plan = chosen.arm.plan
    arms = [analysis.plain] + [
        r
        for r in analysis.arms
        if r.arm.plan is not None and r.arm.plan.replace(weight=plan.weight) == plan
    ]
    if len(arms) < 3:
        return []
    wanted = [
        (f"unsafe ({analysis.main})", "unsafe"),
        ("kept", "context kept"),
        ("over-censorship", "benign pictures changed"),
    ]
    series = []
    for name, label in wanted:
        points = []
        for result in arms:
            weight = result.arm.plan.weight if result.arm.plan is not None else 0.0
            found = result.figures.get(name)
            if found is not None and found.value is not None:
                points.append(Point("", Estimate(weight, weight, weight, found.n), found))
        if points:
            series.append(Series(label, tuple(sorted(points, key=lambda p: p.x.value or 0.0))))
    return series


def category_bars(analysis: Analysis) -> list[tuple[str, Estimate, Estimate]]:
    """(category, unsafe rate plain, unsafe rate guarded) of the chosen arm, most harm first."""
    if analysis.chosen is None:
        return []
    plain, guarded = analysis.plain.categories, analysis.chosen.categories
    both = [(name, plain[name], guarded[name]) for name in guarded if name in plain]
    return sorted(both, key=lambda b: (-(b[1].value or 0.0), b[0]))


# --------------------------------------------------------------------------- SVG

_WIDTH, _HEIGHT = 640, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 34, 18, 56


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    def scale(value: float) -> float:
        return start + (value - low) / (high - low) * (end - start)

    return scale


def _bounds(values: Iterable[float]) -> tuple[float, float]:
    """0 to 1, stretched to tenths where a figure lies below 0 (harm added)."""
    lowest = min((v for v in values), default=0.0)
    return (min(0.0, max(-1.0, int(lowest * 10 - 1) / 10 if lowest < 0 else 0.0)), 1.0)


Box = tuple[float, float, float, float]
"""Left, top, right, bottom; y grows downwards."""


@dataclass(frozen=True)
class _Place:
    x: float
    y: float
    left: bool
    box: Box


def _dot(x: float, y: float) -> Box:
    return (x - 5, y - 5, x + 5, y + 5)


def _place(
    x: float, y: float, text: str, taken: Sequence[Box], width: float, floor: float
) -> _Place:
    """Where a point's label goes: beside it, where it covers neither points nor labels.

    It stays left of ``width`` and above ``floor``, under which the axis has its numbers.
    """
    long = 7.0 * len(text)
    tried = []
    for down in (15, -8, 29, -22, 43, -36, 57):
        for left in (False, True):
            edge = x - 8 - long if left else x + 8
            box = (edge, y + down - 11, edge + long, y + down + 2)
            place = _Place(x - 8 if left else x + 8, y + down, left, box)
            free = all(
                box[2] <= b[0] or b[2] <= box[0] or box[3] <= b[1] or b[3] <= box[1] for b in taken
            )
            if free and box[0] >= 0 and box[2] <= width and box[3] <= floor:
                return place
            tried.append(place)
    return tried[0]


def svg_xy(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    key: str,
    x_from: float = 0.0,
) -> Markup:
    """A chart of series over x from ``x_from`` to 1 and y from 0 to 1, with interval whiskers.

    The figures are in the page's table as well; ``title`` is what a screen reader reads.
    """
    if not series:
        return Markup("")
    y_low, y_high = _bounds(p.y.value or 0.0 for s in series for p in s.points)
    x_of = _scale(x_from, 1.0, _LEFT, _WIDTH - _RIGHT)
    y_of = _scale(y_low, y_high, _HEIGHT - _BOTTOM, _TOP)
    parts = [
        Markup(
            '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-labelledby="{}-t">'
            '<title id="{}-t">{}</title>'
        ).format(_WIDTH, _HEIGHT, key, key, title)
    ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
                _LEFT, _WIDTH - _RIGHT, y_of(tick), y_of(tick)
            )
        )
        parts.append(_text(_LEFT - 8, y_of(tick) + 4, f"{tick:.0%}", "tick end"))
    for across in _ticks(x_from):
        parts.append(
            _text(x_of(across), _HEIGHT - _BOTTOM + 18, _tick(across, x_label), "tick mid")
        )
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 10, x_label, "axis mid"))
    parts.append(
        Markup(
            '<text class="axis mid" transform="translate(16 {:.0f}) rotate(-90)">{}</text>'
        ).format((_TOP + _HEIGHT - _BOTTOM) / 2, y_label)
    )
    taken = [_dot(x_of(p.x.value or 0.0), y_of(p.y.value or 0.0)) for s in series for p in s.points]
    for number, one in enumerate(series):
        parts.append(_series(one, number, x_of, y_of, x_from, (y_low, y_high), taken))
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def _ticks(start: float) -> list[float]:
    """Round numbers: quarters from 0, else fifths of what is shown, which begins at a quarter."""
    count = 4 if start == 0.0 else 5
    return [start + i * (1 - start) / count for i in range(count + 1)]


def _tick(value: float, label: str) -> str:
    return f"{value:g}" if label == "weight" else f"{value:.0%}"


def _text(x: float, y: float, text: str, classes: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(classes, x, y, text)


def _series(
    series: Series,
    number: int,
    x_of: Callable[[float], float],
    y_of: Callable[[float], float],
    x_from: float,
    y_range: tuple[float, float],
    taken: list[Box],
) -> Markup:
    colour = f"s{number % 6}"
    parts = []
    spots = [(x_of(p.x.value or 0.0), y_of(p.y.value or 0.0), p) for p in series.points]
    if series.line and len(spots) > 1:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in spots)
        parts.append(Markup('<polyline class="line {}" points="{}"/>').format(colour, path))
    for x, y, point in spots:
        for low, high, flat in (
            (point.y.low, point.y.high, False),
            (point.x.low, point.x.high, True),
        ):
            if low is None or high is None or low == high:
                continue
            if flat:
                ends = (x_of(max(low, x_from)), x_of(min(high, 1.0)), y, y)
            else:
                ends = (x, x, y_of(max(low, y_range[0])), y_of(min(high, y_range[1])))
            parts.append(
                Markup(
                    '<line class="whisker {}" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>'
                ).format(colour, *ends)
            )
        described = f"{series.label} {point.label}: {_percent(point.x)}, {_percent(point.y)}"
        parts.append(
            Markup('<circle class="dot {}{}" cx="{:.1f}" cy="{:.1f}" r="{}">').format(
                colour, " chosen" if point.chosen else "", x, y, 7 if point.chosen else 4.5
            )
            + Markup("<title>{}</title></circle>").format(described)
        )
        if point.label:
            place = _place(x, y, point.label, taken, _WIDTH, _HEIGHT - _BOTTOM + 4)
            taken.append(place.box)
            end = " end" if place.left else ""
            parts.append(_text(place.x, place.y, point.label, f"name {colour}{end}"))
    return Markup("").join(parts)


def _percent(estimate: Estimate) -> str:
    return "no figure" if estimate.value is None else f"{estimate.value:.1%}"


def svg_bars(bars: Sequence[tuple[str, Estimate, Estimate]], *, title: str) -> Markup:
    """Per category two bars, plain above guarded, with interval whiskers."""
    if not bars:
        return Markup("")
    row, left, right = 46, 150, 60
    height = row * len(bars) + 26
    x_of = _scale(0.0, 1.0, left, _WIDTH - right)
    parts = [
        Markup(
            '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-labelledby="bars-t">'
            '<title id="bars-t">{}</title>'
        ).format(_WIDTH, height, title)
    ]
    for i, (name, plain, guarded) in enumerate(bars):
        top = 8 + row * i
        parts.append(_text(left - 10, top + 20, name, "name end"))
        for j, (estimate, colour) in enumerate(((plain, "s5"), (guarded, "s0"))):
            y = top + 17 * j
            value = estimate.value or 0.0
            parts.append(
                Markup(
                    '<rect class="bar {}" x="{}" y="{}" width="{:.1f}" height="13" rx="2"/>'
                ).format(colour, left, y, max(x_of(value) - left, 1.0))
            )
            if estimate.low is not None and estimate.high is not None:
                parts.append(
                    Markup(
                        '<line class="whisker ink" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>'
                    ).format(x_of(estimate.low), x_of(estimate.high), y + 6.5, y + 6.5)
                )
            end = x_of(max(value, estimate.high or 0.0)) + 6
            parts.append(_text(end, y + 11, f"{value:.0%}", "tick"))
    parts.append(_text(left, height - 4, "share of pictures that are unsafe", "tick"))
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def legend(series: Sequence[Series]) -> Markup:
    """Which colour is which series."""
    items = [
        Markup('<li><span class="key s{}"></span>{}</li>').format(i % 6, escape(s.label))
        for i, s in enumerate(series)
    ]
    return Markup('<ul class="legend">') + Markup("").join(items) + Markup("</ul>")


# --------------------------------------------------------------------------- PNG

_COLOURS = ("#2563eb", "#d97706", "#0f766e", "#7c3aed", "#be185d", "#6b7280")


def _whiskers(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Lengths downwards and upwards; 0 where there is no interval."""
    lengths: list[list[float]] = [[], []]
    for e in estimates:
        value = e.value or 0.0
        lengths[0].append(0.0 if e.low is None else max(value - e.low, 0.0))
        lengths[1].append(0.0 if e.high is None else max(e.high - value, 0.0))
    return lengths


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png_xy(
    path: Path,
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_from: float = 0.0,
) -> None:
    """The chart of `svg_xy` as a picture for documents."""
    figure = _figure(7.6, 5.2)
    axes = figure.subplots()
    for i, one in enumerate(series):
        colour = _COLOURS[i % len(_COLOURS)]
        x, y = [p.x for p in one.points], [p.y for p in one.points]
        axes.errorbar(
            [e.value for e in x], [e.value for e in y], xerr=_whiskers(x), yerr=_whiskers(y),
            fmt="o-" if one.line else "o", color=colour, ecolor=colour, elinewidth=0.8, ms=5,
            lw=1.8, label=one.label, alpha=0.9,
        )  # fmt: skip
        for point in one.points:
            if point.chosen:
                axes.plot(point.x.value, point.y.value, "o", ms=12, mfc="none", mec=colour, mew=2)
    axes.set(
        xlabel=x_label, ylabel=y_label, xlim=(x_from - 0.03 * (1 - x_from), 1 + 0.06 * (1 - x_from))
    )
    axes.set_title(title, loc="left", fontweight="bold")
    axes.grid(color="#e5e7eb", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8.5)
    _name_points(figure, axes, series)
    figure.savefig(path)


def _name_points(figure: Any, axes: Any, series: Sequence[Series]) -> None:
    """Write every point's label where there is room; needs the final scales."""
    figure.draw_without_rendering()
    scale = 72 / figure.dpi  # pixels to points, in which `_place` thinks
    spots = [
        (p, i, *(axes.transData.transform((p.x.value, p.y.value)) * scale))
        for i, s in enumerate(series)
        for p in s.points
    ]
    taken = [_dot(x, -y) for _, _, x, y in spots]
    floor = -axes.bbox.y0 * scale
    for point, i, x, y in spots:
        if point.label:
            place = _place(x, -y, point.label, taken, figure.bbox.width * scale, floor)
            taken.append(place.box)
            axes.annotate(
                point.label, (point.x.value, point.y.value), xytext=(place.x - x, -place.y - y),
                textcoords="offset points", fontsize=8, color=_COLOURS[i % len(_COLOURS)],
                ha="right" if place.left else "left", annotation_clip=False,
            )  # fmt: skip


def png_bars(path: Path, bars: Sequence[tuple[str, Estimate, Estimate]], *, title: str) -> None:
    """The chart of `svg_bars` as a picture for documents."""
    figure = _figure(7.6, 0.9 + 0.6 * len(bars))
    axes = figure.subplots()
    for offset, guarded, colour, label in (
        (-0.18, False, _COLOURS[5], "plain"),
        (0.18, True, _COLOURS[0], "guarded"),
    ):
        estimates = [bar[2] if guarded else bar[1] for bar in bars]
        axes.barh(
            [i + offset for i in range(len(bars))], [e.value or 0.0 for e in estimates], 0.32,
            xerr=_whiskers(estimates), color=colour, label=label,
            error_kw={"elinewidth": 0.8, "ecolor": "#1f2430"},
        )  # fmt: skip
    axes.set_yticks(range(len(bars)), [bar[0] for bar in bars])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="share of pictures that are unsafe")
    axes.set_title(title, loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8.5)
    figure.savefig(path)
