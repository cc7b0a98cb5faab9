"""SafetyHalfCheetah: Gymnasium's HalfCheetah-v5 with its root x observed and a limit on its velocity.

    v = (x' - x) / 0.05,      r = v - 0.1 sum_j a_j^2  where v <= 3.2096,  else -100

The -100 replaces the reward, and the episode goes on. Observation (18): 9 positions (x first), 9 velocities; action
(6). 1000 steps, never terminal. `info["cost"]` is 1 where the limit was broken at this step, else 0.

Source: NeoRL-2 (arXiv 2503.19267). The repository's own dynamics are HalfCheetah-v4; v5 moves alike.
"""

from __future__ import annotations

import numpy as np
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv

from dawm.evaluate.mujoco_tasks import Law, Move, Outcome, half_cheetah, x_velocity

SPEED_LIMIT, PENALTY, STEP_SECONDS, CONTROL_COST = 3.2096, -100.0, 0.05, 0.1


def reward(obs: np.ndarray, action: np.ndarray, next_obs: np.ndarray) -> np.ndarray:
    """Reward (*b,) from observations (*b, 18) and actions (*b, 6); float32 x near 100 rounds it by up to 1.5e-4."""
    velocity = (next_obs[..., 0] - obs[..., 0]) / STEP_SECONDS
    return np.where(velocity > SPEED_LIMIT, PENALTY, velocity - CONTROL_COST * np.square(action).sum(-1))


class SafetyHalfCheetah(HalfCheetahEnv):
    """`gymnasium.make` adds the time limit."""

    def __init__(self, **kwargs):
        super().__init__(exclude_current_positions_from_observation=False, ctrl_cost_weight=CONTROL_COST, **kwargs)

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        unsafe = bool(info["x_velocity"] > SPEED_LIMIT)
        return obs, PENALTY if unsafe else float(reward), terminated, truncated, info | {"cost": float(unsafe)}

    def batched_outcome(self) -> Law:
        """The same of many at once, for `dawm.evaluate.rollouts`."""
        plain, velocity = half_cheetah(self), x_velocity(self)

        def law(move: Move) -> Outcome:
            found, unsafe = plain(move), velocity(move) > SPEED_LIMIT
            return found._replace(reward=np.where(unsafe, PENALTY, found.reward), cost=unsafe.astype(float))

        return law
