"""What the stages of a suite cost: seconds and rates, from the run folders that recorded them.

A rate counts what a stage makes: updates of a learner, each seed by itself (three seeds of 1,000 updates in 30 s are
100 a second), updates of a world model's diffusion, synthetic transitions. Planners and the networks beside a diffusion
record no time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from dawm.sweep.markdown import markdown_table


class Cost(NamedTuple):
    """What a stage took on one dataset."""

    seconds: float
    made: int  # updates, those of each seed counted, or transitions

    @property
    def rate(self) -> float:
        return self.made / self.seconds


Costs = dict[tuple[str, str], dict[str, Cost]]  # (stage, what its rate counts): the cost on each dataset


def read_costs(tasks: list[dict[str, Any]]) -> Costs:
    """Of the results of `dawm.sweep.table.read_results`; stages that recorded no time are left out."""
    found: Costs = {}
    for stage in (_models, _synthetic, _learners):  # in the order of the work, for all datasets
        for task in tasks:
            for name, counted, cost in stage(task):
                found.setdefault((name, counted), {})[task["dataset"]] = cost
    return found


Stage = Iterator[tuple[str, str, Cost]]  # its name, what its rate counts, its cost


def _models(task: dict[str, Any]) -> Stage:
    for name, model in task["worlds"]["models"].items():
        if model["seconds"]:
            yield name, "updates", Cost(model["seconds"], model["updates"])


def _synthetic(task: dict[str, Any]) -> Stage:
    for name, made in task["worlds"]["synthetic"].items():
        if (facts := made["generation"]) and facts["seconds"]:
            yield name, "transitions", Cost(facts["seconds"], facts["transitions"])


def _learners(task: dict[str, Any]) -> Stage:
    for method in task["methods"]:
        if method["seconds"]:
            yield method["method"], "updates of a seed", Cost(method["seconds"], method["updates"] * method["seeds"])


def cost_section(tasks: list[dict[str, Any]]) -> str:
    """The costs as Markdown, a row for each stage; empty where none is known."""
    if not (costs := read_costs(tasks)):
        return ""
    datasets = [task["dataset"] for task in tasks if any(task["dataset"] in row for row in costs.values())]
    rows = [
        [name, counted, *(_cell(row.get(dataset)) for dataset in datasets)] for (name, counted), row in costs.items()
    ]
    said = (
        "Seconds of training or generation, all seeds together, and how many of what the second column names that is a"
        " second, on the devices below and with whatever else these did at the time: for the size of things, no"
        " measurement of speed."
    )
    return f"## Cost\n\n{said}\n\n{markdown_table(['stage', 'counted', *datasets], rows)}"


def _cell(cost: Cost | None) -> str:
    return "–" if cost is None else f"{cost.seconds:,.0f} s ({cost.rate:,.0f}/s)"
