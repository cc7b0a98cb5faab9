"""Inverse dynamics: every head recovers the actions of a linear system; the Gaussian one is a density."""

from __future__ import annotations

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from linear_world import minimise

from dawm.worldmodel.inverse import InverseConfig, InverseDynamics

HEADS = ("deterministic", "gaussian", "ensemble")
MATRIX = jnp.array([[0.8, 0.5], [-0.4, 0.9]])  # change = 0.3 obs + MATRIX action


def draw(key, count):
    key_obs, key_action = jr.split(key)
    obs, action = jr.normal(key_obs, (count, 2)), jr.uniform(key_action, (count, 2), minval=-0.9, maxval=0.9)
    return obs, 0.3 * obs + action @ MATRIX.T, action


def untrained(head, act_dim=2, obs_dim=2):
    return InverseDynamics(InverseConfig(head, width=32, depth=2, members=3), obs_dim, act_dim, key=jr.key(3))


@functools.cache
def trained(head):
    loss = lambda model, key: jax.vmap(model.loss)(*draw(key, 64)).mean()
    return minimise(loss, untrained(head), 800, 5e-3)


@pytest.mark.parametrize("head", HEADS)
def test_head_recovers_the_actions_of_a_linear_system(head):
    obs, change, action = draw(jr.key(1), 400)
    for answer in (jax.vmap(trained(head).infer)(obs, change),
                   jax.vmap(trained(head).draw)(obs, change, jr.split(jr.key(2), 400))):  # fmt: skip
        assert jnp.sqrt(jnp.square(answer - action).mean()) < 0.08  # the actions have a spread of 0.52


def test_gaussian_likelihood_beats_the_best_law_that_ignores_the_states():
    obs, change, action = draw(jr.key(1), 400)
    nll = -jax.vmap(trained("gaussian").log_prob)(obs, change, action).mean()
    before = jnp.arctanh(action)
    spread = before.std(0)
    normal = -0.5 * jnp.square((before - before.mean(0)) / spread) - jnp.log(spread) - 0.5 * jnp.log(2 * jnp.pi)
    constant = -(normal - jnp.log1p(-jnp.square(action))).sum(1).mean()
    assert nll < constant - 2.0  # nats, for two actions


@pytest.mark.parametrize("seed", range(4))
def test_gaussian_density_integrates_to_one(seed):
    model, key = untrained("gaussian", act_dim=1), jr.key(seed)
    model = eqx.tree_at(lambda m: m.network.layers[-1].bias, model, jr.uniform(key, (2,), minval=-1.0, maxval=0.0))
    edges = jnp.linspace(-1, 1, 20_001)
    middle = (edges[1:] + edges[:-1])[:, None] / 2
    density = jnp.exp(jax.vmap(lambda a: model.log_prob(jnp.ones(2), jnp.zeros(2), a))(middle))
    assert float(density.sum() * (edges[1] - edges[0])) == pytest.approx(1.0, abs=5e-3)
    samples = jax.vmap(lambda k: model.draw(jnp.ones(2), jnp.zeros(2), k))(jr.split(key, 4_000))
    mean = float((density[:, None] * middle).sum() * (edges[1] - edges[0]))
    assert abs(samples.mean() - mean) < 5 * samples.std() / np.sqrt(4_000)
    median = model.infer(jnp.ones(2), jnp.zeros(2))
    assert abs((samples < median).mean() - 0.5) < 5 * 0.5 / np.sqrt(4_000)


def test_loss_is_the_negative_log_density_per_dimension():
    model, (obs, change, action) = untrained("gaussian"), draw(jr.key(0), 1)
    expected = -model.log_prob(obs[0], change[0], action[0]) / 2
    assert model.loss(obs[0], change[0], action[0]) == pytest.approx(float(expected), rel=1e-6)


def test_actions_at_the_bound_have_a_finite_likelihood_and_gradient():
    model = untrained("gaussian")
    value, grads = eqx.filter_value_and_grad(lambda m: m.loss(jnp.ones(2), jnp.ones(2), jnp.array([1.0, -1.0])))(model)
    assert jnp.isfinite(value)
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_disagreement_is_zero_exactly_where_the_members_agree():
    model = untrained("ensemble")
    assert (model.disagreement(jnp.ones(2), jnp.ones(2)) > 0).all()
    first = lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape) if eqx.is_array(leaf) else leaf
    same = eqx.tree_at(lambda m: m.network, model, jax.tree.map(first, model.network))
    np.testing.assert_allclose(same.disagreement(jnp.ones(2), jnp.ones(2)), 0.0, atol=1e-7)
    np.testing.assert_array_equal(untrained("deterministic").disagreement(jnp.ones(2), jnp.ones(2)), 0.0)


def test_ensemble_answers_with_the_mean_and_draws_members():
    model = untrained("ensemble")
    out = jnp.tanh(model._raw(jnp.ones(2), jnp.ones(2)))
    np.testing.assert_allclose(model.infer(jnp.ones(2), jnp.ones(2)), out.mean(0), rtol=1e-6)
    drawn = {tuple(np.asarray(model.draw(jnp.ones(2), jnp.ones(2), jr.key(i))).round(5)) for i in range(30)}
    assert drawn == {tuple(row) for row in np.asarray(out).round(5)}
