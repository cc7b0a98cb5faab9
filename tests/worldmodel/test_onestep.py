"""One-step networks: a linear system is learnt to rounding, and the ensemble's likelihood is the one on paper."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from linear_world import make_data, minimise

from dawm.data.normalise import Standard
from dawm.worldmodel.networks import fit_scales
from dawm.worldmodel.onestep import (
    EnsembleConfig,
    GaussianEnsemble,
    Scales,
    StepConfig,
    StepNetwork,
    ensemble_loss,
    step_loss,
)
from dawm.worldmodel.yardsticks import gaussian_members


def scales():
    return Scales(
        obs=Standard(jnp.array([1.0, -2.0]), jnp.array([2.0, 0.5])),
        change=Standard(jnp.array([0.1, 0.0]), jnp.array([0.3, 0.2])),
        reward=Standard(jnp.array([5.0]), jnp.array([4.0])),
        act_centre=jnp.array([1.0]),
        act_scale=jnp.array([2.0]),
        least=jnp.array([-1.0, -1.0, -2.0, -2.0]),
        most=jnp.array([1.0, 1.0, 2.0, 2.0]),
    )


def test_units_worked_by_hand():
    np.testing.assert_allclose(scales().inputs(jnp.array([3.0, -2.5]), jnp.array([-1.0])), [1.0, -1.0, -1.0])
    targets = scales().targets(jnp.array([3.0, -2.5]), jnp.asarray(13.0), jnp.array([3.4, -2.5]))
    np.testing.assert_allclose(targets, [1.0, 0.0, 2.0], atol=1e-5)


def test_outcome_inverts_targets(rng):
    obs, next_obs, reward = rng.normal(size=2), rng.normal(size=2), jnp.asarray(rng.normal())
    reached, earned = scales().outcome(jnp.asarray(obs), scales().targets(jnp.asarray(obs), reward, next_obs))
    np.testing.assert_allclose(reached, next_obs, atol=1e-6)
    assert abs(earned - reward) < 1e-6


def test_step_loss_worked_by_hand():
    zero = jax.tree.map(lambda x: x * 0, StepNetwork(StepConfig(width=2, depth=1), 1, 1, key=jr.key(0)).body)
    network = eqx.tree_at(lambda n: (n.body, n.skip), StepNetwork(StepConfig(width=2, depth=1), 1, 1, key=jr.key(0)),
                          (zero, None), is_leaf=lambda x: x is None)  # fmt: skip
    y, weight = jnp.array([[1.0, 3.0], [2.0, 0.0], [50.0, 50.0]]), jnp.array([0.25, 0.75, 0.0])
    assert step_loss(network, jnp.ones((3, 2)), y, weight) == pytest.approx(0.25 * 5.0 + 0.75 * 2.0)


def test_linear_skip_learns_a_linear_system_to_about_a_hundredth_of_the_change():
    matrix = jnp.array([[0.9, -0.3, 0.3], [0.1, 0.5, -0.9], [0.4, 0.4, 0.7]])  # rows of about unit norm
    network = StepNetwork(StepConfig(width=16, depth=1), 2, 1, key=jr.key(0))

    def loss(network, key):
        x = jr.normal(key, (128, 3))
        return step_loss(network, x, x @ matrix.T, jnp.full(128, 1 / 128))

    network = minimise(loss, network, 1_500)
    x = jr.normal(jr.key(5), (500, 3))
    error = jax.vmap(network)(x) - x @ matrix.T
    assert jnp.sqrt(jnp.square(error).mean()) < 1.5e-2


def ensemble(obs_dim=1, act_dim=1, **settings):
    config = EnsembleConfig(**({"members": 3, "width": 24, "depth": 1} | settings))
    return GaussianEnsemble(config, obs_dim, act_dim, key=jr.key(0))


def test_negative_log_likelihood_worked_by_hand():
    zero = jax.tree.map(lambda x: x * 0 if eqx.is_inexact_array(x) else x, ensemble(members=2).members)
    model = eqx.tree_at(lambda m: m.members, ensemble(members=2), zero)  # every mean is 0, every raw log-variance too
    x, y = jnp.ones((2, 2, 2)), jnp.array([[[1.0, 2.0], [99.0, 99.0]], [[3.0, 0.0], [99.0, 99.0]]])
    weight = jnp.array([[1.0, 0.0], [1.0, 0.0]])  # the second rows count nothing
    softplus = lambda v: np.log1p(np.exp(v))
    log_var = -10.0 + softplus((0.5 - softplus(0.5)) + 10.0)
    squares = (1 + 4 + 9 + 0) / 4
    expected = 0.5 * squares * np.exp(-log_var) + 0.5 * log_var + 0.01 * 10.5
    assert ensemble_loss(model, x, y, weight) == pytest.approx(expected, rel=1e-5)


def test_variance_stays_between_its_bounds():
    mean, log_var = ensemble()(jnp.array([1e4, -1e4]))
    assert ((log_var >= -10.0 - 1e-3) & (log_var <= 0.5 + 1e-3)).all()
    assert jnp.isfinite(mean).all()


def test_ensemble_learns_a_scale_that_depends_on_the_state():
    scale = lambda x: 0.3 * jnp.exp(0.6 * x[..., :1]) * jnp.array([1.0, 0.5])

    def loss(model, key):
        key_x, key_y = jr.split(key)
        x = jr.uniform(key_x, (3, 128, 2), minval=-1, maxval=1)
        y = x[..., 1:] + scale(x) * jr.normal(key_y, (3, 128, 2))
        return ensemble_loss(model, x, y, jnp.full((3, 128), 1 / 128))

    model = minimise(loss, ensemble(), 800)
    x = jr.uniform(jr.key(1), (200, 2), minval=-0.9, maxval=0.9)
    mean, log_var = jax.vmap(model)(x)
    ratio = jnp.exp(0.5 * log_var) / scale(x)[:, None]
    assert jnp.abs(jnp.log(ratio)).mean() < 0.1
    assert jnp.abs((mean - x[:, None, 1:]) / scale(x)[:, None]).mean() < 0.15


def test_forecasts_of_some_members_are_their_rows_of_all():
    rng = np.random.default_rng(0)
    scales = fit_scales(make_data(4), make_data(1).spec)
    model = ensemble(obs_dim=3)
    obs, action = jnp.asarray(rng.normal(size=(3, 5, 3))), jnp.asarray(rng.uniform(-1, 3, (3, 5, 1)))
    source = jnp.zeros((3, 5), int)
    every = gaussian_members(model, scales, 0.1).advance(obs, action, source, jr.key(0))
    some = gaussian_members(model, scales, 0.1, np.array([0, 1])).advance(obs[:2], action[:2], source[:2], jr.key(0))
    assert every.next_obs.shape == (3, 5, 3)
    assert some.next_obs.shape == (2, 5, 3)
    x = scales.inputs(obs[1, 2], action[1, 2])
    mean, log_var = model(x)
    drawn = scales.targets(obs[1, 2], every.reward[1, 2], every.next_obs[1, 2])
    noise = (drawn - mean[1]) * jnp.exp(-0.5 * log_var[1])
    np.testing.assert_allclose(noise, jr.normal(jr.key(0), (3, 5, 4))[1, 2], atol=1e-3)
    np.testing.assert_allclose(every.terminal_prob, 0.1)
