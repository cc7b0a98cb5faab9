"""What a learner is fed, and what a trained policy gives back: units, statistics, errors."""

from dataclasses import replace

import equinox as eqx
import jax
import numpy as np
import pytest
from toys import bandit, dataset, rows, train_killed

from dawm.agents import fit as module
from dawm.agents.bc import BCConfig
from dawm.agents.config import PolicyConfig
from dawm.agents.fit import train_policy
from dawm.agents.iql import IQLConfig
from dawm.agents.policy import initial_state, load_policy, policy_of
from dawm.agents.registry import AGENTS
from dawm.errors import ConfigError, DatasetError, FileError
from dawm.run.config import from_dict
from dawm.run.folder import RunFolder
from dawm.run.loop import LoopConfig

TINY = LoopConfig(steps=4, chunk=2, monitor_every=2, save_every=2)
BC = BCConfig(width=8)

every_agent = pytest.mark.parametrize("kind", AGENTS)


def pool_of(monkeypatch, data, config, synthetic=None):
    """The pool that training would draw from."""
    seen = {}

    def no_training(update, state, pool, *args, **kwargs):
        seen["pool"] = pool
        return state

    monkeypatch.setattr(module, "fit", no_training)
    train_policy(data, config, synthetic=synthetic)
    return seen["pool"]


def test_synthetic_rows_are_scaled_with_the_statistics_of_the_real_ones(monkeypatch):
    real = dataset(rows([[0.0], [4.0]], [[1.0], [2.0]], [1.0, 3.0], next_obs=[[4.0], [2.0]]), bounds=2.0)
    made = dataset(rows([[10.0], [0.0]], [[-2.0], [0.0]], [5.0, 7.0]), bounds=9.0)
    pool = pool_of(monkeypatch, real, PolicyConfig(algo=BC, ratio=0.5, normalise_reward=True), made)
    scale = 2.0 + 1e-3  # the real mean and std are both 2
    np.testing.assert_allclose(pool.data.obs[:, 0], np.array([-2.0, 2.0, 8.0, -2.0]) / scale, rtol=1e-6)
    np.testing.assert_allclose(pool.data.next_obs[:, 0], np.array([2.0, 0.0, 8.0, -2.0]) / scale, rtol=1e-6)
    np.testing.assert_allclose(pool.data.action[:, 0], [0.5, 1.0, -1.0, 0.0])
    np.testing.assert_allclose(pool.data.reward, [500.0, 1500.0, 2500.0, 3500.0])  # · 1000 / (3 − 1)
    plain = pool_of(monkeypatch, real, PolicyConfig(algo=BC, normalise_obs=False))
    np.testing.assert_allclose(plain.data.obs[:, 0], [0.0, 4.0])
    np.testing.assert_allclose(plain.data.reward, [1.0, 3.0])


def test_policies_take_and_give_raw_units():
    """Far from the origin and with bounds of ±20: cloning the constant 15 gives 15, inside the bounds everywhere."""
    data = dataset(rows(1_000 + np.arange(50), np.full(50, 15.0), np.zeros(50)), bounds=20.0)
    loop = LoopConfig(steps=300, chunk=300)
    policy = train_policy(data, PolicyConfig(algo=BCConfig(width=16, learning_rate=1e-2), loop=loop))[0]
    np.testing.assert_allclose(policy(np.array([[1_010.0], [1_040.0]])), 15.0, atol=0.3)
    assert np.abs(policy(np.array([[-1e6], [1e6]]))).max() <= 20.0


def test_a_folder_of_another_run_is_not_overwritten(tmp_path):
    data = dataset(bandit(20))
    train_policy(data, PolicyConfig(algo=BC, loop=TINY), folder=tmp_path / "p")
    with pytest.raises(ConfigError, match=r"config\.policy\.algo\.width: 8 -> 9"):
        train_policy(data, PolicyConfig(algo=BCConfig(width=9), loop=TINY), folder=tmp_path / "p")
    with pytest.raises(ConfigError, match="fingerprint"):
        train_policy(dataset(bandit(30)), PolicyConfig(algo=BC, loop=TINY), folder=tmp_path / "p")


def test_a_folder_without_a_policy_is_named(tmp_path):
    with pytest.raises(FileError, match="does not exist"):
        load_policy(tmp_path / "nothing")


@every_agent
def test_averaged_weights_act_and_survive_a_kill(kind, tmp_path):
    """The mean of what acted after each update, by hand; and a run that was stopped gives the same bits."""
    data, loop = dataset(bandit(50)), LoopConfig(steps=6, chunk=1, monitor_every=1, save_every=2)
    config = PolicyConfig(algo=AGENTS[kind][0](width=8), seeds=2, batch_size=8, loop=loop)
    leaves = lambda policy: [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(policy.actor, eqx.is_array))]
    acted, seen = [], []
    train_policy(data, config, monitor=lambda step, policy: acted.append(leaves(policy)) or {})
    averaging = replace(config, average=0.6)
    whole = train_policy(data, averaging, monitor=lambda step, policy: seen.append(leaves(policy)) or {})
    mean = leaves(policy_of(initial_of(averaging, data), data.spec, averaging, 0, "toy"))
    for k, (after, found) in enumerate(zip(acted, seen, strict=True)):
        keep = min(0.6, (1 + k) / (10 + k))  # a shorter memory at the beginning
        mean = [keep * a + (1 - keep) * b for a, b in zip(mean, after, strict=True)]
        for a, b in zip(mean, found, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)

    train_killed(3, data, averaging, tmp_path / "cut")
    train_policy(data, averaging, folder=tmp_path / "cut", monitor=lambda step, policy: {})
    obs = np.array([[[-1.0], [0.5]]] * 2, np.float32)
    np.testing.assert_array_equal(load_policy(tmp_path / "cut").act(obs), whole.act(obs))
    assert load_policy(tmp_path / "cut").fingerprint == whole.fingerprint


def test_running_moments_of_advantages_survive_a_kill(tmp_path):
    data, loop = dataset(bandit(50)), LoopConfig(steps=6, chunk=1, monitor_every=1, save_every=2)
    algo = IQLConfig(width=8, advantage="reliable")
    config, seen = PolicyConfig(algo=algo, seeds=2, batch_size=8, loop=loop), []

    train_policy(data, config, folder=tmp_path / "whole", monitor=lambda step, policy: seen.append(step) or {})
    train_killed(3, data, config, tmp_path / "cut")
    train_policy(data, config, folder=tmp_path / "cut", monitor=lambda step, policy: seen.append(step) or {})
    assert seen == [1, 2, 3, 4, 5, 6, 3, 4, 5, 6]  # the second goes on after the checkpoint of 2
    numbers = lambda name: [row | {"seconds": 0} for row in RunFolder(tmp_path / name).metrics.rows()]
    assert numbers("cut") == numbers("whole")
    assert len({tuple(row["actor/reliability"]) for row in numbers("whole")}) == 6


def initial_of(config, data):
    mean, scale = data.obs.mean(0), data.obs.std(0) + module.STD_FLOOR
    return initial_state(config, data.spec, mean.astype(np.float32), scale.astype(np.float32))


def test_the_monitor_sees_the_policy_of_that_step():
    seen = []
    config = PolicyConfig(algo=BC, loop=TINY, seeds=2)
    train_policy(dataset(bandit(20)), config, monitor=lambda step, p: seen.append((step, p.step, p.members)) or {})
    assert seen == [(2, 2, 2), (4, 4, 2)]


def test_data_that_cannot_be_scaled_are_named():
    data = dataset(bandit(20), bounds=np.inf)
    with pytest.raises(DatasetError, match=r"`action` dimension 0 has the bounds -inf and inf"):
        train_policy(data, PolicyConfig(algo=BC))
    same = dataset(rows(np.zeros(4), np.zeros(4), np.ones(4)))
    with pytest.raises(DatasetError, match="all episodes have the same return"):
        train_policy(same, PolicyConfig(algo=BC, normalise_reward=True))


def test_impossible_and_unknown_settings_are_named():
    with pytest.raises(ConfigError, match="ratio is the synthetic share"):
        from_dict(PolicyConfig, {"ratio": 2.0})
    with pytest.raises(ConfigError, match="average is the memory of averaged weights"):
        from_dict(PolicyConfig, {"average": 1.0})
    with pytest.raises(ConfigError, match="actor_learning_rate must be positive"):
        from_dict(PolicyConfig, {"algo": {"kind": "iql", "actor_learning_rate": 0.0}})
    with pytest.raises(ConfigError, match=r"unknown setting `algo\.tau`"):
        from_dict(PolicyConfig, {"algo": {"kind": "td3bc", "tau": 0.1}})
    with pytest.raises(ConfigError, match="did you mean `td3bc`"):
        from_dict(PolicyConfig, {"algo": {"kind": "td3"}})
