"""Guidance, clipping and inpainting as identities."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawm.diffusion.guidance import classifier_free, clipped, fixed
from dawm.diffusion.parameterisation import PARAMETERISATIONS
from dawm.diffusion.process import ProcessConfig, make_process
from dawm.diffusion.steps import STEPS

X, SIGMA = jr.normal(jr.key(0), (4, 3)), jnp.asarray(1.7)


def first(x, sigma):
    return jnp.sin(x) / sigma


def second(x, sigma):
    return jnp.cos(x) * sigma


def never(x, sigma):
    raise AssertionError("must not be evaluated")


def test_weight_one_is_the_conditional_model_alone():
    np.testing.assert_array_equal(classifier_free(first, never, 1.0)(X, SIGMA), first(X, SIGMA))


@settings(deadline=None, max_examples=30)
@given(weight=st.floats(-2, 4))
def test_guidance_is_affine(weight):
    expected = weight * first(X, SIGMA) + (1 - weight) * second(X, SIGMA)
    np.testing.assert_allclose(classifier_free(first, second, weight)(X, SIGMA), expected, rtol=1e-6)
    np.testing.assert_allclose(classifier_free(first, first, weight)(X, SIGMA), first(X, SIGMA), rtol=1e-4)


@pytest.mark.parametrize("kind", PARAMETERISATIONS)
def test_mixing_estimates_is_mixing_predictions(kind):
    """w * eps_cond + (1 - w) * eps_null of the papers, and the same for every other target."""
    process, w = make_process(ProcessConfig(parameterisation=kind)), 1.4
    body = lambda x, noise, conditions: jnp.tanh(x + noise) * (1 + conditions[0])
    mixed = lambda x, noise, _: w * body(x, noise, (0.5,)) + (1 - w) * body(x, noise, (-0.3,))
    model = process.wrap(body)
    guided = classifier_free(lambda x, s: model(x, s, jnp.asarray(0.5)), lambda x, s: model(x, s, jnp.asarray(-0.3)), w)
    np.testing.assert_allclose(guided(X, SIGMA), process.wrap(mixed)(X, SIGMA), rtol=1e-5, atol=1e-6)


def test_clipping_bounds_the_estimate_and_nothing_else():
    np.testing.assert_array_equal(clipped(second, -0.4, 0.4)(X, SIGMA), jnp.clip(second(X, SIGMA), -0.4, 0.4))


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("parameterisation", PARAMETERISATIONS)
def test_known_entries_stay_and_the_network_sees_them_clean(parameterisation, kind):
    churn = {"churn": 0.2} if kind == "churned_heun" else {}
    process = make_process(ProcessConfig(parameterisation=parameterisation, step=kind, steps=3, clip=1.0, **churn))
    known, value = jnp.zeros((4, 3), bool).at[0, :2].set(True), jnp.full((4, 3), 1.25)  # beyond the clip, on purpose

    def body(x, noise, conditions):
        clean = (jnp.abs(x - value)[0, :2] < 1e-5).all()
        return jnp.where(clean, jnp.tanh(x), jnp.nan)

    end = process.sample(process.wrap(body), (4, 3), jr.key(1), known=known, value=value)
    np.testing.assert_array_equal(end[0, :2], 1.25)  # exactly, and not clipped
    assert (jnp.abs(end) <= 1.0).sum() == 10  # nor NaN: the network saw the known values at every level


def test_fixed_without_a_scale_puts_the_value_into_x():
    mask, value = jnp.asarray([[True], [False], [False], [False]]), jnp.ones((4, 3))
    estimate = fixed(first, mask, value)(X, SIGMA)
    np.testing.assert_array_equal(estimate[0], 1.0)
    np.testing.assert_allclose(estimate[1:], first(X, SIGMA)[1:], rtol=1e-6)


def test_values_of_unknown_entries_are_never_read():
    process, known = make_process(ProcessConfig(steps=2)), jnp.asarray([[True], [False], [False], [False]])
    value = jnp.where(known, 0.5, jnp.nan) * jnp.ones((4, 3))
    assert jnp.isfinite(process.sample(first, (4, 3), jr.key(0), known=known, value=value)).all()


def test_known_entries_carry_no_loss_and_no_noise():
    """With a denoiser that reads only the known row, the loss of the others does not depend on the noise there."""
    process, known = make_process(ProcessConfig(parameterisation="x0")), jnp.asarray([[True], [False]])
    x0 = jnp.asarray([[2.0, -1.0], [2.0, -1.0]])
    copy_first_row = process.wrap(lambda x, noise, conditions: jnp.broadcast_to(x[0], x.shape))
    for seed in range(3):
        assert process.loss(copy_first_row, x0, jr.key(seed), known=known) == pytest.approx(0.0, abs=1e-9)
    wrong_first_row = lambda x, sigma: x0.at[0].set(100.0)
    assert process.loss(wrong_first_row, x0, jr.key(0), known=known) == pytest.approx(0.0, abs=1e-9)
