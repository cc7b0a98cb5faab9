"""Features of scalars, checked by hand."""

import jax.numpy as jnp
import numpy as np

from dawm.nets.embed import fourier, scalar_condition, sinusoidal


def test_fourier_by_hand():
    features = fourier(jnp.asarray(0.125), 4, low=1.0, high=4.0)  # angles pi/4 and pi
    np.testing.assert_allclose(features, [np.sqrt(0.5), -1.0, np.sqrt(0.5), 0.0], atol=1e-6)


def test_fourier_tells_noise_levels_apart_over_their_whole_range():
    noise = jnp.log(jnp.geomspace(0.002, 200.0, 60)) / 4
    features = jnp.stack([fourier(n, 32) for n in noise])
    distance = jnp.linalg.norm(features[:, None] - features[None], axis=-1) + 10 * jnp.eye(60)
    assert distance.min() > 0.5


def test_sinusoidal_is_that_of_diffuser():
    """`SinusoidalPosEmb(8)(3.)`: sines, then cosines, of 3 * 10000^(-i/3)."""
    angles = 3.0 * np.exp(-np.log(10000) / 3 * np.arange(4))
    expected = np.concatenate([np.sin(angles), np.cos(angles)])
    np.testing.assert_allclose(sinusoidal(jnp.asarray(3.0), 8), expected, atol=1e-6)
    assert sinusoidal(jnp.arange(5.0), 8).shape == (5, 8)


def test_an_absent_scalar_is_unlike_any_present_one():
    assert (scalar_condition(jnp.asarray(0.7), present=jnp.asarray(0.0)) == 0).all()
    present = scalar_condition(jnp.asarray(0.0), present=jnp.asarray(1.0))
    assert present[-1] == 1
    np.testing.assert_array_equal(present, scalar_condition(jnp.asarray(0.0)))
    assert scalar_condition(jnp.asarray(0.7))[0] == np.float32(0.7)
