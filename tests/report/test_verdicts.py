"""The words follow from the numbers, and the interval is Welch's."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from example_run import HIGH, LOW, begin, write_example, write_json, write_policy
from scipy import stats

from dawm.report import numerals
from dawm.report.collect import read_run
from dawm.report.page import render
from dawm.report.settings import commands
from dawm.report.tables import markdown_scores, score_notes, score_table
from dawm.report.verdicts import caveats, comparisons, first_step_ratio, headline, model, synthetic, welch


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Path:
    return write_example(tmp_path_factory.mktemp("runs") / "run", dims=1)


@pytest.fixture
def run(example, tmp_path) -> Path:
    return Path(shutil.copytree(example, tmp_path / "run"))


def set_returns(run: Path, name: str, returns: list[list[float]], **more) -> None:
    path = run / "policies" / name / "scores.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"returns": returns} | more))


def test_welch_worked_by_hand():
    # a = 1, 3 has mean 2 and variance 2; b = 0, 0, 3 has mean 1 and variance 3: s^2 = 1 + 1, nu = 4 / (1/1 + 1/2) = 8/3
    difference, interval = welch([1.0, 3.0], [0.0, 0.0, 3.0])
    reach = stats.t.ppf(0.975, 8 / 3) * np.sqrt(2)
    assert difference == pytest.approx(1.0)
    assert interval == pytest.approx((1 - reach, 1 + reach))


def test_welch_agrees_with_scipy_and_covers_the_truth():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 4), rng.normal(0, 3, 6)
    other = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert welch(a, b)[1] == pytest.approx((other.low, other.high))
    inside = 0
    for _ in range(1_000):
        interval = welch(rng.normal(1, 1, 3), rng.normal(0, 1, 3))[1]
        assert interval is not None
        inside += interval[0] < 1 < interval[1]
    assert 0.93 < inside / 1_000 < 0.99


def test_no_interval_without_variance():
    assert welch([1.0], [0.0, 2.0]) == (0.0, None)
    assert welch([1.0, 1.0], [0.0, 0.0]) == (1.0, None)


@pytest.mark.parametrize(
    ("with_synthetic", "title", "tone"),
    [
        ([[1500.0], [1510.0], [1490.0]], "Synthetic data helped", "good"),
        ([[500.0], [510.0], [490.0]], "Synthetic data hurt", "bad"),
        ([[900.0], [1000.0], [1150.0]], "No clear effect of synthetic data", "open"),
        ([[1500.0]], "One seed cannot tell whether synthetic data helped", "open"),
    ],
)
def test_the_headline_follows_the_interval_of_the_difference(run, with_synthetic, title, tone):
    set_returns(run, "td3bc", [[1000.0], [1010.0], [990.0]])
    set_returns(run, "td3bc-dawm", with_synthetic)
    found = headline(read_run(run))
    assert (found.title, found.tone) == (title, tone)


def test_synthetic_data_are_not_praised_where_cloning_is_better(run):
    set_returns(run, "td3bc", [[1000.0], [1010.0], [990.0]])
    set_returns(run, "td3bc-dawm", [[1500.0], [1510.0], [1490.0]])
    set_returns(run, "bc", [[1400.0]])
    assert headline(read_run(run)).tone == "good"
    assert not any("Behaviour cloning" in c for c in caveats(read_run(run)))
    set_returns(run, "bc", [[1600.0]])
    found = headline(read_run(run))
    assert (found.title, found.tone) == ("Synthetic data helped, but behaviour cloning is better", "open")
    assert any("above every learner here" in c and "--set policy.loop.steps=N" in c for c in caveats(read_run(run)))


PLAIN, BETTER, WORSE = [[1000.0], [1010.0], [990.0]], [[1500.0], [1510.0], [1490.0]], [[500.0], [510.0], [490.0]]
UNCLEAR, BEST = [[900.0], [1000.0], [1150.0]], [[2000.0], [2010.0], [1990.0]]


@pytest.mark.parametrize(
    ("with_synthetic", "planned", "cloned", "title", "tone", "card"),
    [
        (BETTER, BEST, None, "Synthetic data and the planner helped", "good", "by the planner"),
        (BETTER, WORSE, None, "Synthetic data helped; the planner hurt", "open", "by synthetic data"),
        (UNCLEAR, BETTER, None, "The planner helped; no clear effect of synthetic data", "good", "by the planner"),
        (UNCLEAR, WORSE, None, "The planner hurt; no clear effect of synthetic data", "bad", "by the planner"),
        (WORSE, UNCLEAR, None, "Synthetic data hurt; no clear effect of the planner", "bad", "by synthetic data"),
        (UNCLEAR, UNCLEAR, None, "No clear effect of synthetic data or the planner", "open", "by synthetic data"),
        (WORSE, WORSE, None, "Synthetic data and the planner hurt", "bad", "by synthetic data"),
        (None, BETTER, None, "The planner helped", "good", "by the planner"),
        (None, [[1500.0]], None, "One seed cannot tell whether the planner helped", "open", "by the planner"),
        (BETTER, BEST, [[1600.0]], "Synthetic data and the planner helped", "good", "by the planner"),
        (
            UNCLEAR, BETTER, [[1600.0]],
            "The planner helped; no clear effect of synthetic data, but behaviour cloning is better", "open",
            "by the planner",
        ),
    ],
)  # fmt: skip
def test_the_headline_speaks_of_the_planner_too(run, with_synthetic, planned, cloned, title, tone, card):
    around = {"policy": {"path": "../td3bc", "step": 7}, "model": {"path": "../../model"}, "env": "Hopper-v5"}
    begin(run / "policies" / "td3bc-plan", "planner", around)
    shutil.copy(run / "policies" / "td3bc" / "scores.json", run / "policies" / "td3bc-plan" / "scores.json")
    if with_synthetic is None:
        shutil.rmtree(run / "policies" / "td3bc-dawm")
    else:
        set_returns(run, "td3bc-dawm", with_synthetic)
    set_returns(run, "td3bc", PLAIN)
    set_returns(run, "td3bc-plan", planned)
    if cloned:
        set_returns(run, "bc", cloned)
    record = read_run(run)
    found = headline(record)
    assert (found.title, found.tone) == (title, tone)
    assert "TD3+BC with a planner around it reaches a mean of" in found.text
    assert f"points of score {card}" in render(record)


def test_differences_are_in_points_of_score_or_in_raw_return(run):
    set_returns(run, "td3bc", [[LOW, LOW + 2], [LOW]])
    set_returns(run, "td3bc-dawm", [[HIGH], [HIGH]])
    found = comparisons(read_run(run))[0]
    # the mean over seeds of their means: the seed of two episodes weighs as much as the one of one
    assert found.difference == pytest.approx(100 - 100 * 0.5 / (HIGH - LOW))
    for path in [run / "data.json", *run.glob("policies/*/scores.json")]:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"references": None}))
    assert comparisons(read_run(run))[0].difference == pytest.approx(HIGH - LOW - 0.5)
    assert "of return" in headline(read_run(run)).text


def test_every_addition_is_compared_with_the_plain_learner(run):
    write_policy(run / "policies/td3bc-futures", np.random.default_rng(0), 0.0)
    set_returns(run, "td3bc", [[0.0], [10.0]])
    set_returns(run, "td3bc-futures", [[30.0], [40.0]])
    record = read_run(run)
    found = {c.what: c for c in comparisons(record)}
    assert set(found) == {"real + synthetic", "cvar 0.25 over futures"}
    assert found["cvar 0.25 over futures"].difference == pytest.approx(100 * 30 / (HIGH - LOW))
    assert "Synthetic data" in headline(record).title  # which is about synthetic data alone
    assert "TD3+BC, cvar 0.25 over futures" in markdown_scores(record)


def test_synthetic_rows_that_are_not_imitated_are_synthetic_data_all_the_same(run):
    """The presets' setting: the headline and the stage's card are of that comparison, also beside a planner's."""
    path = run / "policies" / "td3bc-dawm" / "run.toml"
    path.write_text(path.read_text().replace("batch_size = 256", 'batch_size = 256\nclone = "log"\nfocus = 0.1'))
    around = {"policy": {"path": "../td3bc", "step": 7}, "model": {"path": "../../model"}, "env": "Hopper-v5"}
    begin(run / "policies" / "td3bc-plan", "planner", around)
    shutil.copy(run / "policies" / "td3bc" / "scores.json", run / "policies" / "td3bc-plan" / "scores.json")
    set_returns(run, "td3bc", [[1000.0], [1010.0], [990.0]])
    set_returns(run, "td3bc-dawm", [[1500.0], [1510.0], [1490.0]])
    record = read_run(run)
    assert headline(record).title == "Synthetic data and the planner helped"
    assert {c.what: c.cause for c in comparisons(record)} == {
        "real + synthetic, recorded actions imitated only": "synthetic data",
        "planning": "the planner",
    }
    assert "points of score by synthetic data" in render(record)  # which helped more
    assert "Rows of better episodes were drawn more often (policy.focus 0.1)." in markdown_scores(record)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (0.5, "Rows of better episodes were drawn more often (policy.focus auto, which came to 0.5)."),
        (
            1.0,
            "Rows of all episodes were drawn alike (policy.focus auto): fewer rows of better episodes gain too little.",
        ),
    ],
)
def test_the_report_says_how_much_of_the_log_was_drawn(run, found, said):
    path = run / "policies" / "td3bc" / "run.toml"
    text = path.read_text().replace("batch_size = 256", 'batch_size = 256\nfocus = "auto"')
    path.write_text(text.replace("[config.policy]", f"[config]\nfocus = {found}\n\n[config.policy]", 1))
    assert said in markdown_scores(run)


def test_the_report_says_where_averages_of_weights_act(run):
    path, said = run / "policies" / "td3bc" / "run.toml", "act with an average of their weights"
    for memory, there in ((0.0, False), (0.9995, True)):
        text = path.read_text().replace("batch_size = 256", f"batch_size = 256\naverage = {memory}")
        (run / "policies" / "td3bc" / "run.toml").write_text(text)
        assert (f"{said} over the updates (policy.average 0.9995)" in markdown_scores(run)) is there
        path.write_text(text.replace(f"\naverage = {memory}", ""))


def test_a_planner_is_compared_with_the_policy_that_it_plans_around(run):
    policies = run / "policies"
    around = {"policy": {"path": "../td3bc", "step": 7}, "model": {"path": "../../model"}, "env": "Hopper-v5"}
    for name, config in (("td3bc-plan", around), ("alone", around | {"policy": None})):
        begin(policies / name, "planner", {key: value for key, value in config.items() if value})
        shutil.copy(policies / "td3bc" / "scores.json", policies / name / "scores.json")
    set_returns(run, "td3bc", [[0.0], [10.0]])
    set_returns(run, "td3bc-plan", [[30.0], [40.0]])
    record = read_run(run)
    found = {c.what: c for c in comparisons(record)}
    assert set(found) == {"real + synthetic", "planning"}
    assert found["planning"].difference == pytest.approx(100 * 30 / (HIGH - LOW))
    assert "TD3+BC, planning" in markdown_scores(record)
    assert "planner alone" in markdown_scores(record)
    words = dict(commands(record))
    begun = f"dawm plan {run.resolve() / 'model'} --policy {policies.resolve() / 'td3bc'} --env Hopper-v5"
    assert words["Planner td3bc-plan alone"].startswith(begun)
    assert "--policy" not in words["Planner alone alone"]


@pytest.mark.parametrize(
    ("imitated", "again", "title"),
    [
        (BETTER, BEST, "The planner, imitating the planner and planning around the imitation helped"),
        (
            UNCLEAR,
            BEST,
            "The planner and planning around the imitation helped; no clear effect of imitating the planner",
        ),
        (WORSE, WORSE, "The planner helped; imitating the planner and planning around the imitation hurt"),
    ],
)
def test_a_planner_around_what_imitated_one_is_judged_beside_both(run, imitated, again, title):
    policies = run / "policies"
    shutil.rmtree(policies / "td3bc-dawm")
    around = {"model": {"path": "../../model"}, "env": "Hopper-v5"}
    begin(policies / "td3bc-plan", "planner", around | {"policy": {"path": "../td3bc", "step": 7}})
    begin(policies / "td3bc-distil-plan", "planner", around | {"policy": {"path": "../td3bc-distil", "step": 7}})
    learner = tomllib.loads((policies / "td3bc" / "run.toml").read_text())["config"]
    begin(policies / "td3bc-distil", "policy", learner | {"distil": {"seed": 0}, "before": {"path": "../td3bc"}})
    found = {"td3bc": PLAIN, "td3bc-plan": BETTER, "td3bc-distil": imitated, "td3bc-distil-plan": again}
    for name, returns in found.items():
        if name != "td3bc":
            shutil.copy(policies / "td3bc" / "scores.json", policies / name / "scores.json")
        set_returns(run, name, returns)
    record = read_run(run)
    assert headline(record).title == title
    assert "TD3+BC with a planner around what imitated one reaches a mean of" in headline(record).text
    assert "TD3+BC, imitating its planner, planning" in markdown_scores(record)
    line = dict(commands(record))["Planner td3bc-distil-plan alone"]
    assert f"--policy {policies.resolve() / 'td3bc-distil'}" in line


@pytest.mark.parametrize(("rounds", "said"), [(1, "its planner: a planner"), (2, "in the last of 2 rounds a planner")])
def test_the_report_says_what_was_learnt_of_a_planner(run, rounds, said):
    policy = run / "policies" / "td3bc-distil"
    learner = tomllib.loads((run / "policies" / "td3bc" / "run.toml").read_text())["config"]
    begin(policy, "policy", learner | {"distil": {"seed": 0, "rounds": rounds}, "before": {"path": "../td3bc"}})
    write_json(policy / "distil.json", {"labels": [90, 110], "distance": {"before": [0.3, 0.5], "after": [0.2, 0.2]}})
    text = markdown_scores(run)
    assert f"{said} around it labelled 100 states of the world model" in text
    assert "differs from the planner by 0.200 halves of the action range (root mean square), before by 0.400" in text


def test_of_a_planner_that_spared_its_policy_there_is_nothing_to_judge(run):
    around = {"policy": {"path": "../td3bc", "step": 7}, "model": {"path": "../../model"}, "env": "Hopper-v5"}
    begin(run / "policies" / "td3bc-plan", "planner", around)
    scores = json.loads((run / "policies" / "td3bc" / "scores.json").read_text())
    for spared, causes in ((False, {"synthetic data", "the planner"}), (True, {"synthetic data"})):
        write_json(run / "policies" / "td3bc-plan" / "scores.json", scores | {"spared": spared})
        assert {c.cause for c in comparisons(read_run(run))} == causes
        assert ("left its policy alone" in markdown_scores(run)) is spared
    why = {"spared": True, "spared_because": "one-step forecasts have 93% of the error (unknown=2 plans all the same)"}
    write_json(run / "policies" / "td3bc-plan" / "scores.json", scores | why)
    assert "left its policy alone: one-step forecasts have 93% of the error" in markdown_scores(run)


def test_episodes_that_are_null_or_nan_are_left_out(run):
    set_returns(run, "td3bc", [[0.0, None], [float("nan"), 10.0], [None]])
    assert comparisons(read_run(run))[0].seeds == (5, 2)


@pytest.mark.parametrize(
    ("ratio", "tone"), [(0.8, "good"), (1.0, "good"), (1.3, "good"), (1.6, "bad"), (20.0, "bad"), (None, "open")]
)
def test_the_model_is_judged_beside_the_one_step_network(run, ratio, tone):
    path = run / "model" / "holdout.json"
    path.write_text(json.dumps({"first_step_ratio": ratio}))
    stage = read_run(run).model
    assert model(stage).tone == tone
    assert any("less precise" in c for c in caveats(read_run(run))) == (ratio is not None and ratio > 1.5)


def test_a_missing_ratio_is_computed_from_the_errors(run):
    path = run / "model" / "holdout.json"
    path.write_text(json.dumps({"models": {"dawm": {"rmse": [0.3, 1]}, "one_step": {"rmse": [0.2, 1]}}}))
    stage = read_run(run).model
    assert stage is not None
    assert first_step_ratio(stage) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("auc", "tone"), [(0.52, "good"), (0.45, "good"), (0.7, "open"), (0.97, "bad"), (None, "open")]
)
def test_fidelity_is_judged_by_the_distance_from_chance(run, auc, tone):
    (run / "synthetic" / "fidelity.json").write_text(
        json.dumps({"two_sample_auc": auc, "nearest_neighbour": {"ratio": 0.2}})
    )
    found = synthetic(read_run(run).synthetic)
    assert found.tone == tone
    assert "copies" in found.text


def test_limits_are_said(run):
    assert not any("seed" in c for c in caveats(read_run(run)))
    set_returns(run, "td3bc", [[1.0] * 3] * 2)
    said = " ".join(caveats(read_run(run)))
    assert "Two seeds" in said
    assert "three episodes" in said
    (run / "model" / "finished").unlink()
    assert "Not finished: model" in " ".join(caveats(read_run(run)))
    for path in run.glob("policies/*/scores.json"):
        path.unlink()
    assert "Without an environment" in " ".join(caveats(read_run(run)))
    assert headline(read_run(run)).title == "Policies without a score"


def test_the_table_of_scores_never_shifts_a_spread(run):
    record = read_run(run)
    rows = {row[0]: row for row in score_table(record).rows}
    assert next(iter(rows)) == "BC"
    assert record.data is not None
    std = record.data["returns"]["std"]
    assert rows["The data’s own episodes"][5] == f"{100 * std / (HIGH - LOW):.1f}"
    scores = record.policies[0].results["scores"]
    assert rows["BC"][5] == f"{scores['score_std']:.1f}"
    assert rows["BC"][1] == "5 × 10"


def test_markdown_is_a_table_and_names_its_references(run):
    text = markdown_scores(run)
    lines = text.splitlines()
    assert len({line.count("|") for line in lines[:6]}) == 1
    assert "---:" in lines[1]
    assert "last checkpoint (step 200,000)" in text
    assert "counts as 0" in text


def test_one_seed_gets_no_interval(run):
    set_returns(run, "td3bc", [[1.0, 2.0]], score_interval=[1.0, 2.0])
    rows = {row[0]: row for row in score_table(read_run(run)).rows}
    assert rows["TD3+BC, real data only"][-1] == "–"


def test_the_mean_of_the_seeds_has_a_row_of_their_own_and_no_comparison(run):
    around = {"policy": {"path": "../td3bc", "step": 7}, "model": {"path": "../../model"}, "env": "Hopper-v5"}
    begin(run / "policies" / "td3bc-plan", "planner", around)
    scores = json.loads((run / "policies" / "td3bc" / "scores.json").read_text())
    for name, returns in (("scores", [[1500.0], [1600.0]]), ("mean", [[1700.0]])):
        write_json(run / "policies" / "td3bc-plan" / f"{name}.json", scores | {"returns": returns})
    record = read_run(run)
    names = [row[0] for row in score_table(record).rows]
    assert names[names.index("TD3+BC, planning") + 1] == "TD3+BC, planning, mean of the seeds"
    assert [c.seeds for c in comparisons(record) if c.cause == "the planner"] == [(2, len(scores["returns"]))]
    assert "The mean of the seeds is one controller" in " ".join(score_notes(record))


def test_costs_are_a_column_where_an_environment_reports_them(run):
    assert "Cost of an episode" not in score_table(read_run(run)).columns
    path = run / "policies" / "bc" / "scores.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cost_mean": 12.5}))
    table = score_table(read_run(run))
    assert table.columns[-1] == "Cost of an episode"
    last = {row[0]: row[-1] for row in table.rows}
    assert last.pop("BC") == "12.5"
    assert set(last.values()) == {numerals.MISSING}
    assert {len(row) for row in table.rows} == {len(table.columns)}
