"""The performance profiles of a suite as a figure: the share of runs above each score, with its band."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dawm.run.checkpoint import write_whole


def write_profiles(path: Path, profiles: dict[str, Any]) -> None:
    """Draw `overall_facts(...)["profiles"]` into an SVG file, the same bytes for the same numbers."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "dawm", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for name, line in profiles["methods"].items():
            (drawn,) = axes.step(profiles["scores"], line["share"], where="post", label=name, linewidth=1.6)
            if line["band"] is not None:
                axes.fill_between(
                    profiles["scores"], *line["band"], step="post", alpha=0.15, linewidth=0, color=drawn.get_color()
                )
        axes.set(xlabel="normalised score", ylabel="share of runs above it", ylim=(-0.02, 1.02))
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize="small")
        write_whole(path, lambda file: figure.savefig(file, format="svg", metadata={"Date": None}))
