"""Charts as SVG text, by hand: no fixed colour (CSS classes carry it, so light and dark both work), text stays text.

A chart is drawn once at the width of half a page and scales down to a phone. Data may be empty or hold NaN: a chart
with nothing to draw is None, a single point is a dot, a gap breaks the line.

Classes: `c-dawm` blue, `c-plain` vermilion, `c-ensemble` green, `c-other` purple (Okabe and Ito's palette, which the
colour-blind tell apart), `c-ground` grey. Each also has its own marker and dash.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dawm.report import numerals

_MARKERS = {"c-dawm": "circle", "c-plain": "square", "c-ensemble": "triangle", "c-other": "diamond", "c-ground": "ring"}


@dataclass(frozen=True)
class Series:
    """One line of a chart; `label` is written at its end, or nowhere if empty."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    style: str = "c-dawm"
    faint: bool = False

    def points(self) -> list[tuple[float, float]]:
        return [(float(x), float(y)) for x, y in zip(self.x, self.y, strict=False)]


@dataclass(frozen=True)
class Axis:
    """A map from values to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        place = math.log10(value) if self.log else value
        return self.start + (place - low) / (high - low) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values inside the axis."""
        if not self.log:
            return [t for t in nice_ticks(self.low, self.high, about) if self.low <= t <= self.high]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for digits in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
            found = [d * 10.0**k for k in decades for d in digits if self.low <= d * 10.0**k <= self.high]
            if len(found) >= 3:
                break
        return found[:: max(1, math.ceil(len(found) / about))] if len(found) > about + 2 else found


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten that span [low, high], roughly `about` of them."""
    raw = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.floor(low / step)
    return [round(i * step, 12) for i in range(first, math.ceil(high / step) + 1)]


def whole_ticks(low: float, high: float) -> list[float]:
    """Whole numbers from the first one up, at most a dozen."""
    first, last = math.ceil(low), math.floor(high)
    return [float(t) for t in range(first, last + 1, max(1, math.ceil((last - first + 1) / 12)))]


def span(values: Sequence[float], *, zero: bool = False, margin: float = 0.05) -> tuple[float, float] | None:
    """The range of the finite values, a little widened; None where there is none."""
    found = [v for v in values if math.isfinite(v)]
    if not found:
        return None
    low, high = min(found + [0.0] * zero), max(found + [0.0] * zero)
    pad = (high - low) * margin if high > low else max(abs(high) * 0.1, 1e-6)
    return (low if zero and low == 0 else low - pad), (high if zero and high == 0 else high + pad)


def svg(body: Markup, width: float, height: float, title: str, description: str, kind: str = "") -> Markup:
    """The outer element, named for people who do not see it."""
    return Markup(
        '<svg class="chart {}" role="img" viewBox="0 0 {:.0f} {:.0f}" aria-label="{}. {}"><title>{}</title>{}</svg>'
    ).format(kind, width, height, title, description, title, body)


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" class="{}" text-anchor="{}">{}</text>').format(x, y, kind, anchor, words)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>').format(x1, y1, x2, y2, kind)


def marker(x: float, y: float, style: str, size: float = 3.2) -> Markup:
    """A dot whose shape goes with its colour."""
    shape, s = _MARKERS.get(style, "circle"), size
    if shape == "circle":
        return Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{:.1f}" class="dot"/>').format(x, y, s)
    if shape == "ring":
        return Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{:.1f}" class="ring"/>').format(x, y, s)
    corners = {
        "square": [(-s, -s), (s, -s), (s, s), (-s, s)],
        "triangle": [(0, -1.2 * s), (1.15 * s, 0.9 * s), (-1.15 * s, 0.9 * s)],
        "diamond": [(0, -1.4 * s), (1.4 * s, 0), (0, 1.4 * s), (-1.4 * s, 0)],
    }[shape]
    return Markup('<polygon points="{}" class="dot"/>').format(" ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in corners))


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    description: str,
    x_label: str,
    y_label: str = "",
    width: float = 400,
    height: float = 250,
    markers: bool = False,
    zero: bool = False,
    whole_x: bool = False,
) -> Markup | None:
    """Lines with their names at their ends. The y axis is logarithmic where values differ by a factor above 15."""
    points = [[p for p in s.points() if all(map(math.isfinite, p))] for s in series]
    values = [y for p in points for _, y in p]
    x_range, y_range = span([x for p in points for x, _ in p], margin=0.0), span(values, zero=zero)
    if x_range is None or y_range is None:
        return None
    log = min(values) > 0 and max(values) / min(values) > 15
    if log:
        y_range = (min(values) / 1.15, max(values) * 1.15)
    right = 14 + max((7.1 * len(s.label) for s in series), default=0)
    x_axis = Axis(*x_range, 46, width - max(right, 16))
    y_axis = Axis(*y_range, height - 40, 26 if y_label else 12, log)
    body = _frame(x_axis, y_axis, x_label, y_label + (" (log scale)" if log and y_label else ""), whole_x)
    for one in series:
        body += _series(one, x_axis, y_axis, markers)
    return svg(body + _end_labels(series, points, x_axis, y_axis), width, height, title, description)


def _frame(x_axis: Axis, y_axis: Axis, x_label: str, y_label: str, whole_x: bool) -> Markup:
    body = Markup()
    ticks = y_axis.ticks(4)
    for tick, words in zip(ticks, numerals.axis(ticks), strict=True):
        y = y_axis(tick)
        body += line(x_axis.start, y, x_axis.end, y, "grid") + text(x_axis.start - 7, y + 4, words, "tick", "end")
    ticks = whole_ticks(x_axis.low, x_axis.high) if whole_x else x_axis.ticks(5)
    for tick, words in zip(ticks, numerals.axis(ticks), strict=True):
        body += text(x_axis(tick), y_axis.start + 17, words, "tick", "middle")
    body += line(x_axis.start, y_axis.start, x_axis.end, y_axis.start, "base")
    body += text((x_axis.start + x_axis.end) / 2, y_axis.start + 34, x_label, "label", "middle")
    return body + (text(0, 12, y_label, "label") if y_label else Markup())


def _series(one: Series, x_axis: Axis, y_axis: Axis, markers: bool) -> Markup:
    """The line, broken where a value is missing; a value between two gaps is a dot."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in one.points():
        if math.isfinite(x) and math.isfinite(y):
            runs[-1].append((x_axis(x), y_axis(y)))
        elif runs[-1]:
            runs.append([])
    body = Markup()
    for run in runs:
        if len(run) > 1:
            path = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in run)
            body += Markup('<path d="{}" class="line"/>').format(path)
        if markers or len(run) == 1:
            body += Markup().join(marker(x, y, one.style) for x, y in run)
    return Markup('<g class="{}{}">{}</g>').format(one.style, " faint" if one.faint else "", body)


def _end_labels(series, points, x_axis: Axis, y_axis: Axis) -> Markup:
    """Names beside the last points, pushed apart where they would overlap."""
    wanted = (
        sorted(
            ((y_axis(p[-1][1]), one) for one, p in zip(series, points, strict=True) if p and one.label),
            key=lambda pair: pair[0],
        )
        if series
        else []
    )
    places = [y for y, _ in wanted]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + 14)
    for i in reversed(range(len(places))):
        limit = places[i + 1] - 14 if i + 1 < len(places) else y_axis.start
        places[i] = min(places[i], limit)
    labels = [
        Markup('<g class="{}">{}</g>').format(one.style, text(x_axis.end + 9, y + 4, one.label, "name"))
        for y, (_, one) in zip(places, wanted, strict=True)
    ]
    return Markup().join(labels)


def histogram(
    edges: Sequence[float],
    counts: Sequence[float],
    *,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
    marks: Sequence[tuple[float, str]] = (),
    width: float = 400,
    height: float = 250,
) -> Markup | None:
    """Bars from 0, with named vertical marks (percentiles, the mean) above them."""
    bars = [(a, b, c) for a, b, c in zip(edges, edges[1:], counts, strict=False) if all(map(math.isfinite, (a, b, c)))]
    if not bars or max(c for *_, c in bars) <= 0:
        return None
    marks = sorted((m for m in marks if math.isfinite(m[0])), key=lambda m: m[0])
    x_range = span([v for a, b, _ in bars for v in (a, b)] + [m[0] for m in marks], margin=0.0)
    assert x_range is not None
    x_axis = Axis(*x_range, 46, width - 16)
    y_axis = Axis(0.0, max(c for *_, c in bars) * 1.04, height - 40, 50 if marks else 26)
    body = _frame(x_axis, y_axis, x_label, y_label, False)
    for a, b, c in bars:
        left, right, top = x_axis(a), x_axis(b), y_axis(c)
        gap = 0.75 if right - left > 4 else 0.0
        body += Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" class="bar"/>').format(
            left + gap, top, max(right - left - 2 * gap, 0.5), y_axis.start - top
        )
    taken = -math.inf
    for value, words in marks:
        x, wide = x_axis(value), 7.5 * len(words)
        middle = min(max(x, x_axis.start + wide / 2 - 20), x_axis.end - wide / 2 + 12)  # inside the drawing
        level = 42 if middle - wide / 2 > taken else 28
        taken = max(taken, middle + wide / 2) if level == 42 else taken
        body += line(x, level + 4, x, y_axis.start, "mark") + text(middle, level, words, "mark-name", "middle")
    return svg(Markup('<g class="c-ground">{}</g>').format(body), width, height, title, description)


def densities(
    real: tuple[Sequence[float], Sequence[float]],
    synthetic: tuple[Sequence[float], Sequence[float]],
    *,
    title: str,
    description: str,
    width: float = 170,
    height: float = 92,
) -> Markup | None:
    """Two densities on one axis: real filled grey, synthetic as a line."""
    pairs = [_bins(*real), _bins(*synthetic)]
    x_range = span([v for bins in pairs for a, b, _ in bins for v in (a, b)], margin=0.0)
    top = max((d for bins in pairs for *_, d in bins), default=0.0)
    if x_range is None or top <= 0:
        return None
    x_axis, y_axis = Axis(*x_range, 3, width - 3), Axis(0.0, top * 1.05, height - 18, 4)
    body = Markup()
    for bins, style, kind in ((pairs[0], "c-ground", "area"), (pairs[1], "c-dawm", "line")):
        if bins:
            steps = [f"{x_axis(x):.1f},{y_axis(d):.1f}" for a, b, d in bins for x in (a, b)]
            foot = [f"{x_axis(bins[0][0]):.1f},{y_axis.start:.1f}"], [f"{x_axis(bins[-1][1]):.1f},{y_axis.start:.1f}"]
            path = "M" + "L".join([*foot[0], *steps, *foot[1]])
            body += Markup('<g class="{}"><path d="{}" class="{}"/></g>').format(style, path, kind)
    body += line(x_axis.start, y_axis.start, x_axis.end, y_axis.start, "base")
    body += text(x_axis.start, height - 4, numerals.significant(x_range[0], 2), "tick")
    body += text(x_axis.end, height - 4, numerals.significant(x_range[1], 2), "tick", "end")
    return svg(body, width, height, title, description, "small")


def _bins(edges: Sequence[float], density: Sequence[float]) -> list[tuple[float, float, float]]:
    found = zip(edges, edges[1:], density, strict=False)
    return [(a, b, d) for a, b, d in found if all(map(math.isfinite, (a, b, d)))]
