"""One update of each learner, worked out by hand in NumPy with linear networks, and the parts that they share.

With `depth=0` a network is one linear layer, its gradients are short formulas, and the first step of Adam is
lr · g / (|g| + 1e-8).
"""

import itertools
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import norm
from toys import rows

from dawm.agents.actors import GaussianActor
from dawm.agents.bc import BCConfig, make_bc
from dawm.agents.config import PolicyConfig
from dawm.agents.critics import TwinCritic, bellman_target, expectile_loss, moved
from dawm.agents.fit import policy_update
from dawm.agents.iql import IQLConfig, make_iql, moments_of
from dawm.agents.policy import initial_state, seeds_of
from dawm.agents.quantile import levels, quantile_loss, read_at_levels
from dawm.agents.rebrac import ReBRACConfig, make_rebrac
from dawm.agents.td3bc import TD3BCConfig, make_td3bc
from dawm.data.sampling import make_pool
from dawm.types import Spec

SPEC = Spec(2, 1, (-1.0,), (1.0,))
RNG = np.random.default_rng(3)
BATCH = rows(
    obs=RNG.normal(size=(4, 2)),
    action=RNG.uniform(-1, 1, 4),
    reward=RNG.normal(size=4),
    next_obs=RNG.normal(size=(4, 2)),
    terminal=[False, True, False, False],
)
LR = 0.01


def linear(net, member=()):
    """(w, b) of a one-layer network as float64; w as (out, in)."""
    layer = net.layers[0]
    return np.asarray(layer.weight, np.float64)[member].T, np.asarray(layer.bias, np.float64)[member]


def adam(parameter, gradient):
    return parameter - LR * gradient / (np.abs(gradient) + 1e-8)


def q_values(critic, obs, action):
    """(n, 2)"""
    x = np.concatenate([obs, action], 1)
    return np.stack([(x @ w.T + b)[:, 0] for w, b in (linear(critic.nets, 0), linear(critic.nets, 1))], 1)


def assert_linear(net, expected, member=()):
    for found, wanted in zip(linear(net, member), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def step_linear(w, b, x, slope):
    """(w, b) after one step, for a loss whose derivative by the output of row i is slope[i], (n, 1)."""
    return adam(w, slope.T @ x), adam(b, slope.sum(0))


def test_bc_regresses_the_action():
    learner = make_bc(BCConfig(learning_rate=LR, depth=0), SPEC, 1)
    state = jax.jit(learner.init)(jr.key(0))
    after, metrics = jax.jit(learner.update)(state, BATCH, jr.key(1))
    w, b = linear(state.actor.net)
    pi = np.tanh(BATCH.obs @ w.T + b)
    np.testing.assert_allclose(metrics["actor/loss"], ((pi - BATCH.action) ** 2).mean(), rtol=1e-5)
    assert_linear(after.actor.net, step_linear(w, b, BATCH.obs, 2 * (pi - BATCH.action) / 4 * (1 - pi**2)))
    assert after.step == 1


@pytest.mark.parametrize(("noise", "clip"), [(0.0, 0.5), (0.2, 0.5), (5.0, 0.1)])
def test_td3bc_by_hand(noise, clip):
    config = TD3BCConfig(
        learning_rate=LR,
        discount=0.9,
        target_update_rate=0.25,
        policy_noise=noise,
        noise_clip=clip,
        policy_freq=1,
        depth=0,
    )
    learner = make_td3bc(config, SPEC, 1)
    state = jax.jit(learner.init)(jr.key(0))
    # targets that differ from the networks, as they do later in training
    state = eqx.tree_at(
        lambda s: (s.slow.target_actor, s.slow.target_critic),
        state,
        (learner.init(jr.key(5)).slow.actor, learner.init(jr.key(5)).critic),
    )
    after, metrics = jax.jit(learner.update)(state, BATCH, jr.key(1))

    w, b = linear(state.slow.target_actor.net)
    eps = np.clip(noise * np.asarray(jr.normal(jr.key(1), (4, 1))), -clip, clip)
    next_action = np.clip(np.tanh(BATCH.next_obs @ w.T + b) + eps, -1, 1)
    next_value = q_values(state.slow.target_critic, BATCH.next_obs, next_action).min(1)
    y = BATCH.reward + 0.9 * np.where([False, True, False, False], 0.0, next_value)
    q = q_values(state.critic, BATCH.obs, BATCH.action)
    np.testing.assert_allclose(metrics["critic/loss"], ((q - y[:, None]) ** 2).mean(0).sum(), rtol=1e-4)
    np.testing.assert_allclose(metrics["critic/q_mean"], q.mean(), rtol=1e-4)
    x = np.concatenate([BATCH.obs, BATCH.action], 1)
    critics = [step_linear(*linear(state.critic.nets, i), x, 2 * (q[:, [i]] - y[:, None]) / 4) for i in (0, 1)]
    for i in (0, 1):
        assert_linear(after.critic.nets, critics[i], i)

    w, b = linear(state.slow.actor.net)
    pi, (wq, bq) = np.tanh(BATCH.obs @ w.T + b), critics[0]  # the actor sees the new first critic
    q_pi = np.concatenate([BATCH.obs, pi], 1) @ wq.T + bq
    weight = 2.5 / np.abs(q_pi).mean()
    np.testing.assert_allclose(
        metrics["actor/loss"], -weight * q_pi.mean() + ((pi - BATCH.action) ** 2).mean(), rtol=1e-4
    )
    slope = (-weight * wq[0, 2] / 4 + 2 * (pi - BATCH.action) / 4) * (1 - pi**2)
    actor = step_linear(w, b, BATCH.obs, slope)
    assert_linear(after.slow.actor.net, actor)
    target = linear(state.slow.target_actor.net)
    assert_linear(after.slow.target_actor.net, [0.75 * t + 0.25 * a for t, a in zip(target, actor, strict=True)])
    for i in (0, 1):
        target = linear(state.slow.target_critic.nets, i)
        assert_linear(
            after.slow.target_critic.nets, [0.75 * t + 0.25 * c for t, c in zip(target, critics[i], strict=True)], i
        )


def test_td3bc_moves_actor_and_targets_every_second_update_only():
    learner = make_td3bc(TD3BCConfig(width=8), SPEC, 10)
    states, update = [jax.jit(learner.init)(jr.key(0))], jax.jit(learner.update)
    for k in range(4):
        states.append(update(states[-1], BATCH, jr.key(k))[0])
    same = lambda a, b: bool(eqx.tree_equal(a, b))
    assert [same(a.slow, b.slow) for a, b in itertools.pairwise(states)] == [True, False, True, False]
    assert not any(same(a.critic, b.critic) for a, b in itertools.pairwise(states))


def test_the_delayed_update_stays_a_branch_when_seeds_are_mapped():
    """A branch that was turned into a select would compute the actor's update at every step."""
    config = PolicyConfig(TD3BCConfig(width=8), batch_size=4, seeds=3)
    state = initial_state(config, SPEC, np.zeros(SPEC.obs_dim), np.ones(SPEC.obs_dim))
    seeds, pool = seeds_of(config), make_pool(BATCH)
    update, keys = seeds.at_once(policy_update(config, SPEC)), seeds.keys(0)
    dynamic, static = eqx.partition(state, eqx.is_array)
    arrays = lambda d: eqx.filter(update(eqx.combine(d, static), pool, keys)[0], eqx.is_array)
    assert [e.primitive.name for e in jax.make_jaxpr(arrays)(dynamic).jaxpr.eqns].count("cond") == 1
    after = jax.eval_shape(arrays, dynamic)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, dynamic)
    assert after.learner.step.shape == ()


@pytest.mark.parametrize("advantage", ["raw", "scaled"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_iql_by_hand(deterministic, advantage):
    config = IQLConfig(
        learning_rate=LR,
        discount=0.9,
        target_update_rate=0.25,
        exp_adv_max=1.5,
        advantage=advantage,
        deterministic=deterministic,
        depth=0,
    )
    learner = make_iql(config, SPEC, 100)
    state = jax.jit(learner.init)(jr.key(0))
    state = eqx.tree_at(lambda s: s.target_critic, state, learner.init(jr.key(5)).critic)
    after, metrics = jax.jit(learner.update)(state, BATCH, jr.key(1))

    target_q = q_values(state.target_critic, BATCH.obs, BATCH.action).min(1)
    w, b = linear(state.value.net)
    v, next_v = ((o @ w.T + b)[:, 0] for o in (BATCH.obs, BATCH.next_obs))
    u = target_q - v
    side = np.where(u < 0, 0.3, 0.7)
    assert 0 < (u < 0).sum() < 4  # both branches of the expectile are met
    np.testing.assert_allclose(metrics["value/loss"], (side * u**2).mean(), rtol=1e-4)
    assert_linear(after.value.net, step_linear(w, b, BATCH.obs, (-2 * side * u / 4)[:, None]))

    y = BATCH.reward + 0.9 * np.where(BATCH.terminal, 0.0, next_v)
    q = q_values(state.critic, BATCH.obs, BATCH.action)
    np.testing.assert_allclose(metrics["critic/loss"], ((q - y[:, None]) ** 2).mean(), rtol=1e-4)
    x = np.concatenate([BATCH.obs, BATCH.action], 1)
    for i in (0, 1):
        critic = step_linear(*linear(state.critic.nets, i), x, (q[:, [i]] - y[:, None]) / 4)
        assert_linear(after.critic.nets, critic, i)
        target = linear(state.target_critic.nets, i)
        assert_linear(after.target_critic.nets, [0.75 * t + 0.25 * c for t, c in zip(target, critic, strict=True)], i)

    unit = np.sqrt((u**2).mean()) if advantage == "scaled" else 1.0
    weight = np.minimum(np.exp(3 * u / unit), 1.5)
    assert 0 < (weight == 1.5).sum() < 4  # some weights are clipped, others not
    w, b = linear(state.actor.net)
    pi = np.tanh(BATCH.obs @ w.T + b)
    error = pi - BATCH.action
    if deterministic:
        loss, slope = (weight * (error**2)[:, 0]).mean(), 2 * error
    else:  # unit variance at the start
        loss, slope = -(weight * norm.logpdf(error[:, 0])).mean(), error
        spread = (weight * (1 - error[:, 0] ** 2)).mean()  # derivative by the log-std
        np.testing.assert_allclose(after.actor.log_std, [adam(0.0, spread)], rtol=1e-4)
    np.testing.assert_allclose(metrics["actor/loss"], loss, rtol=1e-4)
    assert_linear(after.actor.net, step_linear(w, b, BATCH.obs, weight[:, None] * slope / 4 * (1 - pi**2)))


@pytest.mark.parametrize(("slope", "counts"), [(1.3, 1.0), (0.8, 0.6), (0.4, 0.0)])
def test_weights_of_iql_follow_the_reliability_of_its_advantages(slope, counts):
    """Where TD errors are `slope` times the advantages, weights are those of `counts` times the temperature."""
    config = IQLConfig(learning_rate=LR, discount=0.9, advantage="reliable", temperature=0.5, depth=0)
    learner = make_iql(config, SPEC, 100)
    state = eqx.tree_at(lambda s: s.target_critic, learner.init(jr.key(0)), learner.init(jr.key(5)).critic)
    v, next_v = (jax.vmap(state.value)(obs) for obs in (BATCH.obs, BATCH.next_obs))
    u = q_values(state.target_critic, BATCH.obs, BATCH.action).min(1) - v
    batch = BATCH._replace(reward=v + slope * u - 0.9 * jnp.where(BATCH.terminal, 0.0, next_v))
    after, metrics = jax.jit(learner.update)(state, batch, jr.key(1))
    np.testing.assert_allclose(metrics["actor/reliability"], slope, rtol=1e-4)
    np.testing.assert_allclose(after.moments.trust, counts, rtol=1e-4, atol=1e-6)

    plain = make_iql(replace(config, advantage="scaled", temperature=0.5 * counts), SPEC, 100)
    expected, _ = jax.jit(plain.update)(eqx.tree_at(lambda s: s.moments, state, None), batch, jr.key(1))
    assert_linear(after.actor.net, linear(expected.actor.net))
    assert_linear(after.value.net, linear(expected.value.net))  # which advantages do not teach


@pytest.mark.parametrize("error", [0.0, 0.5, 2.0])
def test_reliability_is_the_share_of_signal_in_advantages_also_of_a_stochastic_world(error):
    rng = np.random.default_rng(0)
    exact, luck, wrong = rng.normal(size=(3, 200_000))
    found = moments_of(jnp.asarray(exact + np.sqrt(error) * wrong + 5), jnp.asarray(exact + 3 * luck - 2))
    np.testing.assert_allclose(found.reliability, 1 / (1 + error), atol=0.03)
    np.testing.assert_allclose(found.trust, max((1 - error) / (1 + error), 0), atol=0.06)


@pytest.mark.parametrize(("own", "schedule"), [(None, "cosine"), (2 * LR, "cosine"), (2 * LR, "constant")])
def test_the_learning_rate_of_iql_actors(own, schedule):
    """With one gradient for ever Adam moves by exactly the learning rate, which ends at 0 along a cosine or stays."""
    config = IQLConfig(learning_rate=LR, actor_learning_rate=own, actor_schedule=schedule, depth=0, temperature=0.0)
    learner = make_iql(config, SPEC, 4)
    state, moves, update = learner.init(jr.key(0)), [], jax.jit(learner.update)
    far = BATCH._replace(action=np.full((4, 1), 50.0, np.float32), obs=np.zeros((4, 2), np.float32))
    for _ in range(5):
        after = update(state, far, jr.key(0))[0]
        moves.append(float((after.actor.net.layers[0].bias - state.actor.net.layers[0].bias)[0]))
        state = after
    falling = 0.5 * (1 + np.cos(np.pi * np.arange(5) / 4))
    expected = (own or LR) * (falling if schedule == "cosine" else np.ones(5))
    np.testing.assert_allclose(moves, expected, rtol=0.05, atol=1e-6)


def test_the_minimiser_of_the_expectile_loss_is_the_expectile():
    """Of {0, 1} with probability p of 1: τp / (τp + (1 − τ)(1 − p))."""
    values = jnp.array([0.0] * 7 + [1.0] * 3)
    grid = jnp.linspace(0, 1, 10_001)
    for tau in (0.5, 0.7, 0.9):
        best = grid[expectile_loss(values - grid[:, None], tau).mean(1).argmin()]
        assert abs(best - tau * 0.3 / (tau * 0.3 + (1 - tau) * 0.7)) < 2e-4


def test_shared_arithmetic():
    reward, terminal, value = jnp.array([1.0, 2.0]), jnp.array([False, True]), jnp.array([10.0, jnp.nan])
    np.testing.assert_allclose(bellman_target(reward, terminal, value, 0.5), [6.0, 2.0])  # never reads v at a terminal
    np.testing.assert_allclose(moved(jnp.array([4.0]), jnp.array([8.0]), 0.25), [5.0])


def test_twin_critics_are_independent_and_the_first_is_the_first():
    critic = TwinCritic(2, 1, width=8, depth=2, key=jr.key(0))
    obs, action = jnp.array([0.3, -1.0]), jnp.array([0.5])
    both = critic(obs, action)
    assert both[0] != both[1]
    np.testing.assert_allclose(critic.first(obs, action), both[0], rtol=1e-6)


def test_gaussian_density():
    actor = eqx.tree_at(
        lambda a: a.log_std, GaussianActor(2, 2, width=8, depth=1, key=jr.key(0)), jnp.array([-1.0, 3.0])
    )
    obs, action = jnp.array([0.3, -1.0]), jnp.array([0.5, -0.7])
    expected = norm.logpdf(action, actor(obs), np.exp([-1.0, 2.0])).sum()  # 3 is clipped to 2
    np.testing.assert_allclose(actor.log_prob(obs, action), expected, rtol=1e-5)


def test_rebrac_by_hand():
    config = ReBRACConfig(learning_rate=LR, discount=0.9, policy_noise=0.0, policy_freq=1, depth=0,
                          actor_penalty=0.3, critic_penalty=0.7)  # fmt: skip
    learner = make_rebrac(config, SPEC, 1)
    state = jax.jit(learner.init)(jr.key(0))
    next_action = RNG.uniform(-1, 1, (4, 1)).astype(np.float32)
    batch = BATCH._replace(next_action=next_action, next_known=np.array([True, True, True, False]))
    after, metrics = jax.jit(learner.update)(state, batch, jr.key(1))

    w, b = linear(state.slow.target_actor.net)
    chosen = np.tanh(batch.next_obs @ w.T + b)
    penalised = np.array([1, 0, 1, 0]) * ((chosen - next_action) ** 2).sum(1)  # row 1 ended, row 3 was cut
    next_value = q_values(state.slow.target_critic, batch.next_obs, chosen).min(1)
    y = batch.reward + 0.9 * (np.array([1, 0, 1, 1]) * next_value - 0.7 * penalised)
    q = q_values(state.critic, batch.obs, batch.action)
    np.testing.assert_allclose(metrics["critic/loss"], ((q - y[:, None]) ** 2).mean(0).sum(), rtol=1e-4)
    w, b = linear(state.slow.actor.net)
    pi = np.tanh(batch.obs @ w.T + b)
    q_pi = q_values(after.critic, batch.obs, pi).min(1)
    expected = 0.3 * ((pi - batch.action) ** 2).sum(1).mean() - q_pi.mean() / np.abs(q_pi).mean()
    np.testing.assert_allclose(metrics["actor/loss"], expected, rtol=1e-3)


def test_quantile_loss_by_hand_and_its_minimum():
    z, y = jnp.array([[0.0, 3.0]]), jnp.array([[1.0, -0.5]])
    # errors 1, -.5 at level .25 and -2, -3.5 at level .75; Huber 0.5, 0.125, 1.5, 3
    by_hand = (0.25 * 0.5 + 0.75 * 0.125) / 2 + (0.25 * 1.5 + 0.25 * 3.0) / 2
    np.testing.assert_allclose(quantile_loss(z, y), [by_hand], rtol=1e-6)
    samples = jnp.asarray(np.random.default_rng(0).exponential(50.0, (1, 4001)))  # wide, so that Huber is linear
    true = read_at_levels(samples, 5)
    np.testing.assert_allclose(true[0], np.quantile(np.asarray(samples[0]), levels(5)), rtol=1e-2)
    best = float(quantile_loss(true, samples)[0])
    for k, shift in itertools.product(range(5), (-3.0, 3.0)):
        assert float(quantile_loss(true.at[0, k].add(shift), samples)[0]) > best
    np.testing.assert_array_equal(read_at_levels(jnp.array([[3.0, 1.0, 2.0]]), 3), [[1.0, 2.0, 3.0]])
