"""What our benchmark adds to a sweep: shared data, the simulator check, published scores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.consistency import check
from benchmarks.neorl2.published import PUBLISHED_SCORES
from benchmarks.simulators import SIMULATORS
from dawm.data.dataset import Dataset
from dawm.run.folder import RunFolder
from dawm.sweep.hooks import Columns, Hooks
from dawm.sweep.piece import Piece
from dawm.sweep.suite import Suite, Task
from dawm.synth.generator import load_synthetic

CONSISTENCY = "consistency.json"


def data_root() -> Path:
    """The folder that the paths of a suite are below: DAWM_SHARED_DATA, or `shared/data` beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("DAWM_SHARED_DATA", beside))


def results(suite: Suite, piece: Piece, task: Task) -> list[str]:
    """Files that a piece is not done without."""
    if piece.stage is None:
        return []
    simulated = task.env.rpartition(":")[2] in SIMULATORS and suite.extra["consistency_rows"]
    return [CONSISTENCY] if piece.stage[0] == "synthetic" and simulated else []


def measure(suite: Suite, piece: Piece, task: Task, data: Dataset, folder: Path) -> None:
    """Those files: the simulator check is made anew whenever the piece is done."""
    if CONSISTENCY in results(suite, piece, task):
        _check_simulator(load_synthetic(folder), data, task, suite, folder)


def _check_simulator(synthetic: Dataset, data: Dataset, task: Task, suite: Suite, folder: Path) -> None:
    """The synthetic rows against the simulator, and as a floor the recorded ones."""
    checked = {
        name: check(rows, task.env, suite.extra["consistency_rows"], suite.seed, reference=data)
        for name, rows in (("synthetic", synthetic), ("recorded", data))
    }
    RunFolder.open(folder).write_json(CONSISTENCY, checked)


def columns(data: dict[str, Any], methods: list[dict[str, Any]]) -> Columns:
    """Published scores, where there are any."""
    published = PUBLISHED_SCORES.get((data["env"] or "").rpartition(":")[2], {})
    if not published:
        return Columns([], [[] for _ in methods])
    return Columns(["published score"], [[_published(m, published)] for m in methods], _published_line(published))


def _published(method: dict[str, Any], published: dict[str, Any]) -> str:
    if method["algo"] not in published or method["ratio"]:
        return "–"
    mean, spread = published[method["algo"]]
    return f"{mean:.1f} ± {spread:.1f}"


def _published_line(published: dict[str, Any]) -> str:
    best = max((m for m in published if m != "data"), key=lambda m: published[m][0])
    listed = ", ".join(f"{m} {mean:.1f}" for m, (mean, _) in published.items())
    return (
        f"Published NeoRL-2 scores (grid point chosen by online return, mean ± std over three seeds): {listed}. "
        f"The best of them: {best}, {published[best][0]:.1f}."
    )


def simulator_facts(made: dict[str, Any]) -> list[str]:
    """Errors of rows in the simulator."""
    return [
        f"{rows} rows in the simulator, error over the std of a step: median {errors['median']:.2g},"
        f" 90 % {errors['p90']:.2g}, rmse {errors['rmse']:.2g}"
        for rows, checked in (made["consistency"] or {}).items()
        if (errors := checked["per_step"])["rmse"] is not None
    ]


HOOKS = Hooks(
    suite_settings={"consistency_rows": 2_000},  # synthetic rows that a simulator checks; 0 for none
    roots=lambda: [data_root()],
    results=results,
    after=measure,
    columns=columns,
    synthetic_results=("consistency",),
    facts=simulator_facts,
)
