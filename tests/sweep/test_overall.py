"""Aggregates over the tasks of a suite, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dawm.errors import ConfigError
from dawm.run.folder import RunFolder
from dawm.sweep.overall import common_tasks, overall_facts, overall_section
from dawm.sweep.profiles import write_profiles
from dawm.sweep.table import base_of, read_results


def method(name, seed_means, *, algo="td3bc", ratio=0.0, unit="score", **more):
    facts = {"method": name, "algo": algo, "ratio": ratio, "focus": 1.0, "unit": unit, "scored": True}
    return facts | {"seed_means": seed_means} | more


def task(name, *methods):
    return {"dataset": name, "methods": list(methods)}


TASKS = [
    task(
        "a",
        method("td3bc", [0.0, 10.0]),
        method("td3bc-dawm", [20.0, 30.0], ratio=0.5),
        method("plan", [0.0, 40.0], algo="planner", over="td3bc"),
        method("iql", [1.0, 2.0], algo="iql"),
    ),
    task(
        "b",
        method("td3bc", [50.0, 60.0]),
        method("td3bc-dawm", [50.0, 40.0], ratio=0.5),
        method("plan", [60.0, 60.0], algo="planner", over="td3bc"),
    ),
    task("c", method("td3bc", [-9.0, -9.0], unit="return")),  # no references: not in any aggregate
]


def test_aggregates_by_hand():
    facts = overall_facts(TASKS, base_of)
    assert facts["tasks"] == ["a", "b"]
    assert facts["left_out"] == ["iql"]  # scored on one of them only
    found = {m["method"]: m for m in facts["methods"]}
    # of four runs a quarter is cut from each end: the mean of the middle two
    assert {name: m["iqm"] for name, m in found.items()} == {"td3bc": 30.0, "td3bc-dawm": 35.0, "plan": 50.0}
    assert found["td3bc"]["improvement"] is None
    better = found["td3bc-dawm"]["improvement"]
    # a: all four pairs are won; b: 50 ties with 50 and loses to 60, 40 loses twice
    assert (better["over"], better["value"]) == ("td3bc", pytest.approx((1.0 + 0.125) / 2))
    # a: 0 ties and loses, 40 wins twice; b: 60 wins over 50 and ties with 60, twice
    assert found["plan"]["improvement"]["value"] == pytest.approx((2.5 / 4 + 3 / 4) / 2)
    low, high = found["td3bc-dawm"]["interval"]
    assert 30.0 <= low < 35.0 < high <= 40.0  # drawn within tasks: between the two worst and the two best seeds
    assert better["interval"] == [0.5, pytest.approx(0.75)]  # a stays won; b is 0 at worst and 1/2 at best
    text = overall_section(facts)
    assert "Over a, b:" in text
    assert "| td3bc-dawm | 2 | 35.0 [" in text
    assert "| td3bc | 0.56 [0.50, 0.75] |" in text
    assert "with as many seeds: iql." in text


def test_named_methods_are_compared_on_the_tasks_that_they_share():
    over_td3bc = lambda method, methods: None if method["method"] == "td3bc" else methods["td3bc"]
    facts = overall_facts(TASKS, over_td3bc, ["iql", "td3bc"])
    assert facts["tasks"] == ["a"]  # where iql was scored
    assert facts["left_out"] == []
    assert [(m["method"], m["iqm"]) for m in facts["methods"]] == [("iql", 1.5), ("td3bc", 5.0)]
    assert facts["methods"][0]["improvement"]["value"] == 0.5  # both beat 0 and lose to 10
    assert "profiles.svg" not in overall_section(facts, drawn=False)
    with pytest.raises(ConfigError, match="no task has scores of `mopo`; there are scores of iql, plan, td3bc"):
        overall_facts(TASKS, over_td3bc, ["td3bc", "mopo"])
    apart = [task("a", method("x", [1.0])), task("b", method("y", [1.0]))]
    with pytest.raises(ConfigError, match="scores of all of x, y"):
        overall_facts(apart, over_td3bc, ["x", "y"])


def test_one_seed_has_no_interval():
    tasks = [
        task("a", method("bc", [1.0], algo="bc"), method("td3bc", [2.0])),
        task("b", method("bc", [3.0], algo="bc")),
    ]
    facts = overall_facts(tasks, base_of)
    assert facts["tasks"] == ["a"]  # as many scores as a and b of one method, and two methods
    assert all(m["interval"] is None for m in facts["methods"])


def test_tasks_are_those_that_keep_most_scores():
    assert common_tasks({"x": {"a", "b", "c"}, "y": {"a", "b"}, "z": {"a", "b"}}) == ["a", "b"]  # 6 scores, not 3
    assert common_tasks({"x": {"a", "b", "c"}, "y": {"a"}}) == ["a", "b", "c"]  # 3, not 2
    assert common_tasks({}) == []


@pytest.mark.parametrize("tasks", [[], [task("a", method("bc", [1.0, 2.0], algo="bc"))], TASKS[2:]])
def test_nothing_to_compare_is_no_section(tasks):
    assert overall_facts(tasks, base_of) is None
    assert overall_section(None) == ""


def test_profiles_fall_from_all_runs_to_none(tmp_path):
    profiles = overall_facts(TASKS, base_of)["profiles"]
    scores = np.array(profiles["scores"])
    share = np.array(profiles["methods"]["plan"]["share"])
    assert (share[0], share[-1]) == (1.0, 0.0)
    assert share[scores.searchsorted(30.0)] == 0.75  # 40, 60, 60 of four
    low, high = np.array(profiles["methods"]["plan"]["band"])
    assert (low <= share).all()
    assert (share <= high).all()
    assert (low[scores.searchsorted(30.0)], high[scores.searchsorted(30.0)]) == (0.5, 1.0)
    for name in ("one.svg", "two.svg"):
        write_profiles(tmp_path / name, profiles)
    drawn = (tmp_path / "one.svg").read_bytes()
    assert drawn == (tmp_path / "two.svg").read_bytes()
    assert b">plan<" in drawn


def test_targets_that_look_ahead_are_no_plain_learner(tmp_path):
    """What is read of their run folders is compared with the learner on the log alone, never the other way round."""
    for name, horizon in (("ahead", 5), ("plain", 0)):
        settings = {"algo": {"kind": "td3bc"}, "loop": {"steps": 3}, "seeds": 2, "expansion": {"horizon": horizon}}
        run = RunFolder.start(tmp_path / "task" / "policies" / name, "policy", {"policy": settings}, {})
        references = {"low": 0.0, "high": 100.0, "source": "by hand"}
        shown = {"returns": [[horizon, 1.0], [2.0, 3.0]], "references": references, "episodes": 2, "env": "none"}
        run.write_json("scores.json", shown)
    RunFolder.start(tmp_path / "task", "run", {}, {}).write_json("data.json", {"name": "task"})
    (found,) = read_results(tmp_path)
    over = {m["method"]: m.get("gain", {}).get("over") for m in found["methods"]}
    assert over == {"ahead": "plain", "plain": None}


def test_a_method_is_compared_with_the_learner_that_draws_as_it_does():
    names = {"iql": {}, "best": {"focus": 0.1}, "dawm": {"ratio": 0.5}, "both": {"ratio": 0.5, "focus": 0.1}}
    methods = {name: method(name, [0.0], algo="iql", **more) for name, more in names.items()}
    over = lambda name, among: (base_of(among[name], among) or {}).get("method")
    assert {name: over(name, methods) for name in names} == {"iql": None, "best": "iql", "dawm": "iql", "both": "best"}
    del methods["best"]
    assert over("both", methods) == "iql"
    del methods["iql"]
    assert over("both", methods) is None
