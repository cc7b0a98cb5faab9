"""What the page says of estimates, and how far it believes them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from example_run import write_example, write_json

from dawm.errors import FileError
from dawm.report.collect import read_run
from dawm.report.estimates import section
from dawm.report.page import render
from dawm.report.verdicts import headline

VALUES = {"bc": [10.0, 14.0], "td3bc": [30.0, 32.0], "td3bc-dawm": [20.0, 20.0]}


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Path:
    return write_example(tmp_path_factory.mktemp("runs") / "run", dims=1)


@pytest.fixture
def run(example, tmp_path) -> Path:
    run = Path(shutil.copytree(example, tmp_path / "run"))
    estimate(run)
    return run


def estimate(run: Path, linear: bool = False) -> None:
    for name, values in VALUES.items():
        part = {"value": values, "low": [v - 1 for v in values], "high": [v + 1 for v in values], "left": [0.0, 0.1]}
        part |= {"log": 15.0, "linear": linear}
        settings = {"model": {"steps": 300, "dynamics": "anchor"}}
        found = {"discount": 0.99, "log": 16.0, "settings": settings, "model": part}
        write_json(run / "policies" / name / "estimates.json", found)


def test_the_table_has_the_highest_first_and_the_log_last(run):
    found = section(read_run(run))
    assert found is not None
    assert [row[0] for row in found["table"].rows] == [
        "TD3+BC, real data only",
        "TD3+BC, real + synthetic",
        "BC",
        "The data’s own episodes",
    ]
    assert found["table"].rows[2][1:] == ["12.00", "10.00 to 14.00", "9.000 to 15.00", "5.0\N{NO-BREAK SPACE}%"]
    assert found["table"].rows[-1][1] == "15.00"
    assert "Estimates without the environment" in render(read_run(run))


@pytest.mark.parametrize(("linear", "said"), [(True, "are linear"), (False, "Do not choose a policy by these")])
def test_how_far_they_can_be_believed_hangs_on_the_dynamics(run, linear, said):
    estimate(run, linear)
    found = section(read_run(run))
    assert found is not None
    assert said in " ".join(found["notes"])


def test_the_rank_correlation_with_measured_returns_by_hand(run):
    # six policies; the ranks of returns are those of estimates but for the two seeds of td3bc, which change places
    returns = {"bc": [[1.0], [2.0]], "td3bc": [[6.0], [5.0]], "td3bc-dawm": [[3.5], [3.5]]}
    for name, values in returns.items():
        path = run / "policies" / name / "scores.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"returns": values}))
    found = section(read_run(run))
    assert found is not None
    # ranks 1 2 5 6 3.5 3.5 and 1 2 6 5 3.5 3.5: the squared differences sum to 2, those from the mean to 17
    assert f"is {1 - 2 / (2 * 17):.2f} over 6 policies" in found["notes"][-1]


def test_without_scores_only_a_linear_log_has_a_best_policy(run):
    for path in run.glob("policies/*/scores.json"):
        path.unlink()
    best = "“TD3+BC, real data only” does best: a discounted return of 31.00"
    for linear, said in ((True, best), (False, "with why no")):
        estimate(run, linear)
        record = read_run(run)
        assert headline(record).title == "Policies without a score"
        assert said in headline(record).text
        found = section(record)
        assert found is not None
        assert "rank correlation of estimates" not in " ".join(found["notes"])


def test_a_damaged_file_is_named(run):
    path = run / "policies" / "bc" / "estimates.json"
    path.write_text(path.read_text().replace("14.0", '"14"'))
    with pytest.raises(FileError, match=r"`model\.value` must be a list of numbers"):
        read_run(run)
