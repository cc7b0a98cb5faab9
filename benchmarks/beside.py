"""Our learners beside those of another library on the same arrays: what `outside.py` measured and was kept.

A file TASK/outside/ALGO.json in the records of a suite is a `scores.json` of `python -m benchmarks.outside`; it is set
beside the method of the suite that is named after the learner.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from dawm.data.dataset import References
from dawm.evaluate.statistics import iqm
from dawm.sweep.markdown import markdown_table
from dawm.sweep.table import nested_interval


def beside_section(record: Path, tasks: list[dict[str, Any]]) -> str:
    """The comparison as Markdown; empty where nothing was kept."""
    rows = [row for task in tasks for row in _rows(record / task["dataset"] / "outside", task)]
    if not rows:
        return ""
    libraries = ", ".join(sorted({row.pop() for row in rows}))
    said = (
        f"The same arrays, updates, starts and roll-outs, and the defaults of {libraries} for the rest"
        " (`python -m benchmarks.outside`). The difference is ours less theirs."
    )
    header = ["task", "learner", "ours, each seed", "theirs, each seed", "difference of IQM [95 %]", "episodes"]
    return f"### Beside other people's learners\n\n{said}\n\n{markdown_table(header, rows)}"


def _rows(folder: Path, task: dict[str, Any]) -> list[list[str]]:
    return [_row(json.loads(path.read_text()), task) for path in sorted(folder.glob("*.json"))]


def _row(theirs: dict[str, Any], task: dict[str, Any]) -> list[str]:
    ours = next(m for m in task["methods"] if m["method"] == theirs["algo"])
    scale = References(**ours["references"]).normalise if ours["references"] else np.asarray
    mine, other = (scale(np.asarray(found["returns"])) for found in (ours, theirs))
    difference = lambda a, b: iqm(a.mean(1)) - iqm(b.mean(1))
    low, high = nested_interval(difference, mine, other)
    cells = [" ".join(f"{mean:.1f}" for mean in values.mean(1)) for values in (mine, other)]
    episodes = f"{mine.shape[0]} × {mine.shape[1]}, {other.shape[0]} × {other.shape[1]}"
    gain = f"{difference(mine, other):+.1f} [{low:+.1f}, {high:+.1f}]"
    return [task["dataset"], theirs["algo"], *cells, gain, episodes, theirs["library"]]
