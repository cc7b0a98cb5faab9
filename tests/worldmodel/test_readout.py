"""The closed last layer: linear outputs become exact, what nobody can foretell leans on nothing, no other loses."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from linear_world import minimise

from dawm.worldmodel.onestep import StepConfig, StepNetwork, step_loss
from dawm.worldmodel.readout import settled, simplest
from dawm.worldmodel.squares import Sums

DELAY, JUMP, CURVE, REWARD = range(4)


@pytest.fixture(scope="module")
def task():
    """Three inputs; a sum of two of them, a rare jump that nobody can foretell, a curve, and a coin as the reward."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 3)).astype(np.float32)
    jump = np.where(rng.random(len(x)) < 0.01, 10 * rng.normal(size=len(x)), 0.0)
    coin = (rng.random(len(x)) < 0.05) * 4.0
    y = np.stack([x[:, 1] - 0.5 * x[:, 2], jump, np.sin(2 * x[:, 0]), coin], 1).astype(np.float32)

    def loss(network, key):
        rows = jr.randint(key, (256,), 0, len(x))
        return step_loss(network, jnp.asarray(x)[rows], jnp.asarray(y)[rows], jnp.full(256, 1 / 256))

    network = StepNetwork(StepConfig(width=64, depth=2), 3, 0, key=jr.key(0))
    return x, y, minimise(loss, network, 600)


def halves(n):
    judged = np.arange(n) % 4 == 0
    return ~judged, judged


def error(network, x, y):
    return np.sqrt(np.square(np.asarray(jax.vmap(network)(jnp.asarray(x))) - y).mean(0))


def test_each_output_gets_the_form_that_it_deserves(task):
    x, y, network = task
    closed = settled(network, x, y, *halves(len(x)), again=True)
    before, after = error(network, x, y), error(closed, x, y)
    assert before[DELAY] > 1e-3
    assert after[DELAY] < 1e-5
    slope = jax.vmap(jax.jacobian(closed))(jnp.asarray(x[:50]))
    assert (slope[:, JUMP] == 0).all()
    np.testing.assert_array_equal(jax.vmap(closed)(jnp.asarray(x[:50]))[:, JUMP], 0.0)
    assert np.asarray(jnp.abs(jax.vmap(jax.jacobian(network))(jnp.asarray(x[:50])))[:, JUMP]).max() > 0.01
    assert after[CURVE] < before[CURVE]


def test_a_reward_that_comes_now_and_then_keeps_its_expectation(task):
    """By the absolute error its median would win, which is 0: no planner would look for it."""
    x, y, network = task
    closed = settled(network, x, y, *halves(len(x)), again=True)
    assert np.asarray(jax.vmap(closed)(jnp.asarray(x)))[:, REWARD].mean() == pytest.approx(
        y[:, REWARD].mean(), abs=0.02
    )


def test_rows_that_judge_leave_only_their_judgement(task):
    x, y, network = task
    fitted, judged = halves(len(x))
    moved = y + 1e-4 * judged[:, None].astype(np.float32)
    one, other = (settled(network, x, values, fitted, judged, again=False) for values in (y, moved))
    assert eqx.tree_equal(one, other)


def test_without_rows_to_judge_by_the_network_stays(task):
    x, y, network = task
    fitted, judged = halves(len(x))
    assert settled(network, x, y, fitted, judged & False, again=True) is network
    assert settled(network, x, y, fitted & False, judged, again=True) is network


def test_without_a_linear_skip_there_is_none(task):
    x, y, _ = task
    network = StepNetwork(StepConfig(width=64, depth=2, linear_skip=False), 3, 0, key=jr.key(0))
    closed = settled(network, x, y, *halves(len(x)), again=True)
    assert closed.skip is None
    assert error(closed, x, y)[CURVE] < 0.65 < error(network, x, y)[CURVE]  # features that nobody trained


def test_sums_solve_least_squares_and_leave_out_what_has_an_infinite_ridge(rng):
    f, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 2))
    sums = Sums.over([(f[:20], y[:20]), (f[20:30], y[20:30])]) + Sums.over([(f[30:], y[30:])])
    np.testing.assert_allclose(sums.solve(np.zeros(4)), np.linalg.lstsq(f, y, rcond=None)[0], rtol=1e-9)
    weights = sums.solve(np.array([0.0, np.inf, 0.0, 0.1]))
    assert (weights[1] == 0).all()
    rest = f[:, [0, 2, 3]]
    penalised = rest.T @ rest + 50 * np.diag([0.0, 0.0, 0.1])
    np.testing.assert_allclose(weights[[0, 2, 3]], np.linalg.solve(penalised, rest.T @ y), rtol=1e-9)


def test_the_simplest_within_one_standard_error_worked_by_hand():
    better = np.array([[1.0, 1.0, 1.0, 1.0], [0.9, 1.3, 0.7, 1.0], [0.5, 0.5, 0.5, 0.5]])
    noisy = np.array([[1.0, 1.0, 1.0, 1.0], [0.4, 1.5, 0.4, 1.5], [0.4, 1.5, 0.4, 1.5]])  # better by .05, error .275
    equal = np.array([[0.2] * 4, [0.1] * 4, [0.1 - 5e-5] * 4])
    assert simplest(np.stack([better, noisy, equal], 2)).tolist() == [2, 0, 1]
