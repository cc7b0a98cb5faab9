"""A whole suite at a tiny budget: the pieces, what they write, resuming, and the table derived from it."""

from __future__ import annotations

import json

import gymnasium
import numpy as np
import pytest

from benchmarks import compare, d4rl, record
from benchmarks.hooks import HOOKS
from dawm.data.references import is_d4rl_name
from dawm.errors import ConfigError, FileError
from dawm.report.collect import read_run
from dawm.sweep import table
from dawm.sweep.piece import choose, pieces
from dawm.sweep.suite import read_suite
from dawm.sweep.work import do, is_done

SUITE = """
name = "tiny"
preset = ""
updates = 30
seeds = 2
consistency_rows = 200

[datasets.dmsd]
path = "DMSD-tiny.npz"
env = "benchmarks.neorl2:DMSD-v0"
also = ["benchmarks.neorl2:DMSD-Heavy-v0"]
episodes = 3

[methods.bc]
algo = { kind = "bc", width = 16 }
[methods.bc-dawm]
algo = { kind = "bc", width = 16 }
ratio = 0.25

[world_model]
batch_size = 32
measure_windows = 8
measure_samples = 2
[world_model.loop]
steps = 20
chunk = 10
[world_model.model]
horizon = 3
[world_model.model.body]
width = 16
depth = 1
embed = 8
[world_model.networks.loop]
steps = 20
chunk = 10
[world_model.networks.ensemble]
members = 2
width = 8

[generate]
transitions = 300
shard = 64

[policy]
batch_size = 16
[policy.loop]
chunk = 10
save_every = 10
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Twenty random episodes of DMSD in NeoRL-2's layout."""
    folder = tmp_path_factory.mktemp("data")
    envs, rng, rows = gymnasium.make_vec("benchmarks.neorl2:DMSD-v0", 20), np.random.default_rng(0), []
    obs, _ = envs.reset(seed=0)
    for _ in range(100):
        action = rng.uniform(-1, 1, (20, 2)).astype(np.float32)
        next_obs, reward, done, truncated, _ = envs.step(action)
        rows.append((obs, action, next_obs, reward.astype(np.float32), done, truncated))
        obs = next_obs
    names = ("obs", "action", "next_obs", "reward", "done", "truncated")
    columns = [np.swapaxes(np.stack(c), 0, 1).reshape(2000, *c[0].shape[1:]) for c in zip(*rows, strict=True)]
    np.savez(folder / "DMSD-tiny.npz", **{n: c.astype(np.float32) for n, c in zip(names, columns, strict=True)})
    return folder


@pytest.fixture
def suite_file(tmp_path, recorded, monkeypatch):
    monkeypatch.setenv("DAWM_SHARED_DATA", str(recorded))
    path = tmp_path / "tiny.toml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, recorded):
    """A suite whose pieces on real data are done, in this process."""
    folder = tmp_path_factory.mktemp("suite")
    (folder / "tiny.toml").write_text(SUITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAWM_SHARED_DATA", str(recorded))
        sweep = compare.opened(folder / "tiny.toml", folder / "out")
        _do(sweep, "data", "bc")
    return sweep


def _do(sweep, *chosen):
    for piece in pieces(sweep.suite):
        if piece.what in chosen:
            assert not is_done(sweep, piece)
            do(sweep, piece)
            assert is_done(sweep, piece)


def test_pieces_come_after_what_they_need(suite_file):
    every = pieces(read_suite(suite_file, HOOKS))
    assert {p.name: p.needs for p in every} == {
        "dmsd/data": (),
        "dmsd/model": ("dmsd/data",),
        "dmsd/synthetic": ("dmsd/model",),
        "dmsd/bc": ("dmsd/data",),
        "dmsd/bc-dawm": ("dmsd/synthetic",),
    }


def test_only_picks_pieces_and_what_they_need(suite_file):
    suite = read_suite(suite_file, HOOKS)
    names = lambda *only: [p.name for p in choose(suite, list(only))]
    assert names("dmsd/bc") == ["dmsd/data", "dmsd/bc"]
    assert names("*/bc-dawm") == ["dmsd/data", "dmsd/model", "dmsd/synthetic", "dmsd/bc-dawm"]
    with pytest.raises(ConfigError, match="--only dmsd/cql matches no piece of `tiny`"):
        names("dmsd/cql")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("updates = 30", "update = 30"), "has no `updates`"),
        (("ratio = 0.25", "rato = 0.25"), "unknown setting `methods.bc-dawm.rato`; did you mean `ratio`"),
        (("width = 16\ndepth", "wdth = 16\ndepth"), "wdth"),
        (('kind = "bc"', 'kind = "bcc"'), "cannot be 'bcc'"),
        (("episodes = 3", "episodes = 0"), "episodes must be at least 1"),
        (("[methods.bc]", "[methods.data]"), "no method can be called data"),
    ],
)
def test_mistakes_in_a_suite_are_named_before_anything_runs(suite_file, change, message):
    suite_file.write_text(SUITE.replace(*change))
    with pytest.raises(ConfigError, match=message):
        read_suite(suite_file, HOOKS)


def test_a_missing_suite_is_named(tmp_path):
    with pytest.raises(FileError, match=r"there is no suite file .*first"):
        compare.opened(tmp_path / "none.toml", tmp_path)


def test_the_shipped_suites_can_be_read():
    from pathlib import Path

    for path in sorted((Path(compare.__file__).parent / "suites").glob("*.toml")):
        assert pieces(read_suite(path, HOOKS))


def test_every_piece_is_recorded(finished):
    out = finished.out
    folder = out / "dmsd" / "policies" / "bc"
    scores = json.loads((folder / "scores.json").read_text())
    assert np.shape(scores["returns"]) == (2, 3)
    assert scores["checkpoint"] == 30
    assert scores["references"]["low"] == 30.60
    heavy = json.loads((folder / "scores-DMSD-Heavy-v0.json").read_text())
    assert heavy["env"] == "benchmarks.neorl2:DMSD-Heavy-v0"
    assert heavy["returns"] != scores["returns"]
    assert read_run(out / "dmsd").kind == "run"  # the folder that `dawm report` reads


@pytest.mark.slow
def test_with_a_world_model(recorded, tmp_path, monkeypatch):
    """The pieces that need one: its data are checked in the simulator, and the table has the gain."""
    monkeypatch.setenv("DAWM_SHARED_DATA", str(recorded))
    (tmp_path / "tiny.toml").write_text(SUITE)
    sweep, out = compare.opened(tmp_path / "tiny.toml", tmp_path / "out"), tmp_path / "out"
    _do(sweep, "data", "model", "synthetic", "bc", "bc-dawm")
    checked = json.loads((out / "dmsd" / "synthetic" / "consistency.json").read_text())
    assert checked["recorded"]["per_step"]["rmse"] < 1e-5  # the recording is possible
    assert checked["synthetic"]["per_step"]["rmse"] < 1e-3  # these dynamics are linear: least squares finds them
    text = table.write_table(out, HOOKS)
    by_name = {m["method"]: m for m in table.read_results(out, HOOKS)[0]["methods"]}
    gain = by_name["bc-dawm"]["gain"]
    assert gain["over"] == "bc"
    assert np.isclose(gain["value"], by_name["bc-dawm"]["iqm"] - by_name["bc"]["iqm"])
    assert "| bc-dawm | 25% |" in text
    assert "synthetic rows in the simulator" in text


def test_other_settings_are_refused_and_named(finished, suite_file):
    out = finished.out
    suite_file.write_text(SUITE.replace("updates = 30", "updates = 40"))
    sweep = compare.opened(suite_file, out)
    by_name = {p.what: p for p in pieces(sweep.suite)}
    assert is_done(sweep, by_name["data"])  # what does not depend on it stands
    with pytest.raises(ConfigError, match=r"loop.steps: 30 -> 40"):
        is_done(sweep, by_name["bc"])


def test_the_table_comes_from_the_folders(finished):
    out = finished.out
    text = table.write_table(out, HOOKS)
    (task,) = table.read_results(out, HOOKS)
    (method,) = task["methods"]
    scores = json.loads((out / "dmsd" / "policies" / "bc" / "scores.json").read_text())
    normalised = 100 * (np.array(scores["returns"]) - 30.60) / (849.51 - 30.60)
    assert np.isclose(method["mean"], normalised.mean())
    assert np.isclose(method["std"], normalised.std())
    np.testing.assert_allclose(method["seed_means"], normalised.mean(1))
    assert np.isclose(method["mean"], scores["normalized_score"])
    assert f"{normalised.mean():.1f} ± {normalised.std():.1f}" in text
    assert "gain" not in method
    assert "30 updates, 2 seeds" in text
    assert "65.1 ± 1.6" in text  # published BC on DMSD, in the row of BC
    assert (out / "table.md").read_text() == text


@pytest.mark.parametrize(
    ("names", "averages"),
    [
        (
            [
                f"{env}-{q}-v2"
                for env in ("halfcheetah", "hopper", "walker2d")
                for q in ("medium", "medium-replay", "medium-expert")
            ],
            # as CORL and OfflineRL-Kit print them
            {"td3bc": 76.45, "iql": 81.63, "cql": 78.28, "rebrac": 89.74, "edac": 92.92}
            | {"mopo": 81.8, "rambo": 82.7, "combo": 89.3, "mobile": 95.9},
        ),
        (
            [name for name in d4rl.PUBLISHED_SCORES if name.startswith("antmaze")],
            {"td3bc": 19.33, "iql": 57.17, "cql": 50.71, "rebrac": 78.42, "edac": 0.0},
        ),
    ],
    ids=["locomotion", "antmaze"],
)
def test_published_d4rl_scores_have_the_published_averages(names, averages):
    for method, average in averages.items():
        scores = [d4rl.PUBLISHED_SCORES[name][method][0] for name in names]
        assert abs(np.mean(scores) - average) < 0.06, method


def test_published_d4rl_scores_stand_beside_ours():
    assert all(is_d4rl_name(name) for name in d4rl.PUBLISHED_SCORES)
    ours = [
        {"algo": "iql", "ratio": 0.0},
        {"algo": "iql", "ratio": 0.5},  # synthetic data: nothing to compare with
        {"algo": "rebrac", "ratio": 0.0},
        {"algo": None, "ratio": 0.0},
    ]
    found = HOOKS.columns({"name": "hopper-medium-v2", "env": "Hopper-v4"}, ours)
    assert found.rows == [["67.5 ± 3.8"], ["–"], ["102.3"], ["–"]]
    assert "CORL" in found.below
    assert "The best of them: mobile, 103.6." in found.below
    nothing = HOOKS.columns({"name": "hopper-medium", "env": "Hopper-v4"}, ours)  # not D4RL's file
    assert nothing.header == []
    assert nothing.rows == [[], [], [], []]


def test_what_is_kept_of_results_gives_the_same_table_and_counts_as_done(finished, recorded, tmp_path, monkeypatch):
    monkeypatch.setenv("DAWM_SHARED_DATA", str(recorded))
    kept, again = tmp_path / "kept", tmp_path / "again"
    assert record.main([str(finished.out), str(kept)]) == 0
    assert record.record(finished.out, kept) == []  # all there
    (kept / "dmsd" / "policies" / "bc" / "finished").unlink()  # a copy that was killed
    assert record.record(finished.out, kept) == ["dmsd/policies/bc"]
    row = lambda out: next(line for line in table.write_table(out, HOOKS).splitlines() if line.startswith("| bc |"))
    assert row(kept) == row(finished.out)
    files = [path for path in kept.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix == ".ckpt"]
    assert not [path for path in files if str(recorded) in path.read_text()]
    record.record(kept, again)
    sweep = compare.opened(finished.path, again)
    assert all(is_done(sweep, piece) for piece in pieces(sweep.suite) if piece.what in ("data", "bc"))


def test_nothing_to_keep_is_an_error(tmp_path, capsys):
    assert record.main([str(tmp_path), str(tmp_path / "kept")]) == 2
    assert "holds no finished piece" in capsys.readouterr().err


def test_gain_is_over_the_same_learner_on_real_data():
    """Worked by hand: returns 10 and 30 against 10 and 20, 100 returns are 50 points of score."""
    references = {"low": 0.0, "high": 200.0, "source": "made"}
    rows = {"td3bc": ("td3bc", 0.0, [[10.0], [20.0]]), "bc": ("bc", 0.0, [[99.0], [99.0]])}
    rows["mixed"] = ("td3bc", 0.5, [[10.0], [30.0]])
    methods = {
        name: {"method": name, "algo": algo, "ratio": ratio, "focus": 1.0, "scored": True}
        | table.summarise(np.array(returns), references)
        for name, (algo, ratio, returns) in rows.items()
    }
    for method in methods.values():
        table._add_gain(method, methods)
    assert [name for name in methods if "gain" in methods[name]] == ["mixed"]
    assert methods["mixed"]["gain"]["over"] == "td3bc"
    assert np.isclose(methods["mixed"]["gain"]["value"], 2.5)  # (20 - 15) / 2
    np.testing.assert_allclose(methods["mixed"]["gain"]["interval"], [-5.0, 10.0])


def test_nested_interval_covers_seeds_and_episodes(rng):
    """Of 40 seeds with means ~ N(0, 1) and 50 episodes ~ N(mean, 2): the standard error is sqrt((1 + 4/50) / 40)."""
    values = rng.normal(size=(40, 1)) + 2 * rng.normal(size=(40, 50))
    low, high = table.nested_interval(lambda v: float(v.mean()), values)
    expected = 2 * 1.96 * np.sqrt((1 + 4 / 50) / 40)
    assert 0.8 < (high - low) / expected < 1.25
    one_low, one_high = table.nested_interval(lambda v: float(v.mean()), values[:1])
    assert 0.7 < (one_high - one_low) / (2 * 1.96 * 2 / np.sqrt(50)) < 1.3  # one seed: its episodes only


@pytest.mark.slow
def test_the_command_goes_on_where_it_was_left(suite_file, tmp_path, capsys):
    """Two pieces in processes of their own; the second call finds everything done."""
    out = tmp_path / "runs"
    arguments = [str(suite_file), "--out", str(out), "--only", "dmsd/bc", "--workers", "2"]
    assert compare.main(arguments) == 0
    first = capsys.readouterr()
    assert "2 of 2 pieces to do" in first.err
    assert "| bc | – |" in first.out
    scored = (out / "dmsd" / "policies" / "bc" / "scores.json").stat().st_mtime_ns
    assert compare.main(arguments) == 0
    assert "0 of 2 pieces to do" in capsys.readouterr().err
    assert (out / "dmsd" / "policies" / "bc" / "scores.json").stat().st_mtime_ns == scored
    (out / "dmsd" / "policies" / "bc" / "scores.json").unlink()  # trained, and not scored
    assert compare.main(arguments) == 0
    assert "1 of 2 pieces to do" in capsys.readouterr().err
    sweep = compare.opened(suite_file, out)
    (piece,) = [p for p in pieces(sweep.suite) if p.what == "bc"]
    assert is_done(sweep, piece)
    assert sweep.folder_of(piece) == out / "dmsd" / "policies" / "bc"


def test_a_failed_piece_is_named_with_its_log(suite_file, tmp_path, capsys):
    suite_file.write_text(SUITE.replace("DMSD-tiny.npz", "nothing.npz"))
    assert compare.main([str(suite_file), "--out", str(tmp_path / "runs"), "--only", "dmsd/bc"]) == 1
    text = capsys.readouterr().err
    assert "dmsd/data: FAILED" in text
    assert "there is no dataset" in text
    assert "not begun, because something that they need failed: dmsd/bc" in text


def test_table_of_nothing_is_an_error(tmp_path):
    with pytest.raises(FileError, match="holds no results of a suite"):
        table.read_results(tmp_path)
