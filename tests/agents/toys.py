"""Small problems whose answers are known, as datasets and as batches."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from dawm.agents.base import Learner
from dawm.agents.fit import train_policy
from dawm.data.dataset import Dataset, DatasetInfo
from dawm.types import Transition


def rows(obs, action, reward, next_obs=None, terminal=True) -> Transition:
    """Transitions from lists; everything is terminal unless said otherwise."""
    obs, action, reward = (np.asarray(x, np.float32) for x in (obs, action, reward))
    n = len(reward)
    return Transition(
        obs=obs.reshape(n, -1),
        action=action.reshape(n, -1),
        reward=reward,
        next_obs=(obs if next_obs is None else np.asarray(next_obs, np.float32)).reshape(n, -1),
        next_action=np.zeros_like(action.reshape(n, -1)),
        terminal=np.broadcast_to(np.asarray(terminal, bool), n).copy(),
        source=np.full(n, -1, np.int32),
    )


def dataset(data: Transition, bounds: float = 1.0, episode: int = 1) -> Dataset:
    """The rows as a dataset of episodes of `episode` rows, actions in ±bounds."""
    n, act = data.action.shape
    return Dataset(
        obs=data.obs,
        action=data.action,
        reward=data.reward,
        next_obs=data.next_obs,
        terminal=data.terminal,
        episode_ends=np.arange(episode, n + 1, episode),
        source=data.source,
        act_low=np.full(act, -bounds, np.float32),
        act_high=np.full(act, bounds, np.float32),
        info=DatasetInfo(name="toy", origin="toy"),
    )


def bandit(n: int = 2_000, seed: int = 0) -> Transition:
    """Two contexts c = ±1, actions uniform in [-1, 1], reward −(a − c/2)²: the best action is c/2, the mean one 0."""
    rng = np.random.default_rng(seed)
    context, action = rng.choice([-1.0, 1.0], n), rng.uniform(-1, 1, n)
    return rows(context[:, None], action, -((action - context / 2) ** 2))


def train(learner: Learner, data: Transition, steps: int, seed: int = 0):
    """The state after `steps` updates on the whole of `data` each time."""
    import jax.random as jr

    @jax.jit
    def run(state):
        keys = jr.split(jr.key(seed + 1), steps)
        return jax.lax.scan(lambda s, key: (learner.update(s, data, key)[0], None), state, keys)[0]

    return run(jax.jit(learner.init)(jr.key(seed)))


def train_killed(at: int, data: Dataset, config, folder, **given) -> None:
    """A run of `train_policy` that is killed while it is monitored after update `at`."""

    def monitor(step, policy):
        if step == at:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        train_policy(data, config, folder=folder, monitor=monitor, **given)
