"""The page of results: it is what the records say, and says what was not run and what got worse."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from benchmarks import page
from benchmarks.beside import beside_section
from benchmarks.intervals import draw
from dawm.data.dataset import References
from dawm.errors import FileError
from dawm.evaluate.statistics import iqm


def method(name: str, seeds: tuple[float, ...], gain: tuple[float, float, float] | None = None, **facts):
    """A scored method as `dawm.sweep.table.read_results` gives it."""
    middle = sum(seeds) / len(seeds)
    scored = {"method": name, "scored": True, "unit": "score", "algo": "iql", "ratio": 0.0, "focus": 1.0, "added": []}
    scored |= {"seed_means": list(seeds), "iqm": middle, "interval": [middle - 1, middle + 1]}
    if gain:
        scored["gain"] = {"over": "iql", "value": gain[0], "interval": list(gain[1:])}
    return scored | facts


def task(name: str, *methods, env: str = "Nowhere-v0"):
    data = {"name": name, "env": env, "references": {"low": 0.0, "high": 1.0}, "score_mean": 50.0}
    return {"dataset": name, "data": data, "methods": list(methods)}


TASKS = [
    task(
        "one",
        method("iql", (40.0, 60.0)),
        method("iql-plan", (70.0, 80.0), (25.0, 5.0, 45.0), algo="planner", over="iql"),
    ),
    task("two", method("iql", (60.0, 62.0)), method("iql-dawm", (51.0, 53.0), (-9.0, -12.0, -6.0), ratio=0.5)),
]
SUITE = {
    "datasets": {"one": {}, "two": {}, "three": {}},
    "methods": {"iql": {}, "iql-plan": {}, "iql-dawm": {}, "bc": {}},
}


def test_the_page_is_what_the_records_say():
    """Whoever records a result makes the page anew: `python -m benchmarks.page`."""
    text = page.PAGE.read_text()
    (day,) = re.findall(r"on (\d{4}-\d\d-\d\d) from the records", text)
    names = re.findall(r"benchmarks/suites/(\w+)\.toml --out", text)
    assert {p.name for p in page.RECORDS.iterdir() if p.is_dir()} == set(names)
    assert page.page([page.RECORDS / name for name in names], day) == text


def test_a_cell_that_was_not_run_says_so_and_the_best_is_bold():
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in page._scores(TASKS, ["iql", "iql-plan"]).splitlines()
    ]
    assert rows[0] == ["", "one", "two", "all 2", "compared with", "P(better)"]
    assert rows[3][:3] == ["iql", "50.0 [49.0, 51.0]", "**61.0** [60.0, 62.0]"]
    assert rows[4] == ["iql-plan", "**75.0** [74.0, 76.0]", "not run", "–", "iql", "1.00 [1.00, 1.00] (1)"]


def test_returns_without_references_are_no_part_of_an_aggregate():
    bare = task("three", method("iql", (-900.0, -800.0), unit="return"))
    bare["data"] |= {"references": None, "returns": {"mean": -850.0}}
    rows = [line.split(" | ") for line in page._scores([*TASKS, bare], ["iql"]).splitlines()]
    assert rows[0][3:5] == ["three (return)", "all 2 with scores"]
    assert rows[2][3] == "-850.0"
    assert rows[3][3:5] == ["**-850.0** [-851.0, -849.0]", "60.0 [50.0, 61.0]"]


def test_losses_are_told_like_gains():
    text = page._differences(TASKS, ["iql", "iql-plan", "iql-dawm"])
    assert "Of 2 comparisons" in text
    assert "0 have an interval that holds 0" in text
    better, worse = text.split("Worse:")
    assert "- `iql-plan` than `iql`: one +25.0 [+5.0, +45.0]" in better
    assert "- `iql-dawm` than `iql`: two -9.0 [-12.0, -6.0]" in worse


def test_learners_of_others_stand_beside_ours(tmp_path):
    """Ours less theirs, in the units of the task."""
    ours = method(
        "iql", (50.0, 70.0), returns=[[0.4, 0.6], [0.6, 0.8]], references={"low": 0.0, "high": 1.0, "source": ""}
    )
    (tmp_path / "one" / "outside").mkdir(parents=True)
    theirs = {"algo": "iql", "returns": [[0.2, 0.2], [0.2, 0.2]], "library": "others 1.0"}
    (tmp_path / "one" / "outside" / "iql.json").write_text(json.dumps(theirs))
    text = beside_section(tmp_path, [task("one", ours), task("two", ours)])
    assert "the defaults of others 1.0 for the rest" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| one")]
    assert row.startswith("| one | iql | 50.0 70.0 | 20.0 20.0 | +40.0 [+2")
    assert row.endswith("2 × 2, 2 × 2 |")
    assert beside_section(tmp_path, [task("two", ours)]) == ""


def test_what_was_not_run_is_listed():
    lines = page._missing(SUITE, TASKS).splitlines()
    assert lines[2:] == ["- no method: three", "- `iql-plan`: two", "- `iql-dawm`: one", "- `bc`: all tasks"]


def test_standards_count_every_seed_of_every_task():
    assert page._standards(TASKS, ["iql"]) == "- Above the data on all 2 tasks, in every seed: none."
    alone = [task("two", *TASKS[1]["methods"], env="benchmarks.neorl2:Pipeline-v0")]  # published: 82.0
    said = page._standards(alone, ["iql", "iql-dawm"]).splitlines()
    assert said == [
        "- Above the data on all 1 tasks, in every seed: `iql`, `iql-dawm`.",
        "- Above the best published score on all 1 tasks, in every seed: none.",
    ]


def test_records_of_no_suite_are_named(tmp_path):
    with pytest.raises(FileError, match=r"named after no suite: `benchmarks/suites/mine.toml` is not there"):
        page.page([tmp_path / "mine"], "2026-11-30")


def test_the_picture_is_the_same_bytes_for_the_same_scores(tmp_path):
    panels = [page._panel(t) for t in TASKS]
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    for path in (first, second):
        draw(path, panels, ["iql", "iql-plan", "iql-dawm"])
    assert first.read_bytes() == second.read_bytes()
    assert "iql-plan" in first.read_text()


def test_the_table_of_the_readme_is_that_of_the_records():
    """Each cell is the interquartile mean of what was recorded, and the seeds in brackets are those of the record."""
    columns = {4: "iql", 5: "iql-auto", 6: page.PRESET, 7: "iql-auto-distil", 8: "iql-auto-distil-plan"}
    tasks = {"DMSD": "dmsd", "Pipeline": "pipeline", "SafetyHalfCheetah": "safety-half-cheetah"}
    tasks |= {"HalfCheetah mixture": "halfcheetah-mixed", "Hopper mixture": "hopper-mixed"}
    lines = (page.ROOT / "README.md").read_text().splitlines()
    start = lines.index(next(line for line in lines if line.startswith("| task | the data | best published |")))
    for line in lines[start + 2 : start + 2 + len(tasks)]:
        cells = line.split("|")
        name = cells[1].strip().removeprefix("NeoRL-2 ").removesuffix(" (not D4RL)")
        for column, method_name in columns.items():
            scores = _seed_means(page.RECORDS / "core" / tasks[name] / "policies" / method_name)
            shown, *seeds = (float(x) for x in re.findall(r"-?\d+\.\d", cells[column]))
            assert shown == pytest.approx(iqm(scores), abs=0.051)
            assert seeds in ([], pytest.approx(scores, abs=0.051))


def _seed_means(folder):
    scores = json.loads((folder / "scores.json").read_text())
    return References(**scores["references"]).normalise(np.array(scores["returns"])).mean(1)
