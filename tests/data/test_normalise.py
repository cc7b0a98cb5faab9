"""Normalisers: exact inverses on the data, the stated range or distribution, and calm on constant dimensions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import ks_2samp, kstest, norm

from dawm.data.normalise import NORMALISERS, EmpiricalCDF, Limits, NormalScores, Standard

values = st.floats(-1e3, 1e3, width=32, allow_subnormal=False)
tables = hnp.arrays(np.float32, (24, 3), elements=values)  # one shape: each would be compiled again


@pytest.mark.parametrize("kind", NORMALISERS)
@settings(max_examples=40, deadline=None)
@given(x=tables)
def test_inverting_gives_the_data_back(kind, x):
    normaliser = NORMALISERS[kind].fit(x)
    z = np.asarray(normaliser.apply(x))
    assert np.isfinite(z).all()
    scale = np.maximum(np.abs(x).max(0), 1.0)
    error = np.abs(np.asarray(normaliser.invert(z)) - x) / scale
    # the CDF goes through a level in [-1, 1] whose rounding is worth up to 1e-7 knots' gaps of the whole range; normal
    # scores move equal quantiles apart by 2e-7 for each of 513 knots
    assert error.max() < (2e-4 if kind in ("cdf", "normal") else 2e-6)


def test_standard_has_zero_mean_and_unit_variance(rng):
    x = (rng.normal(size=(5000, 3)) * [1e-3, 1.0, 50.0] + [100.0, 0.0, -7.0]).astype(np.float32)
    z = np.asarray(Standard.fit(x).apply(x))
    # 100 + 1e-3 n is recorded with a resolution of 7.6e-6, under a hundredth of its spread
    np.testing.assert_allclose(z.mean(0), 0.0, atol=5e-3)
    np.testing.assert_allclose(z.std(0), 1.0, rtol=5e-3)


def test_limits_maps_the_range_of_the_data_to_minus_one_and_one(rng):
    x = rng.exponential(size=(100, 2)).astype(np.float32)
    z = np.asarray(Limits.fit(x).apply(x))
    np.testing.assert_allclose(z.min(0), -1.0, atol=1e-6)
    np.testing.assert_allclose(z.max(0), 1.0, atol=1e-6)


def test_the_cdf_makes_marginals_uniform_and_stays_inside_the_data(rng):
    n = 20_000
    x = np.stack([rng.normal(size=n), rng.exponential(size=n) ** 2, rng.choice([-1.0, 1.0], n) + rng.normal(size=n)], 1)
    x = x.astype(np.float32)
    normaliser = EmpiricalCDF.fit(x)
    fresh = np.asarray(normaliser.apply(rng.permuted(x, axis=0)))
    grid = np.linspace(-1, 1, n)
    assert np.abs(np.sort(fresh, 0) - grid[:, None]).max() < 2 / 1023  # one gap between knots
    out = np.asarray(normaliser.invert(np.array([[-5.0, -5.0, -5.0], [5.0, 5.0, 5.0]], np.float32)))
    np.testing.assert_allclose(out[0], x.min(0), atol=1e-5)
    np.testing.assert_allclose(out[1], x.max(0), rtol=1e-5)


def test_the_cdf_of_known_quantiles():
    x = np.arange(0.0, 1024.0, dtype=np.float32)[:, None] ** 2
    z = np.asarray(EmpiricalCDF.fit(x).apply(np.float32([[0.0], [511.5**2], [1023.0**2]])))
    np.testing.assert_allclose(z[:, 0], [-1.0, 0.0, 1.0], atol=2e-3)


def test_normal_scores_make_every_marginal_a_standard_normal(rng):
    n = 50_000
    x = np.stack([rng.normal(size=n) * 3 + 1, rng.standard_t(2, n), np.tanh(2 * rng.normal(size=n))], 1)
    x = x.astype(np.float32)
    normaliser = NormalScores.fit(x)
    z = np.asarray(normaliser.apply(x))
    for column in z.T:
        assert kstest(column, "norm").statistic < 5e-3  # the samples that it was fitted on: 2.5e-3 by linear pieces
    drawn = np.asarray(normaliser.invert(rng.normal(size=(n, 3)).astype(np.float32)))
    for ours, theirs in zip(drawn.T, x.T, strict=True):
        assert ks_2samp(ours, theirs).statistic < 1.63 * np.sqrt(2 / n)  # its 1 % point
    np.testing.assert_array_equal(np.clip(drawn, x.min(0), x.max(0)), drawn)


def test_equal_values_share_a_normal_score_and_keep_their_number(rng):
    x = np.clip(rng.normal(size=(50_000, 1)), -1.0, 1.0).astype(np.float32)  # 16 % lie at either bound
    normaliser = NormalScores.fit(x)
    z = np.asarray(normaliser.apply(x))
    middle = norm.ppf(1 - (x == 1).mean() / 2)  # of the ranks of the largest
    np.testing.assert_allclose(z[x == 1], middle, atol=0.02)
    np.testing.assert_array_equal(np.asarray(normaliser.invert(z))[x == 1], 1.0)
    drawn = np.asarray(normaliser.invert(rng.normal(size=x.shape).astype(np.float32)))
    assert abs((drawn == 1).mean() - (x == 1).mean()) < 0.01


@pytest.mark.parametrize("kind", NORMALISERS)
def test_a_constant_dimension_stays_constant(kind, rng):
    x = np.stack([np.full(200, 5.25), rng.normal(size=200)], 1).astype(np.float32)
    normaliser = NORMALISERS[kind].fit(x)
    z = np.asarray(normaliser.apply(x))
    assert np.isfinite(z).all()
    assert np.abs(z).max() < 10
    back = np.asarray(normaliser.invert(rng.uniform(-1, 1, (50, 2)).astype(np.float32)))[:, 0]
    affine = kind in ("standard", "limits")  # one raw unit for one normalised unit
    assert np.ptp(back) <= (2.0 if affine else 2e-6)
    np.testing.assert_allclose(np.asarray(normaliser.invert(z))[:, 0], 5.25, rtol=1e-6)
