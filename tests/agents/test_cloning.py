"""Weights of imitation: where the log is thin they are large, and learners follow them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from toys import dataset, rows, train

from dawm.agents.bc import BCConfig
from dawm.agents.cloning import cloning_weights, log_support
from dawm.agents.config import PolicyConfig
from dawm.agents.fit import train_policy
from dawm.agents.registry import make_agent
from dawm.run.loop import LoopConfig
from dawm.types import Spec

SPEC = Spec(1, 1, (-1.0,), (1.0,))


@pytest.fixture(scope="module")
def log():
    rng = np.random.default_rng(0)
    return dataset(rows(rng.normal(size=(2_000, 1)), rng.uniform(-0.5, 0.5, 2_000), np.zeros(2_000)), episode=20)


def test_weights_are_one_in_the_thick_of_the_log_and_largest_outside(log):
    support = log_support(log, seed=0)
    recorded = cloning_weights(support, log.transitions(), 4.0)
    assert recorded.mean() == pytest.approx(1 + 4 * 0.5, abs=0.15)  # scores of the log's own steps are uniform
    far = cloning_weights(support, rows(np.full((3, 1), 30.0), np.zeros(3), np.zeros(3)), 4.0)
    np.testing.assert_allclose(far, 5 - 4 / (len(support.held) + 1), rtol=1e-6)


def test_cloning_follows_the_weights():
    data = rows([[0.0], [0.0]], [1.0, -1.0], [0.0, 0.0])
    for weights, expected in (([1.0, 1.0], 0.0), ([3.0, 1.0], 0.5), ([1.0, 7.0], -0.75)):
        learner = make_agent(BCConfig(width=8, learning_rate=1e-2), SPEC, 400)
        state = train(learner, data._replace(cloning=np.array(weights, np.float32)), 400)
        assert float(learner.policy(state)(jnp.zeros(1))[0]) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("kind", ["td3bc", "iql", "bc"])
def test_every_learner_trains_with_weights_and_they_matter(log, kind):
    from dawm.agents.registry import AGENTS

    loop = LoopConfig(steps=10, chunk=10, monitor_every=10)
    config = {thin: PolicyConfig(AGENTS[kind][0](width=8), 16, thin=thin, loop=loop) for thin in (0.0, 5.0)}
    plain, held = (train_policy(log, c)[0](np.linspace(-1, 1, 5)[:, None]) for c in config.values())
    assert np.isfinite(held).all()
    assert not np.array_equal(plain, held)
