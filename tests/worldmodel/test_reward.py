"""The reward network of planners: it answers to what the reward depends on and to nothing else."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from dawm.data.dataset import Dataset, DatasetInfo
from dawm.run.loop import LoopConfig
from dawm.run.optim import OptimConfig
from dawm.worldmodel.dynamics import PointPrediction, Within
from dawm.worldmodel.ends import EndsConfig
from dawm.worldmodel.inverse import InverseConfig
from dawm.worldmodel.networks import NetworksConfig, fit_scales, train_networks
from dawm.worldmodel.onestep import EnsembleConfig, StepConfig
from dawm.worldmodel.reward import RewardConfig, RewardNetwork, begun, reward_inputs, thinned

TARGET, NOISE = 2, 3


def recordings(n=4_000, seed=0) -> Dataset:
    """A mass (position, velocity), a target that jumps now and then and a bystander; r = -|position' - target'|."""
    rng = np.random.default_rng(seed)
    obs = np.column_stack([rng.normal(size=(n, 2)), rng.uniform(-1.5, 1.5, n), rng.normal(size=n)])
    action = rng.uniform(-1, 1, (n, 1))
    jump = np.where(rng.random(n) < 0.02, rng.uniform(-1.5, 1.5, n), obs[:, TARGET])
    after = np.column_stack(
        [obs[:, 0] + 0.2 * obs[:, 1], 0.9 * obs[:, 1] + 0.5 * action[:, 0], jump, rng.normal(size=n)]
    )
    reward = -np.abs(after[:, 0] - after[:, TARGET])
    single = lambda x: x.astype(np.float32)
    return Dataset(
        obs=single(obs), action=single(action), reward=single(reward), next_obs=single(after),
        terminal=np.zeros(n, bool), episode_ends=np.arange(40, n + 1, 40), source=np.zeros(n, np.int32),
        act_low=-np.ones(1, np.float32), act_high=np.ones(1, np.float32), info=DatasetInfo(name="mass", origin="mass"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained():
    data = recordings()
    scales = fit_scales(data, data.spec)
    config = NetworksConfig(
        anchor=StepConfig(width=32, depth=1),
        inverse=InverseConfig(width=8, depth=1),
        ends=EndsConfig(width=8, depth=1),
        reward=RewardConfig(width=64, depth=2),
        one_step=StepConfig(width=8, depth=1),
        ensemble=EnsembleConfig(members=1, width=8, depth=1),
        optim=OptimConfig(learning_rate=3e-3),
        loop=LoopConfig(steps=1_500, chunk=500, monitor_every=1_500, save_every=1_500),
    )
    return scales, train_networks(data, scales, config, seed=0, folder=None)


def step(dynamics, obs, action):
    shaped = lambda x: jnp.asarray(x, jnp.float32)[None]
    out = dynamics.advance(shaped(obs), shaped(action), jnp.zeros((1, len(obs)), jnp.int32), jr.key(0))
    return jax.tree.map(lambda leaf: np.asarray(leaf[0]), out)


def test_a_step_has_the_reward_of_where_it_leads(trained):
    scales, networks = trained
    rows = recordings(480, seed=1)
    out = step(PointPrediction(networks.anchor, networks.reward, scales), rows.obs, rows.action)
    np.testing.assert_allclose(out.next_obs[:, :2], rows.next_obs[:, :2], atol=2e-4)
    np.testing.assert_array_equal(out.next_obs[:, TARGET], rows.obs[:, TARGET])  # jumps are not foretold
    expected = -np.abs(rows.next_obs[:, 0] - rows.obs[:, TARGET])
    assert np.abs(out.reward - expected).mean() < 0.06


def test_inputs_that_the_reward_does_not_need_are_gone(trained):
    norm = np.linalg.norm(trained[1].reward.body.layers[0].weight, axis=1)
    obs, after, change = norm[:4], norm[5:9], norm[9:]
    needed = obs[[0, TARGET]].sum() + after[[0, TARGET]].sum() + change[[0, TARGET]].sum()
    assert obs[NOISE] + after[NOISE] + change[NOISE] < 0.02 * needed


def test_the_linear_part_is_fitted_and_stays(rng):
    x = rng.normal(size=(300, 7)).astype(np.float32)
    weights = rng.normal(size=7)
    network = begun(RewardNetwork(RewardConfig(width=8, depth=1), 2, 1, key=jr.key(0)), x, x @ weights)
    np.testing.assert_allclose(network.linear, weights, atol=1e-4)
    grads = eqx.filter_grad(lambda n: n(jnp.ones(7)))(network)
    assert not grads.linear.any()
    assert grads.body.layers[1].bias.any()


def test_a_proximal_step_worked_by_hand():
    network = RewardNetwork(RewardConfig(width=2, depth=1), 1, 0, key=jr.key(0))
    rows = jnp.array([[3.0, 4.0], [0.06, 0.08], [0.0, 0.0]])
    network = eqx.tree_at(lambda n: n.body.layers[0].weight, network, rows)
    shorter = thinned(network, jnp.asarray(0.5)).body.layers[0].weight
    np.testing.assert_allclose(shorter, [[2.7, 3.6], [0, 0], [0, 0]], atol=1e-6)


def test_the_price_of_leaving_the_log_worked_by_hand(trained):
    scales, networks = trained
    point = PointPrediction(networks.anchor, networks.reward, scales)
    far = np.asarray(scales.obs.invert(jnp.asarray([0.0, float(scales.most[1]) + 3.0, 0.0, 0.0])))
    obs, action = np.stack([np.zeros(4), far]), np.zeros((2, 1))
    plain, priced = step(point, obs, action), step(Within(point, scales, 10.0), obs, action)
    after = np.asarray(jax.vmap(scales.after)(jnp.asarray(obs), jnp.asarray(plain.next_obs)))
    beyond = np.maximum(after - scales.most, 0) + np.maximum(scales.least - after, 0)
    assert priced.reward[0] == plain.reward[0]
    assert beyond[1].sum() > 1
    expected = plain.reward - 10 * float(scales.reward.scale[0]) * beyond.sum(1)
    np.testing.assert_allclose(priced.reward, expected, rtol=1e-5)
    np.testing.assert_array_equal(priced.next_obs, plain.next_obs)
    alone = step(Within(point, scales, 10.0, alone=True), obs, action)
    assert alone.reward[0] == 0
    np.testing.assert_allclose(alone.reward, -beyond.sum(1), rtol=1e-5)
    np.testing.assert_array_equal(alone.next_obs, plain.next_obs)


def test_the_range_of_the_log_holds_all_but_a_thousandth(trained):
    data = recordings()
    after = np.asarray(jax.vmap(trained[0].after)(jnp.asarray(data.obs), jnp.asarray(data.next_obs)))
    for outside in (after < trained[0].least, after > trained[0].most):
        assert (outside.mean(0) <= 0.0011).all()


def test_inputs_are_where_one_was_what_one_did_and_where_one_got(trained):
    x = reward_inputs(trained[0], jnp.ones(4), jnp.ones(1), 2 * jnp.ones(4))
    obs, change = trained[0].obs, trained[0].change
    expected = [obs.apply(jnp.ones(4)), jnp.ones(1), obs.apply(2 * jnp.ones(4)), change.apply(jnp.ones(4))]
    np.testing.assert_allclose(x, np.concatenate(expected), rtol=1e-6)
