"""Words in a drawing do not run into each other or out of their column."""

from __future__ import annotations

import re

import numpy as np

from dawm.report.drawing import histogram
from dawm.report.intervals import NAME_WIDTH, Row, interval_chart


def words_of(svg: str, kind: str) -> list[tuple[float, float, str]]:
    """(x, y, words) of every text of a kind."""
    found = re.findall(r"<text ([^>]*)>([^<]*)</text>", svg)
    place = lambda name, given: float(re.search(rf'\b{name}="([-\d.]+)"', given)[1])
    return [(place("x", given), place("y", given), words) for given, words in found if f'"{kind}"' in given]


def test_a_long_name_is_broken_within_its_column():
    name = "IQL, real + synthetic, recorded actions imitated only"
    rows = [Row(n, "c-real", 5.0, None, [5.0], [[5.0]]) for n in ("BC", name)]
    chart = str(interval_chart(rows, title="t", description="d", x_label="score", mark=None))
    wide = [w for w in words_of(chart.split("</svg>")[0], "row-name") if w[2] != "BC"]
    assert " ".join(words for *_, words in wide) == name
    assert all(len(words) <= NAME_WIDTH for *_, words in wide)
    heights = [y for _, y, _ in wide]
    assert len(heights) > 1
    assert min(np.diff(heights)) >= 16
    assert name in chart  # whole in the narrow drawing, where it has a line of its own


def test_names_of_marks_that_stand_close_are_on_two_levels():
    edges, counts = [0.0, 100.0, 1000.0], [1.0, 2.0]
    chart = histogram(
        edges,
        counts,
        title="t",
        description="d",
        x_label="x",
        y_label="y",
        marks=[(0.0, "10 %"), (211.0, "50 %"), (288.0, "90 %")],
    )
    places = {words: (x, y) for x, y, words in words_of(str(chart), "mark-name")}
    assert places["10 %"][1] == places["50 %"][1]
    assert places["50 %"][1] != places["90 %"][1]
