"""The trajectory model on a task whose law is known, and the meaning of its settings."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from linear_world import DISCOUNT, HORIZON, E, K, first_step_given_return, rows_of

from dawm.data.windows import make_windows
from dawm.diffusion.guidance import classifier_free
from dawm.types import Start

P, ACTION, FUEL = np.array([0.5, -0.3]), 1.3, 2.0  # a start from which no end is near
MEAN_TOLERANCE = 0.15  # of the exact conditional standard deviation


def starts(count, return_to_go, fuel=FUEL):
    obs = np.tile(np.append(P, fuel), (count, 1)).astype(np.float32)
    return Start(
        obs, np.full((count, 1), ACTION, np.float32), np.full(count, return_to_go, np.float32), np.zeros(count, int)
    )


def start(return_to_go=2.0):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), starts(1, return_to_go))


def changed(model, **settings):
    return dataclasses.replace(model, config=dataclasses.replace(model.config, **settings))


@pytest.fixture(scope="module")
def segment(data, trained):
    windows = make_windows(data, HORIZON, discount=DISCOUNT, returns="window")
    return windows.segment(0), trained.model.coordinates.annotate(windows)[windows.rows(0)]


@pytest.mark.parametrize("deviations", [-1.0, 0.0, 1.0])
def test_first_step_has_the_exact_law_given_the_return(trained, deviations):
    n = 1024
    mean, cov, asked = first_step_given_return(P, ACTION, deviations)
    futures = trained.generate(starts(n, asked), jr.key(3))
    x = np.concatenate([futures.obs[:, 1, :2], futures.reward[:, :1]], 1)
    std = np.sqrt(np.diag(cov))
    bias = (x.mean(0) - mean) / std
    assert (abs(bias) < MEAN_TOLERANCE + 4 / np.sqrt(n)).all(), bias  # of the tiny network, and of sampling
    assert (abs(np.log(x.std(0) / std)) < 0.12 + 4 / np.sqrt(2 * n)).all(), x.std(0) / std
    assert np.corrcoef(x.T)[0, 1] == pytest.approx(cov[0, 1] / std[0] / std[1], abs=0.12)
    np.testing.assert_allclose(futures.obs[:, 1, 2], FUEL - 0.1, atol=0.05)  # the clock is no random variable


def test_generated_actions_answer_to_generated_states(data, trained):
    """a = 1 + K p + E n at every step of a future, as in the log."""
    windows = make_windows(data, HORIZON, discount=DISCOUNT, returns="window")
    whole = (np.asarray(windows.remaining) >= HORIZON) & (data.obs[:, 2] > 0.1 * (HORIZON + 1))
    futures = trained.generate(jax.tree.map(np.asarray, jax.vmap(windows.start)(np.flatnonzero(whole))), jr.key(5))
    p, action = futures.obs[:, 1:HORIZON, :2].reshape(-1, 2), futures.action[:, 1:, 0].ravel() - 1
    slope, (error,), *_ = np.linalg.lstsq(p, action)
    np.testing.assert_allclose(slope, K, atol=0.06)  # standard error below 0.01; the rest is of the tiny networks
    assert np.sqrt(error / len(p)) == pytest.approx(E, rel=0.12)


def test_asking_for_more_gives_more(trained):
    n = 512
    lower, higher = (first_step_given_return(P, ACTION, k)[2] for k in (-1.0, 1.0))
    got = [trained.generate(starts(n, g), jr.key(0)).reward @ DISCOUNT ** np.arange(HORIZON) for g in (lower, higher)]
    difference = np.mean(got[1]) - np.mean(got[0])
    assert difference == pytest.approx(higher - lower, rel=0.35)  # a model this small answers three quarters of it


def test_guidance_of_one_is_the_conditional_model(trained):
    model, key = trained.model, jr.key(0)
    conditional, without = model._denoise(start(), jnp.asarray(True)), model._denoise(start(), jnp.asarray(False))
    x = jr.normal(key, (HORIZON, model.coordinates.channels))
    np.testing.assert_allclose(
        classifier_free(conditional, without, 1.0)(x, jnp.asarray(0.7)), conditional(x, jnp.asarray(0.7)), atol=1e-5
    )
    almost = changed(model, guidance=1.0 + 1e-6).sample(start(), key)  # takes the way through both models
    np.testing.assert_allclose(almost, model.sample(start(), key), atol=1e-3)


def test_guidance_of_zero_ignores_the_return(trained):
    model, key = changed(trained.model, guidance=0.0), jr.key(0)
    sample = eqx.filter_jit(lambda model, g: model.sample(start()._replace(return_to_go=g), key))
    np.testing.assert_allclose(sample(model, jnp.asarray(-5.0)), sample(model, jnp.asarray(5.0)), atol=1e-5)
    plain = [sample(trained.model, jnp.asarray(g)) for g in (-5.0, 5.0)]
    assert jnp.abs(plain[0] - plain[1]).max() > 0.1


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_share_of_windows_without_a_return(trained, segment, dropout):
    n = 600
    model = changed(trained.model, label_dropout=dropout)
    window, notes = segment

    @eqx.filter_jit
    def slopes(model, keys):
        loss = lambda g, key: model.loss(window._replace(return_to_go=g), notes, key)[0]
        return jax.vmap(jax.grad(loss), (None, 0))(jnp.asarray(0.3), keys)

    dropped = float((slopes(model, jr.split(jr.key(1), n)) == 0).mean())
    assert abs(dropped - dropout) <= 4 * np.sqrt(dropout * (1 - dropout) / n)


def test_loss_counts_only_what_counts(trained, segment):
    """Numbers where the recording was cut change neither the loss nor its gradient."""
    window, notes = segment
    window = window._replace(valid=jnp.array([True, True, False, False]), terminal=jnp.zeros(HORIZON, bool))
    total, counted = trained.model.loss(window, notes, jr.key(0))
    other, _ = trained.model.loss(window._replace(obs=window.obs.at[3:].set(9.0)), notes.at[2:].set(7.0), jr.key(0))
    assert counted == 2 * trained.model.coordinates.channels - 1  # the first action is given
    assert float(total) == float(other)


def replaced(trained, model):
    return dataclasses.replace(trained, model=model)


def coin(trained, p):
    """The model in which every step ends with probability p."""
    last = lambda m: m.ends.body.layers[-1]
    weight, bias = jnp.zeros_like(last(trained.model).weight), jnp.array([np.log(p / (1 - p))], jnp.float32)
    return replaced(trained, eqx.tree_at(lambda m: (last(m).weight, last(m).bias), trained.model, (weight, bias)))


def test_a_future_stops_at_its_first_end(trained):
    p, n = 0.3, 1024
    futures = coin(trained, p).generate(starts(n, 2.0), jr.key(5))
    lengths = futures.valid.sum(1)
    for steps in range(1, HORIZON + 1):
        of_length = lengths == steps
        expected = (1 - p) ** (steps - 1) * (p if steps < HORIZON else 1.0)
        assert abs(of_length.mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / n)
        assert futures.valid[of_length, :steps].all()
        assert not futures.terminal[of_length, : steps - 1].any()
        assert futures.terminal[of_length, steps - 1].all() or steps == HORIZON
        assert not futures.terminal[of_length, steps:].any()
    full = futures.terminal[lengths == HORIZON, -1]
    assert abs(full.mean() - p) < 4 * np.sqrt(p * (1 - p) / len(full))


def test_after_its_end_a_future_stays_put_and_earns_nothing(trained):
    """Generated futures keep the promise that recorded windows keep."""
    futures = coin(trained, 0.3).generate(starts(256, 2.0), jr.key(5))
    free = trained.generate(starts(256, 2.0), jr.key(5))
    over = ~futures.valid
    assert over.any()
    assert (futures.reward[over] == 0).all()
    assert (futures.action[over] == 0).all()
    np.testing.assert_array_equal(futures.obs[:, 1:][over], futures.obs[:, :-1][over])
    np.testing.assert_array_equal(futures.obs[:, 1:][~over], free.obs[:, 1:][~over])  # and before it nothing changes


def test_no_end_is_generated_where_none_was_recorded(trained):
    certain = coin(trained, 1 - 1e-6).model
    model = replaced(trained, eqx.tree_at(lambda m: m.ends.possible, certain, jnp.zeros(())))
    futures = model.generate(starts(64, 2.0, fuel=0.0), jr.key(0))
    assert futures.valid.all()
    assert not futures.terminal.any()


def test_ends_come_when_the_clock_runs_out(trained):
    futures = trained.generate(starts(256, 1.0, fuel=0.25), jr.key(0))  # 0.15, 0.05, -0.05: ends after step 3
    assert futures.terminal.any(1).mean() > 0.6
    assert abs(futures.valid.sum(1).mean() - 3) < 0.8  # the tiny classifier blurs the threshold by about a step
    assert trained.generate(starts(256, 2.0), jr.key(0)).terminal.mean() < 0.01


def test_prediction_is_the_first_step_of_a_future(trained):
    model, key = trained.model, jr.key(11)
    first = start(float(model.returns.mean[0]))._replace(source=jnp.asarray(-1))
    future = eqx.filter_jit(model.generate)(first, key)
    predicted = eqx.filter_jit(model._first_step)(first, jr.split(key)[0])
    np.testing.assert_allclose(predicted.next_obs, future.obs[1], atol=1e-5)
    assert abs(predicted.reward - future.reward[0]) < 1e-5
    p = model.end_probability(first.obs, first.action, future.obs[1])
    assert predicted.terminal_prob == pytest.approx(float(p), abs=1e-5)


def test_first_action_start_and_return_pass_through(trained):
    asked = starts(3, 1.5)
    futures = trained.generate(asked, jr.key(0))
    np.testing.assert_array_equal(futures.action[:, 0], asked.action)
    np.testing.assert_array_equal(futures.obs[:, 0], asked.obs)
    np.testing.assert_array_equal(futures.return_to_go, asked.return_to_go)


def test_settings_that_cannot_be_are_refused(trained):
    for settings, text in (
        ({"horizon": 1}, "horizon"),
        ({"label_dropout": 1.0}, "label_dropout"),
        ({"discount": 0.0}, "discount"),
    ):
        with pytest.raises(ValueError, match=text):
            dataclasses.replace(trained.model.config, **settings)


def test_windows_of_the_model_are_those_it_was_trained_on(data, segment):
    windows = make_windows(data, HORIZON, discount=DISCOUNT, returns="window")
    window = rows_of(windows, [0])
    expected = (data.reward[:HORIZON] * DISCOUNT ** np.arange(HORIZON)).sum()
    assert window.return_to_go[0] == pytest.approx(expected, rel=1e-5)
