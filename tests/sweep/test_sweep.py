"""A suite with planners at a tiny budget: its mistakes, its pieces, what they write, and the command."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dawm.agents.policy import load_policy
from dawm.cli.main import main
from dawm.errors import ConfigError, FileError
from dawm.evaluate.score import score_policy
from dawm.planning.play import score_planner
from dawm.recorded import stored_model
from dawm.report.page import write_report
from dawm.run.config import from_dict
from dawm.sweep.hooks import load_hooks
from dawm.sweep.piece import pieces
from dawm.sweep.plan import Sweep
from dawm.sweep.suite import Task, read_suite
from dawm.sweep.table import read_results, write_table
from dawm.sweep.work import do, is_done
from dawm.synth.generator import load_synthetic
from tests.sweep.tiny_suite import ACTED, PLANNERS, SUITE, write_log


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("suite")
    write_log(place / "linear.npz")
    (place / "tiny.toml").write_text(SUITE + PLANNERS + ACTED)
    return place


@pytest.fixture(scope="module")
def finished(folder):
    """All pieces, in this process."""
    sweep = Sweep.open(folder / "tiny.toml", folder / "out")
    for piece in pieces(sweep.suite):
        assert not is_done(sweep, piece)
        do(sweep, piece)
        assert is_done(sweep, piece)
    return sweep


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ('policy = "bc"', 'policy = "td3bc"'),
            "`warm` names a `policy` that the suite does not describe as a learner",
        ),
        (('policy = "bc"', 'policy = "cold"'), "`warm` names a `policy` that the suite does not describe as a learner"),
        (('policy = "bc"', 'model = "latent"'), "`warm` names a `model` that the suite does not describe"),
        (('policy = "bc"', "policy.loop.steps = 3"), "`policy` of a planner is the name of a method"),
        (('policy = "bc"', "ratio = 0.5"), "a planner learns nothing"),
        (('policy = "bc"', 'algo = "bc"'), "either an `algo`, which learns, or a `planner`"),
        (
            ("planner.planner = { horizon = 2,", "planner.planner = { horizn = 2,"),
            "`methods.warm.planner.planner.horizn`; did you mean `horizon`",
        ),
        (
            ('policy = "bc"\ndistil', 'policy = "taught"\ndistil'),
            "`methods.taught` plans around itself, by way of taught",
        ),
        (("labels = { count", "labels = { cuont"), "`methods.taught.distil.labels.cuont`; did you mean `count`"),
        (('policy = "bc"\ndistil', "distil"), "`distil` is of a planner and the policy that imitates it"),
        (("planner.spare = 2", "planner.member = 1"), "`methods.warm.planner.member` cannot be set"),
        (('[synthetic.acted]\npolicy = "bc"', '[synthetic.acted]\npolicy = "warm"'), "as a learner on real data alone"),
        (('dynamics = "anchor" }', 'dynamics = "anchor" }\nmodel = "none"'), "`td3bc-ahead` names a `model`"),
        (("episodes = 1", "extra = {}"), "unknown setting `datasets.linear.extra`"),
        (("[datasets.linear]", '[datasets."../up"]'), "names a folder"),
        (
            ("[datasets.linear]", 'datasets.other = "demo"\n[datasets.linear]'),
            "must be a table of settings, got 'demo'",
        ),
    ],
)
def test_mistakes_are_named(folder, tmp_path, change, message):
    text = SUITE + PLANNERS + ACTED
    assert change[0] in text
    (tmp_path / "wrong.toml").write_text(text.replace(*change, 1))
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_suite(tmp_path / "wrong.toml")


def test_planners_come_after_their_model_and_their_policy(folder):
    assert {p.name: p.needs for p in pieces(read_suite(folder / "tiny.toml"))} == {
        "linear/data": (),
        "linear/model": ("linear/data",),
        "linear/bc": ("linear/data",),
        "linear/warm": ("linear/model", "linear/bc"),
        "linear/taught": ("linear/model", "linear/bc"),
        "linear/cold": ("linear/model",),
        "linear/synthetic-acted": ("linear/model", "linear/bc"),
        "linear/td3bc-acted": ("linear/synthetic-acted",),
        "linear/td3bc-ahead": ("linear/model",),
    }


def test_a_suite_extends_another_table_by_table(tmp_path):
    base = """
name = "base"
updates = 10
seeds = 2
[datasets.a]
path = "a.npz"
[methods.bc]
algo = "bc"
[policy.loop]
chunk = 5
"""
    (tmp_path / "base.toml").write_text(base)
    more = (
        'extends = "base.toml"\nname = "more"\nseeds = 5\n[datasets.b]\npath = "b.npz"\n[policy.loop]\nsave_every = 7\n'
    )
    (tmp_path / "more.toml").write_text(more)
    suite = read_suite(tmp_path / "more.toml")
    assert (suite.name, suite.updates, suite.seeds) == ("more", 10, 5)
    assert list(suite.datasets) == ["a", "b"]
    assert list(suite.methods) == ["bc"]
    assert suite.policy == {"loop": {"chunk": 5, "save_every": 7}}
    (tmp_path / "third.toml").write_text('extends = "more.toml"\nupdates = 3\n')
    third = read_suite(tmp_path / "third.toml")
    assert (third.name, third.updates, third.seeds) == ("more", 3, 5)


@pytest.mark.parametrize(
    ("extends", "error", "message"),
    [
        ('"none.toml"', FileError, "no suite file `.*none.toml`, which `.*wrong.toml` extends"),
        ('"wrong.toml"', ConfigError, "extends itself"),
        ("3", ConfigError, "`extends` of the suite file `.*wrong.toml` is the name of another, got 3"),
    ],
)
def test_a_base_that_cannot_be_is_named(tmp_path, extends, error, message):
    (tmp_path / "wrong.toml").write_text(f"extends = {extends}\n")
    with pytest.raises(error, match=message):
        read_suite(tmp_path / "wrong.toml")


def test_paths_are_relative_to_the_suite_file_or_names(folder):
    sweep = Sweep.open(folder / "tiny.toml", folder / "out")
    assert sweep.locate(from_dict(Task, {"path": "linear.npz+demo"})) == f"{folder / 'linear.npz'}+demo"


def test_each_planner_is_the_one_of_its_seed(finished):
    """Scores of all seeds at once are those of planners that play alone, to the last bit."""
    place = finished.out / "linear"
    model, policy = stored_model(place / "model", used_in=place), load_policy(place / "policies" / "bc")
    warm = json.loads((place / "policies" / "warm" / "scores.json").read_text())
    cold = json.loads((place / "policies" / "cold" / "scores.json").read_text())
    assert np.shape(warm["returns"]) == np.shape(cold["returns"]) == (2, 1)
    assert warm["returns"][0] != warm["returns"][1]
    for seed in range(2):
        config = finished.suite.play_config("warm")
        alone = score_planner(model, "Pendulum-v1", replace(config, member=seed), policy=policy, episodes=1)
        assert alone["returns"][0] == warm["returns"][seed]
    config = finished.suite.play_config("cold")
    other = replace(config, planner=replace(config.planner, seed=1))
    assert score_planner(model, "Pendulum-v1", other, episodes=1)["returns"][0] == cold["returns"][1]


def test_synthetic_steps_are_those_of_the_policy(finished):
    place = finished.out / "linear"
    made, policy = load_synthetic(place / "synthetic-acted"), load_policy(place / "policies" / "bc")
    actions = np.asarray(policy.act(np.stack([made.obs] * 2)))
    assert np.isclose(actions, made.action, atol=1e-5).all(-1).any(0).all()  # of one seed or the other
    assert (made.lengths == 3).all()


def test_planners_are_in_the_table_and_the_report(finished):
    (task,) = read_results(finished.out)
    methods = {m["method"]: m for m in task["methods"]}
    scores = json.loads((finished.out / "linear" / "policies" / "warm" / "scores.json").read_text())
    assert methods["warm"]["gain"]["over"] == "bc"
    assert np.isclose(methods["warm"]["gain"]["value"], np.mean(scores["returns"]) - methods["bc"]["mean"])
    assert "gain" not in methods["cold"]
    assert (methods["taught"]["gain"]["over"], methods["taught"]["algo"]) == ("bc", "bc")
    text = write_table(finished.out)
    assert f"| warm | – | {np.mean(scores['returns']):.1f} ± {np.std(scores['returns']):.1f} |" in text
    assert "20 updates, 2 seeds" in text
    report = write_report(finished.out / "linear").read_text()
    assert "BC, planning (warm)" in report
    assert "planner cold" in report
    assert "BC, imitating its planner" in report


def test_costs_of_steps_are_a_column_where_they_are_reported(finished, tmp_path):
    assert "cost of 100 steps" not in write_table(finished.out)
    out = Path(shutil.copytree(finished.out, tmp_path / "out"))
    path = out / "linear" / "policies" / "warm" / "scores.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cost_rate": [0.001, 0.25]}))
    lines = [line[2:-2].split(" | ") for line in write_table(out).splitlines() if line.startswith("| ")]
    column = next(
        line.index("cost of 100 steps, each seed") for line in lines if "cost of 100 steps, each seed" in line
    )
    assert {line[0]: line[column] for line in lines if len(line) > column and line[0] in ("warm", "cold")} == {
        "warm": "0.10 25.00",
        "cold": "–",
    }


def test_a_planner_that_left_its_policy_alone_has_no_gain(finished, tmp_path):
    out = Path(shutil.copytree(finished.out, tmp_path / "out"))
    path = out / "linear" / "policies" / "warm" / "scores.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"spared": True}))
    (task,) = read_results(out)
    assert "gain" not in next(m for m in task["methods"] if m["method"] == "warm")
    (line,) = (line for line in write_table(out).splitlines() if line.startswith("| warm | –"))
    assert "| none: the policy was left alone |" in line


def test_other_settings_of_a_planner_are_refused(finished, folder, tmp_path):
    (folder / "changed.toml").write_text((SUITE + PLANNERS).replace("refinements = 1", "refinements = 2"))
    sweep = Sweep.open(folder / "changed.toml", finished.out)
    by_name = {p.what: p for p in pieces(sweep.suite)}
    assert is_done(sweep, by_name["warm"])
    with pytest.raises(ConfigError, match=r"play.planner.refinements: 1 -> 2"):
        is_done(sweep, by_name["cold"])


def test_the_command_does_nothing_twice(finished, folder, capsys):
    words = ["sweep", str(folder / "tiny.toml"), "--out", str(finished.out), "--json"]
    assert main([*words, "--list"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [p["done"] for p in listed["pieces"]] == [True] * 9
    assert main(words) == 0
    result = json.loads(capsys.readouterr().out)
    assert (len(result["finished"]), result["done"], result["failed"], result["left"]) == (9, [], [], [])
    assert [m["method"] for m in result["tasks"][0]["methods"]] == [
        *("bc", "taught", "td3bc-ahead", "td3bc-acted", "cold", "warm"),
    ]
    assert json.loads((finished.out / "table.json").read_text())["tasks"] == result["tasks"]


def test_the_shipped_example_can_be_read():
    suite = read_suite(Path(__file__).resolve().parents[2] / "examples" / "sweep.toml")
    assert {p.dataset for p in pieces(suite)} == {"hopper"}


@pytest.mark.parametrize(("name", "message"), [("nowhere:X", "cannot be imported"), ("json:dumps", "no record of")])
def test_hooks_that_are_none(name, message):
    with pytest.raises(ConfigError, match=message):
        load_hooks(name)


def test_a_planner_that_spares_its_policy_scores_what_the_policy_does(finished):
    """To the last bit, of all seeds together; alone up to what the order of a sum makes of it."""
    place = finished.out / "linear"
    model, policy = stored_model(place / "model", used_in=place), load_policy(place / "policies" / "bc")
    config = replace(finished.suite.play_config("warm"), spare=0.5)
    assert model.data["share"] >= 0.5
    scores = score_planner(model, "Pendulum-v1", config, policy=policy, members=2, episodes=1, seed=20_000)
    alone = score_planner(model, "Pendulum-v1", replace(config, member=1), policy=policy, episodes=1, seed=20_000)
    policys = score_policy(policy, "Pendulum-v1", episodes=1, seed=20_000)
    assert scores["spared"]
    assert scores["returns"] == policys["returns"]
    assert alone["returns"][0] == pytest.approx(policys["returns"][1], rel=1e-3)
    other = score_planner(model, "Pendulum-v1", replace(config, spare=2.0), policy=policy, members=2, episodes=1)
    assert not other["spared"]


def test_one_planner_around_all_seeds(finished):
    """Around what they do on average and what their critics say on average; left alone, it is the mean policy."""
    place = finished.out / "linear"
    model, policy = stored_model(place / "model", used_in=place), load_policy(place / "policies" / "bc")
    config = replace(finished.suite.play_config("warm"), member="mean", spare=2.0)
    assert (config.planners(5), replace(config, member=1).planners(5)) == (1, 5)
    play = lambda config, **more: score_planner(model, "Pendulum-v1", config, policy=policy, episodes=1, **more)
    returns = [play(replace(config, member=member))["returns"] for member in (0, 1, "mean")]
    assert len({r[0][0] for r in returns}) == 3
    assert play(config, members=1)["returns"] == returns[2]
    alone = play(replace(config, spare=0.5))
    assert alone["spared"]
    np.testing.assert_allclose(
        alone["returns"], score_policy(policy, "Pendulum-v1", episodes=1, mean=True)["returns"], rtol=1e-3
    )
    with pytest.raises(ConfigError, match="`member` is mean, which is one planner around all seeds, and `members` ask"):
        play(config, members=2)
    with pytest.raises(ValueError, match="or mean; got -1"):
        replace(config, member=-1)
