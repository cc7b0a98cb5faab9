"""Unsafe steps are counted per policy and episode: against a hand count in the real environment."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from benchmarks.safety import unsafe_steps

ENV = "benchmarks.neorl2:SafetyHalfCheetah-v0"


class Constant:
    """Two policies: one keeps still, the other pushes as hard as it can in a recorded gait."""

    members = 2

    def act(self, obs):
        still = np.zeros((1, obs.shape[1], 6), np.float32)
        return np.concatenate([still, np.ones_like(still) * np.sign(np.sin(obs[1:, :, :1] * 9 + 1))])


def counted_by_hand(member: int, seed: int) -> tuple[int, int]:
    env, policy, count, steps = gymnasium.make(ENV), Constant(), 0, 0
    obs, _ = env.reset(seed=seed)
    done = False
    while not done:
        both = policy.act(np.broadcast_to(obs, (2, 1, len(obs))).astype(np.float32))
        obs, _, _, done, info = env.step(both[member, 0])
        count, steps = count + int(info["unsafe"]), steps + 1
    return count, steps


def test_counts_are_those_of_single_episodes():
    pytest.importorskip("mujoco")
    found = unsafe_steps(Constant(), ENV, episodes=2, seed=5)  # type: ignore[arg-type]
    by_hand = [[counted_by_hand(member, 5 + episode) for episode in range(2)] for member in range(2)]
    assert found["unsafe"] == [[count for count, _ in row] for row in by_hand]
    assert {steps for row in by_hand for _, steps in row} == {found["steps"]}
    assert sum(found["unsafe"][1]) > 0 == sum(found["unsafe"][0])
    assert found["rate"] == [sum(count for count, _ in row) / 2 / found["steps"] for row in by_hand]
