"""What our benchmark adds to a sweep: shared data, the simulator check, published scores."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import d4rl
from benchmarks.consistency import check
from benchmarks.neorl2 import published as neorl2
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
    """Published scores of the same learner on the log alone, where there are any, and all of them below the table."""
    scores, source = published(data)
    best = best_published(data)
    if best is None:
        return Columns([], [[] for _ in methods])
    listed = ", ".join(f"{m} {mean:.1f}" for m, (mean, _) in scores.items())
    below = f"{source[0].upper()}{source[1:]}: {listed}. The best of them: {best[0]}, {best[1]:.1f}."
    return Columns(["published score"], [[_published(m, scores)] for m in methods], below)


def published(data: dict[str, Any]) -> tuple[Mapping[str, tuple[float, float | None]], str]:
    """Scores that others published of a dataset, and how these came about; none and "" where nobody did."""
    if (name := data["name"]) in d4rl.PUBLISHED_SCORES:
        return d4rl.PUBLISHED_SCORES[name], d4rl.SOURCE
    if (env := (data["env"] or "").rpartition(":")[2]) in neorl2.PUBLISHED_SCORES:
        return neorl2.PUBLISHED_SCORES[env], neorl2.SOURCE
    return {}, ""


def best_published(data: dict[str, Any]) -> tuple[str, float] | None:
    """The algorithm with the highest published score of a dataset, and that score; None where nobody published any."""
    means = {name: mean for name, (mean, _) in published(data)[0].items() if name != "data"}
    return max(means.items(), key=lambda item: item[1], default=None)


def _published(method: dict[str, Any], scores: Mapping[str, tuple[float, float | None]]) -> str:
    if method["algo"] not in scores or method["ratio"]:
        return "–"
    mean, spread = scores[method["algo"]]
    return f"{mean:.1f}" if spread is None else f"{mean:.1f} ± {spread:.1f}"


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
