"""The support score: a p-value that is uniform on the log's own steps, and small away from them."""

from __future__ import annotations

import numpy as np
import pytest

from dawm.uncertainty.support import fit_support


def test_scores_of_the_logs_own_steps_are_uniform(rng):
    draw = lambda n: rng.normal(size=(n, 4)) * np.array([1, 10, 0.1, 1])
    support = fit_support(draw(3000), draw(1500))
    scores = support.score(draw(4000))
    for share in (0.05, 0.2, 0.5, 0.9):
        assert (scores <= share).mean() == pytest.approx(share, abs=0.035)
    assert 0 < scores.min() <= scores.max() <= 1


def test_where_the_log_has_nothing_the_score_is_smallest(rng):
    log = np.concatenate([rng.normal(size=(1500, 2)), rng.normal(size=(1500, 2)) + np.array([8, 0])])
    support = fit_support(log[::2], log[1::2])
    between, inside = support.score(np.array([[4.0, 0.0], [30.0, 0.0]])), support.score(np.array([[0.1, 0.0], [8, 0]]))
    assert (between < 0.01).all()  # a gap inside the range of the log is no support either
    assert (inside > 0.2).all()


def test_units_do_not_matter(rng):
    x, y, z = rng.normal(size=(3, 500, 3))
    unit = np.array([1.0, 1e3, 1e-3])
    np.testing.assert_allclose(fit_support(x, y).score(z), fit_support(x * unit, y * unit).score(z * unit), atol=0.02)


def test_few_rows_and_constant_dimensions_are_fine(rng):
    x = np.concatenate([rng.normal(size=(3, 1)), np.ones((3, 1))], 1)
    assert np.isfinite(fit_support(x, x[:1]).score(x)).all()
