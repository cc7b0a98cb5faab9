"""Noise laws have their stated distributions; the loss counts what it should."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from dawm.diffusion.levels import cosine_training_levels
from dawm.diffusion.objective import NOISE_LAWS, denoising_error, denoising_loss, masked_mean
from dawm.diffusion.process import ProcessConfig, make_process

KEYS = jr.split(jr.key(0), 4000)


def draws(**settings):
    return np.asarray(jax.vmap(make_process(ProcessConfig(**settings)).draw_sigma)(KEYS), np.float64)


@pytest.mark.parametrize("kind", NOISE_LAWS)
def test_every_law_draws_positive_levels(kind):
    sigma = draws(noise_law=kind)
    assert (sigma > 0).all()
    assert np.isfinite(sigma).all()


@pytest.mark.parametrize("kind", ["lognormal", "logit_normal"])
def test_log_sigma_is_normal_which_is_also_the_logit_of_flow_time(kind):
    sigma = draws(noise_law=kind, noise_mean=-0.4, noise_std=0.9)
    t = sigma / (1 + sigma)
    assert stats.kstest(np.log(t / (1 - t)), "norm", args=(-0.4, 0.9)).pvalue > 1e-3


def test_uniform_time_is_uniform_between_the_ends():
    sigma = draws(noise_law="uniform_time", sigma_min=0.25, sigma_max=4.0)  # t between 0.2 and 0.8
    assert stats.kstest(sigma / (1 + sigma), "uniform", args=(0.2, 0.6)).pvalue > 1e-3


def test_grid_draws_all_k_training_levels_equally_although_the_sampler_strides():
    sigma = draws(noise_law="grid", levels="cosine", train_levels=5, steps=3)
    levels, counts = np.unique(sigma, return_counts=True)
    np.testing.assert_allclose(levels, cosine_training_levels(5), rtol=1e-6)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_grid_elsewhere_draws_the_levels_of_the_sampler():
    config = ProcessConfig(noise_law="grid", levels="karras", steps=4)
    np.testing.assert_allclose(config.grid, make_process(config).sigmas[:-1])


def test_the_loss_by_hand():
    x0, noise, sigma = jnp.asarray([1.0, -2.0]), jnp.asarray([0.5, 1.0]), jnp.asarray(2.0)
    # x = (2, 0); the estimate x / 2 = (1, 0) misses by (0, 2); weight 3: errors (0, 12)
    arguments = (lambda x, s: x / s, x0, sigma, noise, jnp.asarray(3.0))
    np.testing.assert_allclose(denoising_error(*arguments), [0.0, 12.0])
    assert denoising_loss(*arguments) == pytest.approx(6.0)
    assert denoising_loss(*arguments, jnp.asarray([True, False])) == pytest.approx(0.0)
    assert denoising_loss(*arguments, jnp.asarray([False, True])) == pytest.approx(12.0)


def test_a_mask_broadcasts_weighs_and_may_be_empty():
    error = jnp.arange(6.0).reshape(3, 2)
    assert masked_mean(error) == pytest.approx(2.5)
    assert masked_mean(error, jnp.asarray([[1], [0], [1]])) == pytest.approx((0 + 1 + 4 + 5) / 4)
    assert masked_mean(error, jnp.asarray([1.0, 3.0])) == pytest.approx((0 + 2 + 4 + 3 * (1 + 3 + 5)) / 12)
    assert masked_mean(error, jnp.zeros((3, 1))) == 0


def test_entries_that_do_not_count_get_no_gradient():
    process, mask = make_process(ProcessConfig()), jnp.asarray([[True], [False]])

    def loss(gain, mask):
        return process.loss(lambda x, sigma: gain * x, jr.normal(jr.key(0), (2, 3)), jr.key(1), mask=mask)

    gradient = jax.grad(loss)(jnp.ones((2, 3)), mask)
    assert (gradient[1] == 0).all()
    assert (gradient[0] != 0).all()
