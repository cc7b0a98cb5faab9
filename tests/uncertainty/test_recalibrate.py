"""Recalibration of forecasts that are wrong in known ways, judged on observations that it was not fitted on."""

from __future__ import annotations

import numpy as np
import pytest

from dawm.errors import FileError
from dawm.uncertainty.calibration import calibration_error, coverage
from dawm.uncertainty.quantiles import level_of
from dawm.uncertainty.recalibrate import METHODS, Recalibration, fit_recalibration

N, M, STEPS, DIMS = 3000, 99, 2, 2


def task(rng, factor=0.5, bias=0.0, n=N):
    """Forecasts whose spread is `factor` times the truth's and whose mean is off by `bias`, and observations."""
    mean = rng.normal(size=(n, STEPS, DIMS))
    samples = mean + bias + factor * rng.normal(size=(M, n, STEPS, DIMS))
    return samples, mean + rng.normal(size=(n, STEPS, DIMS)), np.ones((n, STEPS), bool)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [0.3, 2.0])
def test_a_wrong_spread_is_mended(rng, method, factor):
    fitted = fit_recalibration(method, *task(rng, factor), episodes=10)
    samples, observed, _ = task(rng, factor)
    mended = fitted.apply(samples)
    for levels in (level_of(mended, observed), fitted.levels(samples, observed)):
        assert coverage(levels, 0.9) == pytest.approx(0.9, abs=0.02)
        assert calibration_error(levels) < 0.02
    assert coverage(level_of(samples, observed), 0.9) != pytest.approx(0.9, abs=0.05)
    assert mended.std(0).mean() == pytest.approx(1, abs=0.08)


def test_a_bias_is_mended_by_levels_and_not_by_a_factor(rng):
    fit = task(rng, 1.0, bias=1.5)
    samples, observed, _ = task(rng, 1.0, bias=1.5)
    isotonic, factor = (fit_recalibration(m, *fit, episodes=10).levels(samples, observed) for m in METHODS[1::-1])
    assert calibration_error(isotonic) < 0.02 < 0.1 < calibration_error(factor)


def test_ranks_and_with_them_the_dependence_stay(rng):
    samples, observed, valid = task(rng)
    samples[..., 1] = samples[..., 0] + 0.01 * rng.normal(size=samples.shape[:-1])
    for method in METHODS:
        mended = fit_recalibration(method, samples, observed, valid, episodes=10).apply(samples[:, :5])
        np.testing.assert_array_equal(np.argsort(mended, 0), np.argsort(samples[:, :5], 0))


def test_conformal_intervals_cover_at_least_as_often_as_they_say(rng):
    """On average over fits on few observations, for a forecast that is plainly wrong: the finite-sample guarantee."""
    held = []
    for _ in range(300):
        samples, observed, valid = task(rng, 0.2, bias=0.5, n=20)
        fitted = fit_recalibration("conformal", samples[:, :19], observed[:19], valid[:19], episodes=19)
        held.append(np.abs(fitted.levels(samples[:, 19:], observed[19:]) - 0.5) <= 0.45 + 1e-6)
    assert np.mean(held) >= 0.9 - 3 * np.sqrt(0.09 / 600)
    assert np.mean(held) <= 0.9 + 1 / 20 + 3 * np.sqrt(0.09 / 600)


def test_each_step_and_dimension_has_its_own_correction(rng):
    samples, observed, valid = task(rng, 1.0)
    scale = np.array([[0.5, 1.0], [1.0, 2.0]])
    samples = samples.mean(0) + (samples - samples.mean(0)) * scale
    np.testing.assert_allclose(
        fit_recalibration("temperature", samples, observed, valid, episodes=1).factor * scale, 1, atol=0.1
    )


def test_steps_that_are_not_valid_do_not_count(rng):
    samples, observed, valid = task(rng, 1.0)
    spoiled, known = observed.copy(), valid.copy()
    known[: N // 2, 1] = False
    spoiled[: N // 2, 1] = 100.0
    for method in METHODS:
        fits = [fit_recalibration(method, samples, y, known, episodes=1) for y in (observed, spoiled)]
        np.testing.assert_array_equal(fits[0].table, fits[1].table)


def test_survives_a_file_and_refuses_a_damaged_one(rng, tmp_path):
    fitted = fit_recalibration("isotonic", *task(rng, n=100), episodes=7)
    fitted.save(tmp_path / "recalibration.json")
    again = Recalibration.load(tmp_path / "recalibration.json")
    samples, _, _ = task(rng, n=10)
    np.testing.assert_allclose(again.apply(samples), fitted.apply(samples), atol=1e-3)
    assert (again.method, again.episodes) == ("isotonic", 7)
    (tmp_path / "recalibration.json").write_text('{"method": "isotonic"')
    with pytest.raises(FileError, match="dawm calibrate"):
        Recalibration.load(tmp_path / "recalibration.json")


def test_the_tail_beyond_all_samples_is_reached(rng):
    """Observations that no sample reaches are still covered once their distance has been seen."""
    samples, observed, valid = task(rng, 0.01)
    fitted = fit_recalibration("conformal", samples, observed, valid, episodes=1)
    levels = fitted.levels(*task(rng, 0.01)[:2])
    for level in (0.5, 0.9, 0.95):
        assert coverage(levels, level) == pytest.approx(level, abs=0.02)
