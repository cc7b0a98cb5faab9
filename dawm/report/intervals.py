"""The chart that matters most: each policy's score as an estimate with its interval, every seed and episode a dot.

Drawn twice, wide with names at the left, and narrow with names above the rows; CSS shows the one that fits.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dawm.report import numerals
from dawm.report.drawing import Axis, line, span, svg, text

NAME_WIDTH = 26  # characters of a policy's name that fit at the left of the wide drawing


@dataclass(frozen=True)
class Row:
    """One policy (or the data) on a score axis."""

    name: str
    style: str
    estimate: float | None
    interval: tuple[float, float] | None
    seeds: Sequence[float]  # the mean of each seed
    episodes: Sequence[Sequence[float]]  # of each seed
    band: tuple[float, float] | None = None  # the middle 80 % of the data's own episodes
    form: Callable[[float], str] = numerals.score  # how its numbers are written

    def values(self) -> list[float]:
        own = [*self.seeds, *(v for seed in self.episodes for v in seed), *(self.interval or ()), *(self.band or ())]
        return [v for v in (*own, *([] if self.estimate is None else [self.estimate])) if math.isfinite(v)]


def interval_chart(
    rows: Sequence[Row], *, title: str, description: str, x_label: str, mark: tuple[float, str] | None
) -> Markup | None:
    """Both drawings, or None where no row has a number."""
    x_range = span([v for row in rows for v in row.values()] + ([mark[0]] if mark else []), margin=0.06)
    if x_range is None or not any(row.values() for row in rows):
        return None
    return Markup().join(
        _draw(rows, x_range, title, description, x_label, mark, narrow=narrow) for narrow in (False, True)
    )


def _draw(
    rows: Sequence[Row],
    x_range: tuple[float, float],
    title: str,
    description: str,
    x_label: str,
    mark: tuple[float, str] | None,
    *,
    narrow: bool,
) -> Markup:
    width, left, right = (360, 8, 12) if narrow else (880, 218, 172)
    step, top = (66, 34) if narrow else (54, 30)
    bottom = top + step * len(rows)
    axis = Axis(x_range[0], x_range[1], left, width - right)
    body = Markup()
    ticks = axis.ticks(4 if narrow else 7)
    for tick, words in zip(ticks, numerals.axis(ticks), strict=True):
        body += line(axis(tick), top - 4, axis(tick), bottom, "grid")
        body += text(axis(tick), bottom + 18, words, "tick", "middle")
    body += text((axis.start + axis.end) / 2, bottom + 38, x_label, "label", "middle")
    if mark:
        x, half = axis(mark[0]), 3.2 * len(mark[1])
        body += line(x, top - 6, x, bottom, "mark")
        body += text(min(max(x, half), width - half), top - 12, mark[1], "mark-name", "middle")
    for i, row in enumerate(rows):
        body += _row(row, axis, top + step * i, step, width, narrow)
    return svg(body, width, bottom + 46, title, description, "narrow" if narrow else "wide")


def _row(row: Row, axis: Axis, top: float, step: float, width: float, narrow: bool) -> Markup:
    body, words = Markup(), _words(row)
    if narrow:
        body += text(0, top + 14, row.name, "row-name") + text(width, top + 14, words, "row-value", "end")
        centre = top + 32
    else:
        centre = top + step / 2 - 6
        body += _name(row.name, centre + 5) + text(width, centre + 5, words, "row-value", "end")
    if row.band and all(map(math.isfinite, row.band)):
        body += line(axis(row.band[0]), centre, axis(row.band[1]), centre, "band")
    for s, seed in enumerate(row.episodes):
        for e, value in enumerate(seed):
            if math.isfinite(value):
                jitter = 6 * (0.618034 * (e + 7 * s) % 1.0) - 3  # golden ratio: even, and the same each time
                words = f"seed {s}, episode {e}: {numerals.significant(value)}"
                body += Markup(
                    '<circle cx="{:.1f}" cy="{:.1f}" r="2.4" class="episode"><title>{}</title></circle>'
                ).format(axis(value), centre + 15 + jitter, words)
    for s, value in enumerate(row.seeds):
        if math.isfinite(value):
            words = f"seed {s}, mean: {numerals.significant(value)}"
            body += Markup('<circle cx="{:.1f}" cy="{:.1f}" r="4" class="seed"><title>{}</title></circle>').format(
                axis(value), centre + 15, words
            )
    if row.interval and all(map(math.isfinite, row.interval)):
        body += line(axis(row.interval[0]), centre, axis(row.interval[1]), centre, "interval")
    if row.estimate is not None and math.isfinite(row.estimate):
        x = axis(row.estimate)
        corners = f"{x:.1f},{centre - 7:.1f} {x + 7:.1f},{centre:.1f} {x:.1f},{centre + 7:.1f} {x - 7:.1f},{centre:.1f}"
        body += Markup('<polygon points="{}" class="estimate"/>').format(corners)
    return Markup('<g class="{}">{}</g>').format(row.style, body)


def _name(name: str, y: float) -> Markup:
    """A name at the left of its row, on as many lines as it needs, centred where one line would stand."""
    lines = textwrap.wrap(name, NAME_WIDTH) or [""]
    first = y - 8.5 * (len(lines) - 1)
    return Markup().join(text(0, first + 17 * i, words, "row-name") for i, words in enumerate(lines))


def _words(row: Row) -> str:
    """'41.2 [36.0, 46.4]'."""
    if row.estimate is None or not math.isfinite(row.estimate):
        return "no score"
    if row.interval is None:
        return row.form(row.estimate)
    return f"{row.form(row.estimate)} [{row.form(row.interval[0])}, {row.form(row.interval[1])}]"
