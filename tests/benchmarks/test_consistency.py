"""The simulator check: real data agree to rounding, planted faults are measured exactly, unusable rows are counted."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from benchmarks.consistency import check, describe, main
from benchmarks.neorl2 import dmsd, pipeline
from dawm.data.dataset import Dataset, DatasetInfo
from dawm.data.registry import load
from dawm.errors import ConfigError

REAL = [
    ("neorl2/DMSD-val.npz", "benchmarks.neorl2:DMSD-v0", 1e-6),
    ("neorl2/Pipeline-train.npz", "benchmarks.neorl2:Pipeline-v0", 1e-5),
    ("neorl2/SafetyHalfCheetah-val.npz", "benchmarks.neorl2:SafetyHalfCheetah-v0", 5e-5),
    ("rollouts/hopper-mixed.hdf5", "Hopper-v4", 1e-5),
    ("rollouts/halfcheetah-mixed.hdf5", "HalfCheetah-v5", 1e-5),
]


def dataset(obs, action, reward, next_obs, terminal=None):
    n = len(obs)
    return Dataset(
        obs=np.asarray(obs, np.float32),
        action=np.asarray(action, np.float32),
        reward=np.asarray(reward, np.float32),
        next_obs=np.asarray(next_obs, np.float32),
        terminal=np.zeros(n, bool) if terminal is None else terminal,
        episode_ends=np.array([n]),
        source=np.full(n, -1, np.int32),
        act_low=-np.ones(np.shape(action)[1], np.float32),
        act_high=np.ones(np.shape(action)[1], np.float32),
        info=DatasetInfo(name="made"),
    )


def exact_dmsd(rng, n=400):
    obs, action = rng.normal(size=(n, 6)).astype(np.float32), rng.uniform(-1, 1, (n, 2)).astype(np.float32)
    next_obs = dmsd.predict(obs, action).astype(np.float32)
    return dataset(obs, action, dmsd.reward(next_obs), next_obs)


@pytest.mark.parametrize(("file", "env", "bound"), REAL)
def test_real_data_agree_to_rounding(shared_data, file, env, bound):
    if "DMSD" not in env and "Pipeline" not in env:
        pytest.importorskip("gymnasium.envs.mujoco", exc_type=ImportError)
    result = check(load(shared_data / file), env, rows=300)
    assert result["rows"] >= 240
    assert result["per_step"]["median"] < bound
    assert result["per_step"]["p90"] < 10 * bound
    assert result["per_step"]["share_below"]["0.01"] == 1.0
    assert result["reward"]["rmse"] < 1e-4
    assert (result["terminal"]["missed"], result["terminal"]["invented"]) == (0, 0)
    assert json.loads(json.dumps(result)) == result


def test_a_planted_error_is_measured_in_both_units(rng):
    data = exact_dmsd(rng)
    wrong = data.next_obs.copy()
    wrong[:, 2] += 0.5
    step, state = (data.next_obs - data.obs)[:, 2].std(), data.obs[:, 2].std()
    result = check(dataclasses.replace(data, next_obs=wrong), "DMSD-v0", reference=data)
    np.testing.assert_allclose(result["per_step"]["dimensions"], [0, 0, 0.5 / step, 0, 0, 0], atol=1e-4)
    np.testing.assert_allclose(result["per_state"]["dimensions"], [0, 0, 0.5 / state, 0, 0, 0], atol=1e-4)
    np.testing.assert_allclose(result["rmse"], [0, 0, 0.5, 0, 0, 0], atol=1e-5)
    # four dimensions are judged (the two targets are not), one of them is wrong
    assert np.isclose(result["per_step"]["rmse"], 0.5 / step / 2, rtol=1e-4)
    assert np.isclose(result["per_state"]["median"], 0.5 / state / 2, rtol=1e-4)


def test_a_planted_error_in_some_rows_shows_in_the_shares_and_not_in_the_median(rng):
    data = exact_dmsd(rng)
    wrong = data.next_obs.copy()
    wrong[:100, 0] += 100.0
    result = check(dataclasses.replace(data, next_obs=wrong), "DMSD-v0", reference=data)
    assert result["per_step"]["median"] < 1e-5
    assert set(result["per_step"]["share_below"].values()) == {0.75}


def test_rewards_are_compared_with_those_of_the_same_state_and_action(rng):
    data = exact_dmsd(rng)
    result = check(dataclasses.replace(data, reward=data.reward + 0.25), "DMSD-v0", reference=data)
    assert np.isclose(result["reward"]["raw_rmse"], 0.25, rtol=1e-3)
    assert np.isclose(result["reward"]["rmse"], 0.25 / data.reward.std(), rtol=1e-3)
    assert result["per_step"]["rmse"] < 1e-5


def test_jumps_of_a_target_are_counted_and_not_judged(rng):
    n = 400
    obs = np.concatenate([rng.uniform(50, 150, (n, 27)), rng.uniform(-1, 1, (n, 25))], 1).astype(np.float32)
    action = rng.uniform(-1, 1, (n, 1)).astype(np.float32)
    next_obs = pipeline.predict(obs, action)
    next_obs[:100, 1] += 30.0
    data = dataset(obs, action, pipeline.reward(next_obs), next_obs)
    result = check(data, "Pipeline-v0")
    assert result["random_coordinates"] == {"index": [1], "change_rate": [0.25]}
    assert result["per_step"]["rmse"] < 1e-5
    assert result["reward"]["rmse"] < 1e-4  # the reward is that of the target the data jumped to


def test_unusable_rows_are_left_out_and_counted(rng, shared_data):
    pytest.importorskip("gymnasium.envs.mujoco", exc_type=ImportError)
    data = load(shared_data / "rollouts" / "hopper-mixed.hdf5").select([0, 1, 2, 300])
    clipped = (np.abs(data.obs[:, 5:]) >= 10).any(1)
    obs = data.obs.copy()
    free = np.flatnonzero(~clipped)
    obs[free[0]], obs[free[1], 0] = np.nan, 1e12  # not finite; beyond all bounds, where MuJoCo starts anew
    result = check(dataclasses.replace(data, obs=obs), "Hopper-v4", rows=len(data), reference=data)
    expected = {"not_finite": 1, "clipped_velocity": int(clipped.sum()), "simulation_broke_down": 1}
    assert clipped.any()
    assert result["excluded"] == expected
    assert result["rows"] == len(data) - sum(expected.values())
    assert result["per_step"]["median"] < 1e-5
    assert "left out" in describe(result)


def test_ends_are_compared(shared_data):
    pytest.importorskip("gymnasium.envs.mujoco", exc_type=ImportError)
    data = load(shared_data / "rollouts" / "hopper-mixed.hdf5").select(range(20))
    usable = (np.abs(data.obs[:, 5:]) < 10).all(1)
    never = check(dataclasses.replace(data, terminal=np.zeros(len(data), bool)), "Hopper-v4", rows=len(data))
    always = check(dataclasses.replace(data, terminal=np.ones(len(data), bool)), "Hopper-v4", rows=len(data))
    ends = int(data.terminal[usable].sum())
    assert ends > 0
    assert (never["terminal"]["missed"], never["terminal"]["invented"]) == (ends, 0)
    assert (always["terminal"]["missed"], always["terminal"]["invented"]) == (0, int(usable.sum()) - ends)


def test_rows_are_drawn_by_seed(rng):
    data = exact_dmsd(rng)
    wrong = dataclasses.replace(data, next_obs=data.next_obs + rng.normal(size=(400, 1)).astype(np.float32))
    first, again, other = (check(wrong, "DMSD-v0", rows=50, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first["per_step"]["rmse"] != other["per_step"]["rmse"]
    assert check(wrong, "DMSD-v0", rows=10_000)["rows"] == 400


def test_command_line(tmp_path, rng, capsys):
    data = exact_dmsd(rng)
    np.savez(tmp_path / "made.npz", observations=data.obs, actions=data.action, rewards=data.reward,
             next_observations=data.next_obs, terminals=data.terminal, timeouts=np.arange(400) == 399)  # fmt: skip
    assert main([str(tmp_path / "made.npz"), "--env", "DMSD-v0", "--json", "--rows", "100"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 100
    assert main([str(tmp_path / "made.npz"), "--env", "DMSD-v0"]) == 0
    assert "rows compared" in capsys.readouterr().out
    assert main([str(tmp_path / "made.npz"), "--env", "DMSD-v1"]) == 2
    assert "did you mean `DMSD-v0`" in capsys.readouterr().err


def test_an_environment_without_a_simulator_is_named(rng):
    with pytest.raises(ConfigError, match="no simulator can be restored from observations of `Ant-v5`"):
        check(exact_dmsd(rng), "Ant-v5")
