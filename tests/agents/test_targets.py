"""Risk measures against their definitions, and learners whose targets range over plausible futures."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawm.agents.config import PolicyConfig
from dawm.agents.fit import train_policy
from dawm.agents.iql import IQLConfig
from dawm.agents.quantile import QuantileConfig
from dawm.agents.targets import RiskConfig, one_step, over_futures, risk
from dawm.agents.td3bc import TD3BCConfig
from dawm.data.dataset import Dataset
from dawm.errors import ConfigError
from dawm.run.loop import LoopConfig
from dawm.types import Prediction, Transition

MEASURES = [("mean", 0.25), ("cvar", 0.25), ("cvar", 0.3), ("mean_std", 1.0), ("worst", 2), ("disagree", 1.0)]


def test_by_hand():
    x = jnp.array([[4.0, 1.0, 3.0, 2.0]])
    assert risk(x, RiskConfig("mean"))[0] == 2.5
    assert risk(x, RiskConfig("cvar", 0.5))[0] == 1.5
    assert risk(x, RiskConfig("cvar", 0.375))[0] == pytest.approx((1 + 0.5 * 2) / 1.5)
    assert risk(x, RiskConfig("cvar", 0.01))[0] == 1
    assert risk(x, RiskConfig("cvar", 1.0))[0] == 2.5
    assert risk(x, RiskConfig("mean_std", 2.0))[0] == pytest.approx(2.5 - 2 * np.sqrt(1.25))
    assert risk(x, RiskConfig("worst", 3))[0] == 2
    assert risk(x, RiskConfig("worst", 9))[0] == 2.5
    assert risk(x, RiskConfig("disagree", 2.0), members=2)[0] == pytest.approx(2.5 - 2 * 1.0)  # means 3.5 and 1.5
    same = jnp.array([[4.0, 4.0, 1.0, 1.0]])  # what both members call chance is no disagreement
    assert risk(same, RiskConfig("disagree", 2.0), members=2)[0] == 2.5


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), row=st.sampled_from(MEASURES), shift=st.floats(-5, 5), scale=st.floats(0.1, 5))
def test_a_measure_is_below_the_mean_and_moves_with_units(seed, row, shift, scale):
    x = jnp.asarray(np.random.default_rng(seed).normal(size=(3, 10)))
    config = RiskConfig(*row)
    found = risk(x, config, 3)
    assert (found <= x.mean(-1) + 1e-5).all()
    np.testing.assert_allclose(risk(scale * x + shift, config, 3), scale * found + shift, rtol=1e-3, atol=1e-3)
    worse = x.at[:, 0].add(-1.0)
    if config.measure not in ("mean_std", "disagree"):  # which are not monotone, as is well known
        assert (risk(worse, config, 3) <= found + 1e-6).all()


@pytest.mark.parametrize("bad", [("cvar", 0.0), ("cvar", 1.5), ("mean_std", -1), ("worst", 0), ("worst", 1.5)])
def test_levels_that_mean_nothing_are_refused(bad):
    with pytest.raises(ValueError, match=bad[0]):
        RiskConfig(*bad)


def test_target_over_futures_by_hand():
    futures = Prediction(jnp.array([[[1.0], [3.0]]]), jnp.array([[0.5, -0.5]]), jnp.array([[0.0, 1.0]]))
    batch = Transition(*[jnp.zeros((1, 1))] * 2, jnp.array([9.0]), jnp.array([[7.0]]), jnp.zeros((1, 1)),
                       jnp.array([False]), jnp.array([-1]), futures)  # fmt: skip
    value = lambda obs: 10 * obs[..., 0]
    assert over_futures(RiskConfig("mean"))(value, batch, 0.9)[0] == pytest.approx((0.5 + 9 - 0.5) / 2)
    assert over_futures(RiskConfig("worst", 1))(value, batch, 0.9)[0] == pytest.approx(-0.5)
    assert one_step(value, batch, 0.9)[0] == pytest.approx(9 + 0.9 * 70)


def gamble(n: int = 2000, seed: int = 0) -> Dataset:
    """One step, one state: the reward of action a is a on average, with a spread of 3 |a| for a > 0."""
    rng = np.random.default_rng(seed)
    action = rng.uniform(-1, 1, (n, 1)).astype(np.float32)
    obs = np.zeros((n, 1), np.float32)
    reward = (action[:, 0] + 3 * np.maximum(action[:, 0], 0) * rng.normal(size=n)).astype(np.float32)
    return Dataset(obs, action, reward, obs, np.ones(n, bool), np.arange(1, n + 1), np.full(n, -1, np.int32),
                   np.array([-1.0], np.float32), np.array([1.0], np.float32))  # fmt: skip


class Known:
    """The exact futures of the gamble."""

    origin, members = "futures:known", 1

    def __init__(self, data: Dataset, count: int = 24):
        self.data, rng = data.fingerprint, np.random.default_rng(1)
        a = data.action[:, :1]
        reward = (a + 3 * np.maximum(a, 0) * rng.normal(size=(len(data), count))).astype(np.float32)
        self.all = Prediction(np.zeros((len(data), count, 1), np.float32), reward, np.ones_like(reward))

    def rows(self, index):
        return jax.tree.map(lambda leaf: leaf[index], self.all)


@pytest.mark.parametrize("measure", ["mean", "cvar"])
def test_a_careful_policy_declines_a_gamble_that_pays_on_average(measure):
    data = gamble()
    config = PolicyConfig(
        algo=TD3BCConfig(width=32, alpha=20.0, learning_rate=2e-3),
        batch_size=128,
        risk=RiskConfig(measure, 0.1),
        loop=LoopConfig(steps=600, chunk=300, monitor_every=600),
    )
    action = train_policy(data, config, futures=Known(data))[0](np.zeros((1, 1)), key=jr.key(0))[0, 0]
    assert action > 0.5 if measure == "mean" else action < 0.1


@pytest.mark.parametrize(("measure", "known"), [("mean", True), ("cvar", False)], ids=["futures", "recorded outcomes"])
def test_quantile_critics_learn_the_spread_and_a_careful_policy_declines_it(measure, known):
    data = gamble()
    algo = QuantileConfig(width=32, alpha=20.0, learning_rate=2e-3, caution=RiskConfig(measure, 0.1))
    config = PolicyConfig(algo, batch_size=128, loop=LoopConfig(steps=600, chunk=300, monitor_every=600))
    policy = train_policy(data, config, futures=Known(data, 8) if known else None)[0]
    action = policy(np.zeros((1, 1)))[0, 0]
    assert action > 0.5 if measure == "mean" else action < 0.1


def test_futures_that_are_the_recorded_outcomes_change_nothing():
    data = gamble(300)
    known = Known(data, 2)
    own = Prediction(
        np.repeat(data.next_obs[:, None], 2, 1), np.repeat(data.reward[:, None], 2, 1), np.ones((300, 2), np.float32)
    )
    known.all = own
    config = PolicyConfig(algo=IQLConfig(width=8), batch_size=16, loop=LoopConfig(steps=20, chunk=10, monitor_every=20))
    plain, with_futures = train_policy(data, config), train_policy(data, config, futures=known)
    obs = np.linspace(-1, 1, 5)[:, None]
    np.testing.assert_allclose(plain[0](obs), with_futures[0](obs), atol=1e-5)


def test_disagreement_needs_members():
    data = gamble(50)
    config = PolicyConfig(risk=RiskConfig("disagree"), loop=LoopConfig(steps=1, chunk=1))
    with pytest.raises(ConfigError, match="disagree compares members"):
        train_policy(data, config, futures=Known(data))


def test_futures_of_other_data_are_refused():
    data = gamble(50)
    with pytest.raises(ConfigError, match="other data"):
        train_policy(data, PolicyConfig(loop=LoopConfig(steps=1, chunk=1)), futures=Known(gamble(50, seed=5)))
