"""Missing pieces are normal; damaged ones are errors that name the file and the field."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from example_run import write_example

from dawm.errors import FileError
from dawm.report.collect import dig, leaves, read_run


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Path:
    return write_example(tmp_path_factory.mktemp("runs") / "run", seeds=2, learners=("iql", "td3bc"), dims=2)


@pytest.fixture
def run(example, tmp_path) -> Path:
    return Path(shutil.copytree(example, tmp_path / "run"))


def test_the_stages_are_found_in_the_order_of_the_flow(run):
    record = read_run(run)
    assert [s.name for s in record.stages] == ["model", "synthetic", "bc", "iql", "iql-dawm", "td3bc", "td3bc-dawm"]
    assert [(p.algorithm, p.uses_synthetic) for p in record.policies][-2:] == [("td3bc", False), ("td3bc", True)]
    assert record.name == "hopper-mixed"
    assert record.references is not None
    assert record.references["high"] == 3234.3
    assert record.model is not None
    assert (record.model.steps_done, record.model.steps_planned, record.model.finished) == (20_000, 20_000, True)


def test_every_file_but_run_toml_may_be_missing(run):
    for path in [p for p in run.rglob("*") if p.is_file() and p.name != "run.toml"]:
        path.unlink()
    record = read_run(run)
    assert record.data is None
    assert all(not s.results and not s.metrics and not s.finished for s in record.stages)


@pytest.mark.parametrize("name", ["model", "synthetic", "policies/td3bc-dawm"])
def test_the_folder_of_a_single_stage_is_a_record_with_that_stage(run, name):
    record = read_run(run / name)
    assert [s.path for s in record.stages] == [run / name]


def test_a_policy_folder_of_any_name_knows_its_learner_and_its_data(run, tmp_path):
    moved = Path(shutil.copytree(run / "policies" / "td3bc-dawm", tmp_path / "my policy"))
    record = read_run(moved)
    assert (record.policies[0].algorithm, record.policies[0].uses_synthetic) == ("td3bc", True)
    assert (record.name, record.origin) == ("hopper-mixed", "file:hopper-mixed.npz")


def test_a_folder_that_is_no_run_folder_is_refused(tmp_path):
    with pytest.raises(FileError, match=r"has no run\.toml"):
        read_run(tmp_path)
    with pytest.raises(FileError, match="does not exist"):
        read_run(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["run.toml", "data.json", "model/holdout.json", "synthetic/fidelity.json"])
def test_text_that_cannot_be_parsed_names_its_file(run, name):
    (run / name).write_text('{"a": [')
    with pytest.raises(FileError, match=name):
        read_run(run)


@pytest.mark.parametrize(
    ("name", "keys", "value", "words"),
    [
        ("data.json", ["returns", "edges"], "many", "`returns.edges` must be a list of numbers"),
        ("data.json", ["doctor"], [], "`doctor` must be an object"),
        ("model/holdout.json", ["models", "dawm", "rmse"], [0.1, "x"], "`models.dawm.rmse` must be a list of numbers"),
        ("synthetic/fidelity.json", ["two_sample_auc"], "0.5", "`two_sample_auc` must be a number"),
        ("policies/bc/scores.json", ["returns"], [1.0], "`returns` must be a list of lists of numbers"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(run, name, keys, value, words):
    content = json.loads((run / name).read_text())
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    (run / name).write_text(json.dumps(content))
    with pytest.raises(FileError, match=words):
        read_run(run)


def test_a_last_row_cut_by_a_kill_is_left_out_and_a_damaged_one_is_named(run):
    path = run / "model" / "metrics.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"step": 20500, "lo')
    record = read_run(run)
    assert record.model is not None
    assert record.model.steps_done == 20_000
    path.write_text('{"step": 1}\n{"ste\n' + whole)
    with pytest.raises(FileError, match="line 2"):
        read_run(run)
    path.write_text("[1, 2]\n" + whole)
    with pytest.raises(FileError, match="line 1"):
        read_run(run)


def test_dig_and_leaves():
    nested = {"a": {"b": 1, "c": {}}, "d": None}
    assert (dig(nested, "a", "b"), dig(nested, "a", "x", "y"), dig(None, "a"), dig(3, "a")) == (1, None, None, None)
    assert list(leaves(nested)) == [("a.b", 1), ("d", None)]
