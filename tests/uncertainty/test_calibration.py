"""Measures of calibration on forecasts whose honesty is known: exact, too narrow, too wide, wrongly correlated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from dawm.uncertainty.calibration import (
    LEVELS,
    calibration_error,
    coverage,
    coverage_error,
    end_calibration,
    energy_score,
    error_against_spread,
    histogram,
    rank_histogram,
    spread_skill,
    variogram_score,
)
from dawm.uncertainty.quantiles import level_of, value_at

N, M = 4000, 199


def forecast(rng, factor, n=N, m=M):
    """Samples and observations of N(mean, 1) with a known mean, the samples' spread off by a factor."""
    mean = rng.normal(size=n) * 3
    return mean + factor * rng.normal(size=(m, n)), mean + rng.normal(size=n)


def test_the_error_of_a_coverage_counts_episodes_and_not_rows(rng):
    n = 3000
    levels, episode = rng.random(n), np.arange(n) // 3
    alone = coverage_error(levels, 0.9, episode)
    assert alone == pytest.approx(np.sqrt(0.09 / n), rel=0.1)  # independent rows: binomial
    alike = np.repeat(levels[:300], 10)  # ten rows that are one
    assert coverage_error(alike, 0.9, np.arange(n) // 10) == pytest.approx(np.sqrt(0.09 / 300), rel=0.25)
    wide = np.stack([alike, alike], 1)  # more dimensions that say the same
    assert coverage_error(wide, 0.9, np.arange(n) // 10) == coverage_error(alike, 0.9, np.arange(n) // 10)
    assert coverage_error(levels, 0.9, np.zeros(n, int)) is None


def test_an_exact_forecast_is_found_calibrated(rng):
    samples, observed = forecast(rng, 1.0)
    levels = level_of(samples, observed)
    for level in LEVELS:
        assert coverage(levels, level) == pytest.approx(level, abs=0.025)
    assert calibration_error(levels) < 0.015
    assert spread_skill(samples, observed) == pytest.approx(1, abs=0.03)
    np.testing.assert_allclose(histogram(levels), 0.1, atol=0.02)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_wrong_spread_is_found_with_the_coverage_on_paper(rng, factor):
    samples, observed = forecast(rng, factor)
    levels = level_of(samples, observed)
    for level in LEVELS:
        exact = 2 * norm.cdf(factor * norm.ppf(0.5 + level / 2)) - 1
        assert coverage(levels, level) == pytest.approx(exact, abs=0.02)
    assert spread_skill(samples, observed) == pytest.approx(factor, rel=0.04)
    assert calibration_error(levels) > 0.05
    ends = histogram(levels)[[0, -1]]
    assert (ends > 0.15).all() if factor < 1 else (ends < 0.06).all()


def test_levels_are_the_normal_distribution_function(rng):
    samples = rng.normal(size=(4000, 1))
    at = np.linspace(-2, 2, 9)
    np.testing.assert_allclose([level_of(samples, np.array([x]))[0] for x in at], norm.cdf(at), atol=0.03)


@settings(max_examples=60, deadline=None)
@given(
    m=st.integers(1, 9),
    seed=st.integers(0, 2**31),
    level=st.floats(1e-4, 1 - 1e-4),
    scale=st.sampled_from([0.0, 1e-6, 1.0, 1e4]),
)
def test_quantiles_and_levels_are_inverse(m, seed, level, scale):
    samples = np.random.default_rng(seed).normal(size=(m, 3)) * scale
    value = value_at(samples, np.full((1, 3), level), floor=1e-3)
    if scale > 0 or m == 1 or abs(level - 0.5) > 0.5 - 1 / (m + 1):  # equal samples have one quantile for many levels
        np.testing.assert_allclose(level_of(samples, value[0], floor=1e-3), level, atol=1e-6)
    higher = value_at(samples, np.full((1, 3), min(level * 1.1, 1 - 1e-5)), floor=1e-3)
    assert (higher >= value).all()


def test_energy_score_is_lowest_for_the_truth_and_worked_by_hand(rng):
    by_hand = energy_score(np.array([[[0.0, 0.0]], [[3.0, 4.0]]]), np.array([[0.0, 0.0]]))
    np.testing.assert_allclose(by_hand, 2.5 - 5.0 / 2)  # errors 0 and 5; one pair at distance 5, fair weight 1/2
    truth, narrow, shifted = (rng.normal(size=(32, N, 2)) * s + o for s, o in ((1, 0), (0.4, 0), (1, 0.7)))
    observed = rng.normal(size=(N, 2))
    best = energy_score(truth, observed).mean()
    assert best < energy_score(narrow, observed).mean() - 0.01
    assert best < energy_score(shifted, observed).mean() - 0.05


def test_energy_score_does_not_depend_on_the_number_of_samples(rng):
    observed = rng.normal(size=(20_000, 2))
    few, many = (energy_score(rng.normal(size=(m, 20_000, 2)), observed).mean() for m in (2, 16))
    assert few == pytest.approx(many, abs=0.02)


def test_variogram_score_sees_a_wrong_correlation(rng):
    root = np.linalg.cholesky(np.array([[1, 0.9], [0.9, 1]]))
    observed = rng.normal(size=(N, 2)) @ root.T
    joint, independent = rng.normal(size=(M, N, 2)) @ root.T, rng.normal(size=(M, N, 2))
    assert variogram_score(joint, observed).mean() < 0.8 * variogram_score(independent, observed).mean()
    assert rank_histogram(joint, observed, rng).max() < 0.13
    assert rank_histogram(independent, observed, rng)[[0, -1]].min() > 0.12


def test_spread_that_knows_the_errors_and_spread_that_does_not(rng):
    scale = rng.uniform(0.1, 2, N)
    error = np.abs(rng.normal(size=N)) * scale
    knows, blind = error_against_spread(scale, error), error_against_spread(rng.permutation(scale), error)
    assert knows["rank_correlation"] > 0.4 > 0.05 > abs(blind["rank_correlation"])
    assert knows["ause"] < 0.6 * blind["ause"]
    assert knows["most_over_least"] > 5 > 1.5 > blind["most_over_least"]
    assert error_against_spread(error, error)["ause"] == pytest.approx(0)


def test_end_probabilities(rng):
    probability = rng.uniform(0, 0.3, 20_000)
    ended = rng.random(20_000) < probability
    found = end_calibration(probability, ended)
    assert found["brier"] == pytest.approx((probability * (1 - probability)).mean(), abs=0.005)
    assert found["skill"] > 0.02
    assert all(abs(row["forecast"] - row["observed"]) < 0.03 for row in found["reliability"])
    assert sum(row["count"] for row in found["reliability"]) == 20_000
    wrong = end_calibration(1 - probability, ended)
    assert wrong["skill"] < 0
    assert end_calibration(np.zeros(10), np.zeros(10, bool))["skill"] is None
