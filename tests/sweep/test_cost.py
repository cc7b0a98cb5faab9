"""Costs of a suite, worked by hand and read from real run folders."""

from __future__ import annotations

import pytest

from dawm.run.folder import RunFolder
from dawm.sweep.cost import Cost, cost_section, read_costs
from dawm.sweep.table import read_results


def learner(name, seconds, *, updates=1_000, seeds=3):
    return {"method": name, "seconds": seconds, "updates": updates, "seeds": seeds}


def worlds(models=(), synthetic=()):
    return {"models": dict(models), "synthetic": dict(synthetic)}


TASKS = [
    {
        "dataset": "a",
        "methods": [learner("iql", 30.0), learner("iql-plan", None, updates=None)],
        "worlds": worlds(
            [("model", {"seconds": 50.0, "updates": 5_000}), ("model-anchor", {"seconds": None, "updates": None})],
            [("synthetic", {"generation": {"seconds": 4.0, "transitions": 8_000}}), ("broken", {"generation": None})],
        ),
    },
    {"dataset": "b", "methods": [learner("iql", 60.0, seeds=1)], "worlds": worlds()},
    {"dataset": "c", "methods": [], "worlds": worlds()},  # nothing is known of it
]


def test_rates_count_what_a_stage_makes():
    costs = read_costs(TASKS)
    assert costs == {
        ("model", "updates"): {"a": Cost(50.0, 5_000)},
        ("synthetic", "transitions"): {"a": Cost(4.0, 8_000)},
        ("iql", "updates of a seed"): {"a": Cost(30.0, 3_000), "b": Cost(60.0, 1_000)},
    }
    assert costs["iql", "updates of a seed"]["a"].rate == 100.0  # three seeds of 1,000 in 30 s
    text = cost_section(TASKS)
    assert "| stage | counted | a | b |" in text  # no column for c
    assert "| iql | updates of a seed | 30 s (100/s) | 60 s (17/s) |" in text
    assert "| synthetic | transitions | 4 s (2,000/s) | – |" in text


def test_no_cost_is_no_section():
    assert cost_section(TASKS[2:]) == ""
    assert cost_section([]) == ""


def test_costs_come_from_the_folders(tmp_path):
    RunFolder.start(tmp_path / "task", "run", {}, {}).write_json("data.json", {"name": "task"})
    model = RunFolder.start(tmp_path / "task" / "model", "model", {}, {})
    for step, seconds in ((100, 1.5), (200, 2.5)):  # the last row counts
        model.metrics.append({"step": step, "loss": 1.0, "seconds": seconds})
    settings = {"algo": {"kind": "bc"}, "loop": {"steps": 30}, "seeds": 2}
    policy = RunFolder.start(tmp_path / "task" / "policies" / "bc", "policy", {"policy": settings}, {})
    policy.metrics.append({"step": 30, "seconds": 6.0})
    costs = read_costs(read_results(tmp_path))
    assert costs == {
        ("model", "updates"): {"task": Cost(2.5, 200)},
        ("bc", "updates of a seed"): {"task": Cost(6.0, 60)},
    }
    assert costs["bc", "updates of a seed"]["task"].rate == pytest.approx(10.0)
