"""Batches: the synthetic share is exact in every batch, rows stay whole, and each source is drawn uniformly."""

import jax
import jax.random as jr
import numpy as np
import pytest

from dawm.data.sampling import draw, make_pool, synthetic_rows
from dawm.errors import ConfigError, DatasetError
from dawm.types import Transition


def marked(count: int, first: int = 0, source: int = 0) -> Transition:
    """Rows in which every field names its row."""
    row = np.arange(first, first + count, dtype=np.float32)
    wide = np.stack([row, -row], axis=1)
    return Transition(
        wide, wide[:, :1], row, wide + 0.5, wide[:, :1] + 1, row % 2 == 0, np.full(count, source, np.int32)
    )


@pytest.mark.parametrize(
    ("ratio", "batch", "made"), [(0.5, 256, 128), (0.1, 64, 6), (1 / 3, 10, 3), (0.99, 7, 7), (1.0, 5, 5)]
)
def test_every_batch_has_exactly_the_stated_share(ratio, batch, made):
    pool = make_pool(marked(5), marked(3, first=100, source=1), ratio)
    source = np.asarray(jax.jit(jax.vmap(lambda key: draw(pool, key, batch).source))(jr.split(jr.key(0), 200)))
    assert (source.sum(1) == made).all()
    assert (np.diff(source) >= 0).all()  # real rows first


def test_halves_are_rounded_to_even():
    assert [synthetic_rows(0.5, n) for n in (1, 3, 5, 256)] == [0, 2, 2, 128]


def test_rows_stay_whole_and_belong_to_their_source():
    pool = make_pool(marked(50), marked(20, first=100, source=1), 0.25)
    batch = jax.tree.map(np.asarray, jax.jit(draw, static_argnums=2)(pool, jr.key(0), 64))
    row = batch.reward
    np.testing.assert_array_equal(batch.obs, np.stack([row, -row], axis=1))
    np.testing.assert_array_equal(batch.next_obs, batch.obs + 0.5)
    np.testing.assert_array_equal(batch.action[:, 0], row)
    np.testing.assert_array_equal(batch.next_action[:, 0], row + 1)
    np.testing.assert_array_equal(batch.terminal, row % 2 == 0)
    np.testing.assert_array_equal(batch.source, row >= 100)


def test_each_source_is_drawn_uniformly():
    pool = make_pool(marked(8), marked(4, first=100, source=1), 0.5)
    batches = jax.jit(jax.vmap(lambda key: draw(pool, key, 32)))(jr.split(jr.key(1), 1_000))
    rows = np.asarray(batches.reward).ravel().astype(int)
    for first, count in ((0, 8), (100, 4)):
        seen = np.bincount(rows[(rows >= first) & (rows < first + count)] - first, minlength=count)
        expected = 16_000 / count
        assert seen.sum() == 16_000
        assert (np.abs(seen - expected) < 5 * np.sqrt(expected)).all()  # five standard errors


def test_prepare_is_applied_to_both_sources():
    pool = make_pool(marked(2), marked(2, first=100), 0.5, prepare=lambda rows: rows._replace(reward=rows.reward * 10))
    np.testing.assert_array_equal(pool.data.reward, [0, 10, 1000, 1010])
    assert (pool.real, pool.synthetic) == (2, 2)


def test_contradictions_are_named():
    with pytest.raises(ConfigError, match="no synthetic data"):
        make_pool(marked(2), None, 0.5)
    with pytest.raises(ConfigError, match="none would be used"):
        make_pool(marked(2), marked(2), 0.0)
    with pytest.raises(ConfigError, match=r"between 0 and 1, got 1\.5"):
        make_pool(marked(2), marked(2), 1.5)
    wide = marked(2)._replace(obs=np.zeros((2, 3), np.float32))
    with pytest.raises(DatasetError, match="`obs` has 3 dimensions in the synthetic data and 2 in the real"):
        make_pool(marked(2), wide, 0.5)
