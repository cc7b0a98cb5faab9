"""CRPS against its defining double sum and against its closed form for a Gaussian."""

from __future__ import annotations

import math

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from dawm.uncertainty.scores import fair_crps, split_spread, spread


@pytest.mark.parametrize("m", [2, 3, 7])
def test_crps_is_the_double_sum_over_pairs(m, rng):
    x, y = rng.normal(size=(m, 4, 3)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)
    pairs = sum(abs(x[i] - x[j]) for i in range(m) for j in range(m))
    expected = abs(x - y).mean(0) - pairs / (2 * m * (m - 1))
    np.testing.assert_allclose(fair_crps(jnp.asarray(x), jnp.asarray(y)), expected, atol=1e-6)


def test_crps_worked_by_hand():
    # |1-2|, |4-2| have mean 1.5; the one pair is 3 apart and counts half
    assert fair_crps(jnp.array([4.0, 1.0]), jnp.asarray(2.0)) == 0.0
    assert fair_crps(jnp.array([1.0, 1.0, 1.0]), jnp.asarray(3.0)) == 2.0


def test_crps_of_one_sample_is_the_absolute_error():
    np.testing.assert_array_equal(fair_crps(jnp.array([[1.0, -2.0]]), jnp.array([3.0, -1.0])), [2.0, 1.0])


@pytest.mark.parametrize("m", [2, 5, 20])
def test_crps_is_unbiased_in_the_number_of_samples(m):
    mean, std, y, repeats = 0.5, 2.0, 1.7, 20_000
    z = (y - mean) / std
    cdf, pdf = 0.5 * (1 + math.erf(z / math.sqrt(2))), math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    exact = std * (z * (2 * cdf - 1) + 2 * pdf - 1 / math.sqrt(math.pi))  # Gneiting and Raftery 2007, eq. 21
    scores = np.asarray(fair_crps(mean + std * jr.normal(jr.key(m), (m, repeats)), jnp.full(repeats, y)))
    assert abs(scores.mean() - exact) < 5 * scores.std() / np.sqrt(repeats)


def test_spread_divides_by_one_less_than_the_samples():
    np.testing.assert_allclose(spread(jnp.array([[1.0], [3.0]])), [np.sqrt(2.0)], rtol=1e-6)
    assert spread(jnp.array([[5.0]])) == 0.0


def test_spread_within_members_and_between_them(rng):
    members, k, chance, doubt = 400, 50, 0.7, 0.3
    x = doubt * rng.normal(size=(members, 1, 3)) + chance * rng.normal(size=(members, k, 3))
    aleatoric, epistemic = split_spread(jnp.asarray(x))
    np.testing.assert_allclose(aleatoric, chance, rtol=0.05)
    np.testing.assert_allclose(epistemic, doubt, rtol=0.15)
    agreed = split_spread(jnp.asarray(chance * rng.normal(size=(members, k, 3))))[1]
    assert (agreed < 0.05).all()  # members that agree, whatever their samples
    assert split_spread(jnp.zeros((1, 4, 2)))[1].tolist() == [0.0, 0.0]
