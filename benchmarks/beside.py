"""Our learners beside those of another library on the same arrays: what `outside.py` measured and was kept.

A file TASK/outside/ALGO.json in the records of a suite is a `scores.json` of `python -m benchmarks.outside`; it is set
beside the method of the suite that is named after the learner.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from dawm.sweep.markdown import markdown_table, with_interval
from dawm.sweep.table import gain_over, summarise


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
    both = [ours, summarise(np.asarray(theirs["returns"]), ours["references"])]
    seeds = [" ".join(f"{mean:.1f}" for mean in one["seed_means"]) for one in both]
    gain = gain_over(*both)
    episodes = ", ".join("{} × {}".format(*np.shape(one["returns"])) for one in both)
    difference = with_interval(gain["value"], gain["interval"], sign=True)
    return [task["dataset"], theirs["algo"], *seeds, difference, episodes, theirs["library"]]
