"""Ends: impossible where the data have none, calibrated where a rule makes them."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from linear_world import minimise

from dawm.worldmodel.ends import EndNetwork, EndsConfig, end_inputs, end_loss

CONFIG = EndsConfig(width=32, depth=2)


def sure_of_an_end(possible):
    network = EndNetwork(CONFIG, 1, 1, possible, key=jr.key(0))
    return eqx.tree_at(lambda n: n.body.layers[-1].bias, network, jnp.array([50.0]))


def test_probability_is_exactly_zero_where_no_end_was_recorded():
    assert sure_of_an_end(False).probability(jnp.zeros(4)) == 0.0
    assert sure_of_an_end(True).probability(jnp.zeros(4)) == 1.0


def test_loss_worked_by_hand():
    network = eqx.tree_at(lambda n: n.body.layers[-1].bias, sure_of_an_end(True), jnp.array([np.log(3.0)]))
    network = eqx.tree_at(lambda n: n.body.layers[-1].weight, network, jnp.zeros((32, 1)))  # p = 3/4 everywhere
    loss = end_loss(network, jnp.zeros((2, 4)), jnp.array([1.0, 0.0]))
    assert loss == pytest.approx((np.log(4 / 3) + np.log(4)) / 2, rel=1e-5)


def test_threshold_on_the_next_state_is_learnt_with_the_right_rate():
    bound = -1.2

    def draw(key, count=256):
        obs, action, change = jr.normal(key, (3, count, 1))
        following = obs + 0.5 * change
        return jax.vmap(end_inputs)(obs, action, change, following), (following[:, 0] < bound) * 1.0

    network = minimise(lambda n, k: end_loss(n, *draw(k)), EndNetwork(CONFIG, 1, 1, True, key=jr.key(0)), 500)
    x, ended = draw(jr.key(77), 4_000)
    p = jax.vmap(network.probability)(x)
    generated = jr.uniform(jr.key(1), p.shape) < p
    assert generated.mean() == pytest.approx(float(ended.mean()), rel=0.1)  # rate 0.14: two samplings, 4 % each
    assert (generated == (ended > 0)).mean() > 0.97


def test_weight_decay_of_the_optimiser_leaves_certainty_alone():
    """`possible` is an array like the weights, so the optimiser's decay reaches it: 1.0 becomes, say, 0.3."""
    decayed = eqx.tree_at(lambda n: n.possible, sure_of_an_end(True), jnp.asarray(0.3))
    assert decayed.probability(jnp.zeros(4)) == 1.0
