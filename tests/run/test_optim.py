"""The schedule that an optimiser follows, and the count by which it follows it."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from dawm.run.optim import OptimConfig, clip_apart, learning_rate, make_optimiser, updates_done


def test_updates_are_counted_and_the_rate_is_the_optimisers():
    config = OptimConfig(learning_rate=0.1, warmup=2, clip=0.0)
    optimiser, weights = make_optimiser(config, 50), jnp.zeros(1)
    state = optimiser.init(weights)
    for k in range(4):
        assert int(updates_done(state)) == k
        change, state = optimiser.update(jnp.ones(1), state, weights)
        assert -float(change[0]) == pytest.approx(float(learning_rate(config, 50)(k)), rel=1e-3)


def test_a_large_gradient_of_one_part_leaves_the_others_alone():
    clip = clip_apart(1.0)
    parts = {"loud": {"a": jnp.array([30.0]), "b": jnp.array([40.0])}, "quiet": jnp.array([0.3, 0.4]), "none": None}
    found, _ = clip.update(parts, clip.init(parts))
    assert float(found["loud"]["a"][0]) == pytest.approx(0.6)
    assert float(found["loud"]["b"][0]) == pytest.approx(0.8)
    assert found["quiet"].tolist() == parts["quiet"].tolist()
    assert found["none"] is None
