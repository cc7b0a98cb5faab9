"""Every parameterisation says the same thing: right targets give right data, and the weight makes the loss plain."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gaussian_data import denoise, perfect_body, target
from hypothesis import given, settings
from hypothesis import strategies as st

from dawm.diffusion.parameterisation import PARAMETERISATIONS
from dawm.diffusion.process import ProcessConfig, make_process

quick = settings(deadline=None, max_examples=25)
rows = pytest.mark.parametrize("kind", PARAMETERISATIONS)
levels = st.floats(0.02, 100).map(lambda s: jnp.asarray(s, jnp.float64))


@pytest.fixture(autouse=True, scope="module")
def double():
    with jax.enable_x64(True):
        yield


@rows
@quick
@given(sigma=levels)
def test_a_perfect_network_gives_the_exact_posterior_mean(kind, sigma):
    x = 1.0 + jnp.hypot(sigma, 0.5) * jr.normal(jr.key(0), (16,))
    wrapped = make_process(ProcessConfig(parameterisation=kind)).wrap(perfect_body(kind))
    np.testing.assert_allclose(wrapped(x, sigma), denoise(x, sigma), atol=1e-9)


@rows
@quick
@given(sigma=levels, sigma_data=st.floats(0.1, 5))
def test_the_true_target_gives_the_clean_data(kind, sigma, sigma_data):
    """... for data of any standard deviation: targets are in units of sigma_data."""
    x0, n = sigma_data * jr.normal(jr.key(1), (8,)), jr.normal(jr.key(2), (8,))
    process = make_process(ProcessConfig(parameterisation=kind, sigma_data=sigma_data))
    answer = target(kind, x0 / sigma_data, n, sigma / sigma_data)
    estimate = process.wrap(lambda *_: answer)(x0 + sigma * n, sigma)
    np.testing.assert_allclose(estimate, x0, atol=1e-9 * (1 + sigma))


@rows
@quick
@given(sigma=levels)
def test_the_weighted_loss_is_the_plain_squared_error_of_the_prediction(kind, sigma):
    x0, n, prediction = jr.normal(jr.key(0), (3, 8))
    process = make_process(ProcessConfig(parameterisation=kind))
    estimate = process.wrap(lambda *_: prediction)(x0 + sigma * n, sigma)
    plain = (prediction - target(kind, x0, n, sigma)) ** 2
    np.testing.assert_allclose(process.weight(sigma) * (estimate - x0) ** 2, plain, rtol=1e-6, atol=1e-9)


@rows
@quick
@given(sigma=levels)
def test_the_network_sees_the_coordinates_of_the_paper(kind, sigma):
    x0, n = jr.normal(jr.key(0), (2, 8))
    c = make_process(ProcessConfig(parameterisation=kind)).coefficients(sigma)
    if kind == "flow":
        t = sigma / (1 + sigma)
        expected, noise = (1 - t) * x0 + t * n, t
    else:
        alpha_bar = 1 / (1 + sigma**2)
        expected, noise = jnp.sqrt(alpha_bar) * x0 + jnp.sqrt(1 - alpha_bar) * n, jnp.log(sigma) / 4
    np.testing.assert_allclose(c.scale_in * (x0 + sigma * n), expected, atol=1e-9)
    assert c.noise == pytest.approx(float(noise))


@quick
@given(sigma=levels, sigma_data=st.floats(0.1, 5))
def test_edm_inputs_and_targets_have_unit_variance(sigma, sigma_data):
    c = PARAMETERISATIONS["edm"](sigma, sigma_data)
    assert c.scale_in**2 * (sigma**2 + sigma_data**2) == pytest.approx(1)
    variance = ((1 - c.skip) ** 2 * sigma_data**2 + c.skip**2 * sigma**2) / c.out**2  # of (x0 - skip * x) / out
    assert variance == pytest.approx(1)
