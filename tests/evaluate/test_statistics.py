"""Aggregates against values worked by hand, SciPy, rliable's published definitions, and a known coverage."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, trim_mean

from dawm.evaluate.statistics import (
    Scores,
    bootstrap,
    cvar,
    improvement_interval,
    iqm,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    profile_band,
    stratified_bootstrap,
)


def test_iqm_by_hand():
    assert iqm(np.array([1.0, 2.0, 3.0, 100.0])) == 2.5
    assert iqm(np.array([[8.0, 1.0], [3.0, 2.0], [-50.0, 4.0], [5.0, 99.0]])) == 3.5  # of 2, 3, 4, 5
    assert iqm(np.array([1.0, 2.0, 6.0])) == 3.0  # a quarter of three is no whole entry: nothing is cut


def test_iqm_is_the_trimmed_mean_that_rliable_uses(rng):
    for shape in ((1, 1), (3, 2), (5, 9), (7, 3)):
        scores = rng.normal(size=shape)
        assert iqm(scores) == pytest.approx(trim_mean(scores, proportiontocut=0.25, axis=None))


def test_probability_of_improvement_by_hand():
    x, y = np.array([[1.0], [3.0]]), np.array([[2.0], [3.0]])
    # 1 < 2, 1 < 3, 3 > 2, 3 = 3: (0 + 0 + 1 + 1/2) / 4
    assert probability_of_improvement(x, y) == pytest.approx(0.375)
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == pytest.approx(1.0)
    assert probability_of_improvement(y, y) == 0.5
    with pytest.raises(ValueError, match="1 and 2 tasks"):
        probability_of_improvement(x, np.zeros((2, 2)))


def test_probability_of_improvement_is_that_of_rliable(rng):
    """There: the Mann-Whitney statistic of each task over the number of pairs, then the mean over tasks."""
    x, y = rng.integers(0, 5, (6, 4)).astype(float), rng.integers(0, 5, (3, 4)).astype(float)
    theirs = [mannwhitneyu(x[:, t], y[:, t], alternative="greater").statistic / (6 * 3) for t in range(4)]
    assert probability_of_improvement(x, y) == pytest.approx(np.mean(theirs))


def test_optimality_gap_and_profile_by_hand():
    scores = np.array([[50.0, 120.0], [100.0, 80.0]])
    assert optimality_gap(scores) == pytest.approx((50 + 0 + 0 + 20) / 4)
    np.testing.assert_allclose(performance_profile(scores, np.array([0.0, 80.0, 100.0, 120.0])), [1.0, 0.5, 0.25, 0.0])


def test_resampling_stays_within_tasks():
    """Runs that agree leave nothing to resample, however far the tasks are apart."""
    scores = np.tile([0.0, 100.0, 1e4], (5, 1))
    assert stratified_bootstrap(scores, np.mean) == pytest.approx((scores.mean(), scores.mean()))


def test_the_interval_covers_as_often_as_it_says(rng):
    """30 Gaussian runs: the 95 % interval of the mean holds the truth in about 95 % of 200 repetitions."""
    hits = 0
    for k in range(200):
        low, high = stratified_bootstrap(rng.normal(5.0, 2.0, (30, 1)), np.mean, resamples=200, seed=k)
        hits += low <= 5.0 <= high
    assert 0.89 <= hits / 200 <= 0.98


def test_the_interval_is_reproducible_and_needs_two_runs(rng):
    scores = rng.normal(size=(5, 2))
    assert stratified_bootstrap(scores, seed=3) == stratified_bootstrap(scores, seed=3)
    with pytest.raises(ValueError, match="at least two"):
        stratified_bootstrap(scores[:1])


def test_scores_of_several_seeds_are_over_seeds():
    values = np.array([[0.0, 10.0], [20.0, 30.0], [40.0, 50.0], [60.0, 70.0]])
    scores = Scores.of(values)
    assert (scores.mean, scores.over) == (35.0, "seeds")
    assert scores.std == pytest.approx(values.std())
    assert scores.iqm == 35.0  # of the seed means 25 and 45
    assert scores.interval is not None
    assert 5.0 <= scores.interval[0] < 35.0 < scores.interval[1] <= 65.0
    assert "95 % over seeds" in str(scores)


def test_one_seed_has_an_interval_over_episodes_only():
    scores = Scores.of(np.array([[1.0, 2.0, 3.0, 4.0]]))
    assert scores.over == "episodes"
    assert "over episodes" in str(scores)
    single = Scores.of(np.array([[7.0]]))
    assert single.interval is None
    assert "±" not in str(single)
    assert "no interval" in str(single)


def test_cvar_is_the_mean_of_the_worst_share():
    assert cvar(np.array([[4.0, 1.0], [3.0, 2.0]]), 0.5) == 1.5
    assert cvar(np.array([4.0, 1.0, 3.0, 2.0]), 0.375) == pytest.approx((1 + 0.5 * 2) / 1.5)
    assert cvar(np.array([4.0, 1.0]), 0.1) == 1


def test_bootstrap_of_two_matrices_by_hand():
    """x is 0 or 2 where y is always 1: a resample has P(x > y) = 0, 1/2 or 1 with probability 1/4, 1/2, 1/4."""
    x, y = np.array([[0.0], [2.0]]), np.array([[1.0], [1.0]])
    found = bootstrap(probability_of_improvement, x, y, resamples=4_000)
    assert set(found) == {0.0, 0.5, 1.0}
    np.testing.assert_allclose([(found == v).mean() for v in (0.0, 0.5, 1.0)], [0.25, 0.5, 0.25], atol=0.04)
    assert improvement_interval(x, y) == (0.0, 1.0)
    assert improvement_interval(x + 5, y) == (1.0, 1.0)
    with pytest.raises(ValueError, match="at least two"):
        improvement_interval(x, y[:1])


def test_two_matrices_are_drawn_independently():
    """With x = y, a common draw would tie always; independent ones do not."""
    x = np.array([[0.0], [1.0], [2.0]])
    assert len(set(bootstrap(lambda a, b: float(a.mean() - b.mean()), x, x, resamples=200))) > 3


def test_band_of_a_profile_by_hand():
    """Of runs 0 and 1, a resample has none, one or both above 1/2; all are above -1 and none above 2."""
    low, high = profile_band(np.array([[0.0], [1.0]]), np.array([-1.0, 0.5, 2.0]))
    np.testing.assert_array_equal(low, [1.0, 0.0, 0.0])
    np.testing.assert_array_equal(high, [1.0, 1.0, 0.0])
