"""Draws in proportion to a mass, and weights that make an average over them one over the log."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from dawm.agents.priority import UNSEEN, known, refreshed, uncertainty_mass
from dawm.data.prioritised import BLOCK, choose, draw_prioritised
from dawm.data.sampling import make_pool
from dawm.types import Prediction, Transition


def marked(count: int, first: int = 0) -> Transition:
    """Rows whose reward is their number."""
    row = np.arange(first, first + count, dtype=np.float32)
    wide = row[:, None]
    return Transition(wide, wide, row, wide, wide, row < 0, np.zeros(count, np.int32))


@pytest.mark.parametrize("count", [1, 5, BLOCK, 3 * BLOCK + 7])
def test_rows_are_drawn_in_proportion_to_their_mass(count):
    rng = np.random.default_rng(count)
    mass = rng.uniform(0, 1, count) * (rng.uniform(size=count) > 0.3) + (np.arange(count) == 0)
    draws = 200_000
    seen = np.bincount(jax.jit(choose, static_argnums=2)(jnp.asarray(mass), jr.key(0), draws), minlength=count)
    expected = draws * mass / mass.sum()
    assert (seen[mass == 0] == 0).all()
    assert (np.abs(seen - expected) < 5 * np.sqrt(expected) + 1).all()  # five standard errors


@pytest.mark.parametrize(("correction", "mean"), [(1.0, 49.5), (0.0, 66.0)])
def test_weights_at_one_give_the_mean_over_the_log_and_none_that_over_the_draws(correction, mean):
    """Mass in proportion to the row's number i < 100: the mean number of a draw is Σ i² / Σ i = 66.33."""
    pool = make_pool(marked(100), None, 0.0)
    _, batch = draw_prioritised(pool, jnp.arange(100.0) + 1e-3, jr.key(1), 200_000, correction)
    found = float((batch.weight * batch.reward).mean())
    assert found == pytest.approx(mean, abs=0.6)


def test_synthetic_rows_have_their_exact_share_and_weigh_one():
    pool = make_pool(marked(20), marked(10, first=100), 0.25)
    index, batch = draw_prioritised(pool, jnp.arange(20.0), jr.key(2), 64, 1.0)
    assert (np.asarray(batch.reward) >= 100).sum() == 16
    np.testing.assert_array_equal(batch.weight[-16:], 1)
    assert (np.asarray(index[-16:]) >= 20).all()


def test_rows_that_were_never_drawn_come_first_and_the_larger_error_stays():
    start = jnp.full(4, UNSEEN)
    np.testing.assert_array_equal(known(start), 1)
    mass = refreshed(start, jnp.array([1, 2, 2, 9]), jnp.array([4.0, 1.0, 9.0, 50.0]), 0.5)  # row 9 is synthetic
    np.testing.assert_allclose(mass, [UNSEEN, np.sqrt(4.16), np.sqrt(9.16), UNSEEN], rtol=1e-6)  # 1 % of the mean error
    np.testing.assert_allclose(known(mass), np.sqrt([9.16, 4.16, 9.16, 9.16]), rtol=1e-6)


def test_the_mass_of_spread_is_its_power_in_units_of_the_log():
    rows = marked(50)
    spread = np.linspace(1, 2, 50)
    futures = np.array([-1.0, 1.0])[None] * spread[:, None]
    made = Prediction(futures[..., None].astype(np.float32), futures.astype(np.float32), np.zeros((50, 2)))
    mass = uncertainty_mass(made, rows, 2.0)
    np.testing.assert_allclose(mass / mass[0], spread**2, rtol=1e-4)
    same = Prediction(np.zeros((50, 3, 1), np.float32), np.zeros((50, 3), np.float32), np.zeros((50, 3)))
    np.testing.assert_array_equal(uncertainty_mass(same, rows, 2.0), 1)
