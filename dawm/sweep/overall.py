"""All tasks of a suite in a few numbers, after Agarwal et al. 2021 (`dawm/evaluate/statistics.py`).

One run is one seed of a method on one task, its score the mean of its episodes, normalised. Only methods that were
scored on the same tasks are compared, with as many seeds on each; the facts name these tasks and what was left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dawm.errors import ConfigError
from dawm.evaluate.statistics import (
    improvement_interval,
    iqm,
    performance_profile,
    probability_of_improvement,
    profile_band,
    stratified_bootstrap,
)
from dawm.sweep.markdown import markdown_table, with_interval

THRESHOLDS = 101  # scores at which the profiles are known
Methods = dict[str, dict[str, Any]]
BaseOf = Callable[[dict[str, Any], Methods], dict[str, Any] | None]


def overall_facts(
    tasks: list[dict[str, Any]], base_of: BaseOf, only: Sequence[str] = (), *, profiles: bool = True
) -> dict[str, Any] | None:
    """Aggregates over tasks and seeds as JSON values; None where there is nothing to compare. The performance profiles,
    whose bands take most of the time, are among them unless they are not wanted.

    `tasks` are those of `read_results`, `base_of(method, methods of a task)` is what a method is compared with. With
    `only`, on the tasks that these methods were all scored on; raises ConfigError where one of them was not scored.
    """
    by_task = {t["dataset"]: {m["method"]: m for m in t["methods"] if m["scored"]} for t in tasks}
    if only:
        by_task = _of_all(by_task, only)
    scored: dict[str, set[str]] = {}
    for task, methods in by_task.items():
        for name, method in methods.items():
            if method["unit"] == "score":
                scored.setdefault(name, set()).add(task)
    common = common_tasks(scored)
    compared = {name: _matrix(name, common, by_task) for name, where in scored.items() if set(common) <= where}
    matrices = {name: matrix for name, matrix in compared.items() if matrix is not None}
    if not matrices or len(matrices) * len(common) < 2:
        return None
    named = {name for methods in by_task.values() for name in methods}
    bases = {name: base_of(by_task[common[0]][name], by_task[common[0]]) for name in matrices}
    facts = {
        "tasks": common,
        "left_out": sorted(named - set(matrices)),
        "methods": [_facts(name, matrices, bases[name]) for name in matrices],
    }
    return facts | {"profiles": _profiles(matrices)} if profiles else facts


def _of_all(by_task: dict[str, Methods], only: Sequence[str]) -> dict[str, Methods]:
    """The tasks on which all of these methods were scored, with these alone."""
    known = sorted({name for methods in by_task.values() for name in methods})
    if unknown := [name for name in only if name not in known]:
        raise ConfigError(f"no task has scores of `{unknown[0]}`; there are scores of {', '.join(known)}.")
    kept = {task: {name: methods[name] for name in only} for task, methods in by_task.items() if {*only} <= {*methods}}
    if not kept:
        raise ConfigError(f"no task has scores of all of {', '.join(only)}: name fewer methods.")
    return kept


def common_tasks(scored: dict[str, set[str]]) -> list[str]:
    """The tasks to compare on, from those that each method was scored on: what keeps most scores, then most methods."""
    choices = sorted({frozenset(where) for where in scored.values()}, key=sorted)
    methods = lambda choice: sum(choice <= where for where in scored.values())
    return sorted(max(choices, key=lambda c: (len(c) * methods(c), methods(c)))) if choices else []


def _matrix(name: str, tasks: list[str], by_task: dict[str, Methods]) -> np.ndarray | None:
    """Scores (seeds, tasks); None where the tasks differ in seeds."""
    columns = [by_task[task][name]["seed_means"] for task in tasks]
    return np.array(columns).T if len({len(column) for column in columns}) == 1 else None


def _facts(name: str, matrices: dict[str, np.ndarray], base: dict[str, Any] | None) -> dict[str, Any]:
    scores = matrices[name]
    facts: dict[str, Any] = {"method": name, "seeds": len(scores), "iqm": iqm(scores), "interval": None}
    if len(scores) > 1:
        facts["interval"] = list(stratified_bootstrap(scores))
    if base is None or base["method"] not in matrices:
        return facts | {"improvement": None}
    other = matrices[base["method"]]
    enough = min(len(scores), len(other)) > 1
    interval = list(improvement_interval(scores, other)) if enough else None
    value = probability_of_improvement(scores, other)
    return facts | {"improvement": {"over": base["method"], "value": value, "interval": interval}}


def _profiles(matrices: dict[str, np.ndarray]) -> dict[str, Any]:
    """The share of runs above each of a row of scores, with its band where there are two seeds."""
    every = np.concatenate([matrix.ravel() for matrix in matrices.values()])
    margin = 0.02 * (every.max() - every.min()) or 1.0
    at = np.linspace(every.min() - margin, every.max() + margin, THRESHOLDS)
    lines = {
        name: {
            "share": performance_profile(matrix, at).tolist(),
            "band": profile_band(matrix, at).tolist() if len(matrix) > 1 else None,
        }
        for name, matrix in matrices.items()
    }
    return {"scores": at.tolist(), "methods": lines}


def overall_section(facts: dict[str, Any] | None, *, drawn: bool = True) -> str:
    """The aggregates as Markdown; empty where there are none. `drawn`: the profiles are in a file beside it."""
    if facts is None:
        return ""
    rows = []
    for m in facts["methods"]:
        better = m["improvement"]
        cells = [better["over"], with_interval(better["value"], better["interval"], 2)] if better else ["–", "–"]
        rows.append([m["method"], str(m["seeds"]), with_interval(m["iqm"], m["interval"]), *cells])
    header = ["method", "seeds", "score, IQM over tasks and seeds [95 %]", "compared with", "P(better) [95 %]"]
    said = (
        f"Over {', '.join(facts['tasks'])}: the interquartile mean over tasks and seeds, and the probability that a"
        " seed of the method beats one of what it is compared with (ties half, mean over tasks); intervals from a"
        " bootstrap over seeds, stratified by task, so none from one seed (Agarwal et al. 2021)."
    )
    said += " The share of runs above each score is in profiles.svg." if drawn else ""
    if facts["left_out"]:
        said += f" Left out, because not scored on all of these with as many seeds: {', '.join(facts['left_out'])}."
    return f"## All tasks\n\n{said}\n\n{markdown_table(header, rows)}"
