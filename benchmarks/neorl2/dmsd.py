"""DMSD: two masses between two walls, coupled by springs and dampers, pushed to targets that jump once.

    x_i' = x_i + h v_i
    v_i' = v_i + (h / m) (-2k x_i + k x_j - 2d v_i + d v_j + u_i),      u_i = 30 clip(a_i, -1, 1),  j the other mass
    r    = sum_i -ln(|x_i' - target_i'| + 0.01)                          at most 2 ln 100, about 9.21, a step

with h = 0.2, k = 2, d = 4 and m = 20, all right-hand sides at time t. At reset x ~ U(-0.25, 0.25), v ~ U(-0.1, 0.1);
each mass has, with probability 1/2, one target for the whole episode, else a second one from step 50 on; targets
~ U(-1.5, 1.5). Observation (6): x_1, x_2, v_1, v_2, target_1, target_2; the step number is not observed. 100 steps.

The data and the published scores follow m = 20. `mass=30` is the original's other mode: an evaluation under shifted
dynamics, never to be set beside a published number.

Source: NeoRL-2 (arXiv 2503.19267). `reset(seed=s)` gives the original's episode of seed s (legacy generator and order
of draws). Departures: a reset without a seed goes on with new random numbers, where the original repeats its episode.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box

from benchmarks.neorl2.task import TaskEnv, TaskVectorEnv

TIME_STEP, SPRING, DAMPING, FORCE = 0.2, 2.0, 4.0, 30.0
SWITCH = 50  # the step from which a second target holds
TARGETS = slice(4, 6)


class State(NamedTuple):
    position: np.ndarray  # (*b, 2), float64: the recorded float32 observations are roundings of it
    velocity: np.ndarray  # (*b, 2)
    targets: np.ndarray  # (*b, 2, 2): mass, phase
    clock: np.ndarray  # (*b,)


def motion(position, velocity, action, mass: float = 20.0):
    """Position and velocity (*b, 2) one step later; `action` (*b, 2) is clipped to [-1, 1]."""
    force = FORCE * np.clip(action, -1, 1)
    pull = SPRING * (position[..., ::-1] - 2 * position) + DAMPING * (velocity[..., ::-1] - 2 * velocity)
    return position + TIME_STEP * velocity, velocity + TIME_STEP / mass * (pull + force)


def reward(next_obs: np.ndarray) -> np.ndarray:
    """Reward (*b,) of arriving at `next_obs` (*b, 6), in its precision."""
    distance = np.abs(next_obs[..., :2] - next_obs[..., TARGETS])
    return -np.log(distance + next_obs.dtype.type(0.01)).sum(-1)


def predict(obs: np.ndarray, action: np.ndarray, mass: float = 20.0) -> np.ndarray:
    """The next observation (*b, 6) if no target jumps; float64."""
    obs = np.asarray(obs, np.float64)
    position, velocity = motion(obs[..., :2], obs[..., 2:4], action, mass)
    return np.concatenate([position, velocity, obs[..., TARGETS]], -1)


class DMSD:
    """The task for `TaskEnv` and `TaskVectorEnv`."""

    observation_space: Box[Any] = Box(-np.inf, np.inf, (6,), np.float32)
    action_space: Box[Any] = Box(-1.0, 1.0, (2,), np.float32)
    reward = staticmethod(reward)

    def __init__(self, mass: float = 20.0):
        self.mass = mass

    def start(self, rng: np.random.Generator, previous: State | None, seed: int | None) -> State:
        # The original's generator, so that a seed means the same episode there and here.
        draw = np.random.RandomState(rng.integers(2**31) if seed is None else seed)
        draw.uniform(size=8)  # spent on physical constants whose ranges have no width
        targets = np.empty((2, 2))
        for row in targets:
            row[:] = draw.uniform(-1.5, 1.5, draw.randint(1, 3))  # one target fills both phases
        return State(draw.uniform(-0.25, 0.25, 2), draw.uniform(-0.1, 0.1, 2), targets, np.array(0))

    def chance(self, rng: np.random.Generator) -> float:
        return np.nan  # all randomness is in the start

    def advance(self, state: State, action: np.ndarray, chance: np.ndarray) -> State:
        moved = motion(state.position, state.velocity, action.astype(np.float64), self.mass)
        return State(*moved, state.targets, state.clock + 1)

    def observe(self, state: State) -> np.ndarray:
        late = (state.clock >= SWITCH)[..., None]
        target = np.where(late, state.targets[..., 1], state.targets[..., 0])
        return np.concatenate([state.position, state.velocity, target], -1).astype(np.float32)


def make(mass: float = 20.0) -> TaskEnv:
    return TaskEnv(DMSD(mass))


def make_vector(num_envs: int, max_episode_steps: int, mass: float = 20.0) -> TaskVectorEnv:
    return TaskVectorEnv(DMSD(mass), num_envs, max_episode_steps)
