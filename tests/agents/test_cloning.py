"""Weights of imitation: large where the log is thin, or none on synthetic rows; and learners follow them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from toys import dataset, rows, train

from dawm.agents.bc import BCConfig
from dawm.agents.cloning import cloning_weights, log_support, only_the_log
from dawm.agents.config import PolicyConfig
from dawm.agents.fit import train_policy
from dawm.agents.iql import IQLConfig
from dawm.agents.registry import make_agent
from dawm.agents.td3bc import TD3BCConfig
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


@pytest.mark.parametrize("ratio", [0.25, 0.5])
def test_the_weights_of_a_batch_add_up_to_its_rows_and_keep_what_they_were(log, ratio):
    real = log.transitions()
    real = real._replace(cloning=np.linspace(1, 2, len(real.reward), dtype=np.float32))
    weighed, made = only_the_log(real, log.transitions(), ratio)
    np.testing.assert_array_equal(made.cloning, 0)
    mean = (1 - ratio) * weighed.cloning.mean() + ratio * made.cloning.mean()
    assert mean == pytest.approx(real.cloning.mean(), rel=1e-6)
    np.testing.assert_allclose(weighed.cloning / real.cloning, 1 / (1 - ratio), rtol=1e-6)


@pytest.mark.parametrize("algo", [TD3BCConfig(width=16, alpha=0.0), IQLConfig(width=16)], ids=lambda algo: algo.kind)
def test_actions_of_synthetic_rows_are_imitated_unless_only_the_log_is(algo):
    rng = np.random.default_rng(0)
    obs, nothing = rng.normal(size=(1_000, 1)), np.zeros(1_000)  # no rewards, so that imitation decides
    log, made = (dataset(rows(obs, np.full(1_000, action), nothing), episode=20) for action in (0.6, -0.6))
    loop = LoopConfig(steps=600, chunk=600, monitor_every=600)
    for clone, expected in (("all", 0.0), ("log", 0.6)):
        config = PolicyConfig(algo, 64, ratio=0.5, clone=clone, loop=loop)
        policy = train_policy(log, config, synthetic=made)[0]
        assert policy(np.zeros((1, 1)))[0, 0] == pytest.approx(expected, abs=0.15)


def test_a_batch_without_recorded_rows_cannot_imitate_them():
    with pytest.raises(ValueError, match=r"clone log imitates recorded rows, and at ratio 1\.0 a batch has none"):
        PolicyConfig(ratio=1.0, clone="log")
