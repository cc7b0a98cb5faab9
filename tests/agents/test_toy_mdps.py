"""Values that are known in closed form: a loop that ends or is cut, a three-state problem with an exact fixed point."""

import jax
import numpy as np
import pytest
from toys import rows, train

from dawm.agents.iql import IQLConfig, make_iql
from dawm.agents.td3bc import TD3BCConfig, make_td3bc
from dawm.types import Spec

FAST = {"learning_rate": 3e-3, "target_update_rate": 0.1, "width": 32}


@pytest.mark.parametrize(("terminal", "value"), [(False, 1 / (1 - 0.5)), (True, 1.0)], ids=["cut", "terminal"])
@pytest.mark.parametrize("kind", ["td3bc", "iql"])
def test_a_cut_is_bootstrapped_through_and_an_end_is_not(kind, terminal, value):
    """One state that returns to itself with reward 1: r / (1 − γ) if the log was merely cut there, r if it ended."""
    data = rows(np.ones((8, 1)), np.linspace(-1, 1, 8), np.ones(8), terminal=terminal)
    spec = Spec(1, 1, (-1.0,), (1.0,))
    if kind == "iql":
        learner = make_iql(IQLConfig(discount=0.5, **FAST), spec, 600)
    else:
        learner = make_td3bc(TD3BCConfig(discount=0.5, **FAST), spec, 600)
    state = train(learner, data, 600)
    np.testing.assert_allclose(jax.vmap(state.critic)(data.obs, data.action), value, atol=0.03)


GAMMA = 0.9
NEXT = {(0, +1): 1, (1, +1): 2, (1, -1): 0, (2, -1): 0}  # (state, action) -> state; the others end
REWARD = {(0, +1): 0.0, (0, -1): 0.3, (1, +1): 0.0, (1, -1): 0.1, (2, +1): 1.0, (2, -1): 0.0}


def three_states():
    """Each state and action once. The best policy always takes +1: Q* = 0.81, 0.9, 1 there."""
    pairs = list(REWARD)
    obs = np.eye(3)[[s for s, _ in pairs]]
    next_obs = np.eye(3)[[NEXT.get(pair, 0) for pair in pairs]]
    ended = [pair not in NEXT for pair in pairs]
    return pairs, rows(obs, [a for _, a in pairs], [REWARD[p] for p in pairs], next_obs, ended)


def fixed_point(expectile: float) -> dict:
    """Q of IQL's fixed point: V(s) = τ max Q + (1 − τ) min Q, the τ-expectile of two equally frequent values."""
    q = dict.fromkeys(REWARD, 0.0)
    for _ in range(500):
        v = [sorted(q[s, a] for a in (-1, 1)) for s in range(3)]
        v = [(1 - expectile) * low + expectile * high for low, high in v]
        q = {pair: REWARD[pair] + (GAMMA * v[NEXT[pair]] if pair in NEXT else 0.0) for pair in REWARD}
    return q


def test_iql_reaches_its_fixed_point():
    pairs, data = three_states()
    learner = make_iql(IQLConfig(discount=GAMMA, expectile=0.8, **FAST), Spec(3, 1, (-1.0,), (1.0,)), 2_000)
    state = train(learner, data, 2_000)
    expected = [fixed_point(0.8)[pair] for pair in pairs]
    np.testing.assert_allclose(jax.vmap(state.critic)(data.obs, data.action).mean(1), expected, atol=0.02)


def test_td3bc_finds_the_optimal_values_and_policy():
    pairs, data = three_states()
    config = TD3BCConfig(discount=GAMMA, alpha=40.0, policy_noise=0.0, **FAST)
    learner = make_td3bc(config, Spec(3, 1, (-1.0,), (1.0,)), 2_000)
    state = train(learner, data, 2_000)
    best = fixed_point(1.0)
    assert [best[s, 1] for s in range(3)] == pytest.approx([0.81, 0.9, 1.0])
    np.testing.assert_allclose(jax.vmap(learner.policy(state))(np.eye(3))[:, 0], 1.0, atol=0.05)
    found = jax.vmap(state.critic)(data.obs, data.action).mean(1)
    np.testing.assert_allclose(found, [best[pair] for pair in pairs], atol=0.05)
