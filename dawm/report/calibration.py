"""How honest the futures are, for the page: coverage, calibration error and CRPS beside the yardsticks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dawm.report import numerals
from dawm.report.collect import Stage
from dawm.report.drawing import Series, line_chart
from dawm.report.figures import Figure
from dawm.report.numerals import percent, significant
from dawm.report.tables import Table
from dawm.report.verdicts import Verdict

NAMES = {  # key in the file -> (name on the page, class of its colour)
    "model": ("as trained", "c-other"),
    "recalibrated": ("recalibrated", "c-dawm"),
    "ensemble": ("ensemble", "c-ensemble"),
    "gaussian": ("one Gaussian network", "c-plain"),
    "neighbours": ("nearest neighbours", "c-ground"),
    "persistence": ("persistence", "c-ground"),
}
DRAWN = ("model", "recalibrated", "ensemble")


def calibration_section(stage: Stage | None) -> dict[str, Any] | None:
    """What calibration.json says, or None where `dawm calibrate` has not run."""
    found = None if stage is None else stage.results.get("calibration")
    if not found:
        return None
    parts = {"model": found, "recalibrated": found.get("recalibrated") or {}} | (found.get("baselines") or {})
    parts = {name: parts[name] for name in NAMES if parts.get(name)}
    figures = [
        over_steps(parts, "Share of outcomes inside 90 % intervals", "share", lambda p: numbers(p, "coverage", "0.9")),
        over_steps(parts, "Expected calibration error", "error", lambda p: numbers(p, "ece")),
    ]
    return {
        "verdict": verdict(found),
        "figures": [f for f in figures if f],
        "table": table(parts),
        "groups": groups(parts),
        "judged_on": str((found.get("data") or {}).get("judged_on") or ""),
        "unit": str(found.get("unit") or ""),
    }


GRADES = {
    "well": ("Well calibrated", "good"),
    "roughly": ("Roughly calibrated", "open"),
    "not": ("Not calibrated", "bad"),
}


def numbers(part: Mapping[str, Any], *keys: str) -> list[float]:
    value: Any = part
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return numerals.numbers(value)


def verdict(found: Mapping[str, Any]) -> Verdict:
    """The grade that `dawm calibrate` gave, after recalibration."""
    title, tone = GRADES.get(str(found.get("grade")), ("Calibration not graded", "open"))
    return Verdict(title, str(found.get("verdict") or ""), tone)


def over_steps(parts: Mapping[str, Any], title: str, y_label: str, take: Any) -> Figure | None:
    series = []
    for name in DRAWN:
        y = take(parts.get(name) or {})
        if any(map(math.isfinite, y)):
            series.append(Series(NAMES[name][0], range(1, len(y) + 1), y, NAMES[name][1]))
    words = "; ".join(f"{s.label}: {significant(s.y[0])} at step 1, {significant(s.y[-1])} at the last" for s in series)
    svg = line_chart(
        series, title=title, description=words, x_label="steps ahead", y_label=y_label, markers=True, whole_x=True
    )
    return None if svg is None else Figure(title, svg)


def table(parts: Mapping[str, Any]) -> Table:
    """One row per forecaster: first and last step."""
    first_last = lambda values, form: [form(values[0]), form(values[-1])] if values else [numerals.MISSING] * 2
    rows = [
        [
            NAMES[name][0],
            *first_last(numbers(part, "coverage", "0.9"), percent),
            *first_last(numbers(part, "ece"), significant),
            *first_last(numbers(part, "crps"), significant),
            *first_last(numbers(part, "spread_skill"), significant),
        ]
        for name, part in parts.items()
    ]
    quantities = ("90 % hold", "ECE", "CRPS", "spread / error")
    columns = ["At the first and the last step", *(word for name in quantities for word in (name, "last"))]
    return Table(columns, rows, strong=[i for i, row in enumerate(rows) if row[0] == NAMES["recalibrated"][0]])


def groups(parts: Mapping[str, Any]) -> Table | None:
    """The recalibrated model where it matters."""
    found = (parts.get("recalibrated") or {}).get("groups") or {}
    rows = [
        [str(name), numerals.count(g.get("steps")), percent(g.get("coverage_90")), significant(g.get("ece"))]
        for name, g in found.items()
        if isinstance(g, Mapping)
    ]
    return Table(["Where", "steps", "90 % intervals hold", "ECE"], rows) if rows else None
