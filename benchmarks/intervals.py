"""Scores with their intervals as a picture: a panel for each task, a row for each method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dawm.run.checkpoint import write_whole

COLOURS = {"log alone": "#4c5a67", "synthetic data": "#d1802b", "planner": "#1f77b4", "imitated planner": "#2e8b57"}
LOWEST = -30.0  # scores below are drawn at the edge, or the good ones could not be told apart


def draw(path: Path, panels: list[dict[str, Any]], names: list[str]) -> None:
    """An SVG file, the same bytes for the same numbers. Each panel has `title`, `data` (a score), `published` (the best
    one, or None), `methods` (name: (score, interval)) and `kinds` (name: a key of COLOURS).
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    with matplotlib.rc_context({"svg.hashsalt": "dawm", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(2.2 * len(panels) + 1.6, 0.2 * len(names) + 1.1), layout="constrained")
        every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, panel in zip(every, panels, strict=True):
            _panel(axes, panel, names)
        every[0].set_yticks(range(len(names)), names)
        every[0].set_ylim(len(names) - 0.5, -0.5)
        handles = [Line2D([], [], color=c, marker="o", markersize=4, label=kind) for kind, c in COLOURS.items()]
        handles += [Line2D([], [], color="black", linestyle=":", linewidth=1, label="the data")]
        handles += [Line2D([], [], color="#b02a37", linestyle="--", linewidth=1, label="best published")]
        handles += [Line2D([], [], color="black", linestyle="", marker="<", markersize=4, label=f"below {LOWEST:g}")]
        figure.legend(handles=handles, loc="outside lower center", ncols=7, frameon=False)
        write_whole(path, lambda file: figure.savefig(file, format="svg", metadata={"Date": None}))


def _panel(axes: Any, panel: dict[str, Any], names: list[str]) -> None:
    axes.axvline(panel["data"], color="black", linestyle=":", linewidth=1)
    if panel["published"] is not None:
        axes.axvline(panel["published"], color="#b02a37", linestyle="--", linewidth=1)
    for row, name in enumerate(names):
        if name in panel["methods"]:
            value, ends = panel["methods"][name]
            colour, shown = COLOURS[panel["kinds"][name]], max(value, LOWEST)
            axes.plot([max(end, LOWEST) for end in ends], [row, row], color=colour, linewidth=1.4)
            axes.plot([shown], [row], marker="o" if value > LOWEST else "<", markersize=4, color=colour)
    axes.set_title(panel["title"], fontsize=8)
    axes.grid(axis="x", alpha=0.25)
    axes.tick_params(axis="y", length=0)
