"""A task written as arrays, seen as one Gymnasium environment or as a batch of them.

A task is a few functions over a state (a NamedTuple of arrays with any leading axes):

    start(rng, previous, seed) -> state      one episode, no leading axis
    chance(rng) -> float                     the random event of one step of one episode
    advance(state, action, chance) -> state
    observe(state) -> obs                    (*b, obs)
    reward(next_obs) -> reward               (*b,)

Both views draw the same numbers in the same order, so copy i of a batch that was reset with seed s is, bit for bit, the
single environment that was reset with seed s + i.
"""

from __future__ import annotations

from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space


class Task(Protocol):
    """What the two views below need to know about a task."""

    observation_space: Box[Any]
    action_space: Box[Any]

    def start(self, rng: np.random.Generator, previous: Any | None, seed: int | None) -> Any: ...

    def chance(self, rng: np.random.Generator) -> float: ...

    def advance(self, state: Any, action: np.ndarray, chance: np.ndarray) -> Any: ...

    def observe(self, state: Any) -> np.ndarray: ...

    def reward(self, next_obs: np.ndarray) -> np.ndarray: ...


class TaskEnv(gymnasium.Env):
    """One episode at a time. Never terminal; the time limit is the wrapper's that `gymnasium.make` adds."""

    metadata = {"render_modes": []}  # noqa: RUF012  (Gymnasium's own convention)

    def __init__(self, task: Task):
        self.task, self.state = task, None
        self.observation_space, self.action_space = task.observation_space, task.action_space
        self.render_mode = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.state = self.task.start(self.np_random, self.state, seed)
        return self.task.observe(self.state), {}

    def step(self, action):
        chance = np.asarray(self.task.chance(self.np_random))
        self.state = self.task.advance(self.state, np.asarray(action), chance)
        obs = self.task.observe(self.state)
        return obs, float(self.task.reward(obs)), False, False, {}


class TaskVectorEnv(VectorEnv):
    """`num_envs` copies, stepped as arrays: ten to twenty times the speed of single environments.

    After its last step a copy starts anew on the next call of `step`, whose action for it is ignored (Gymnasium's
    next-step autoreset).
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(self, task: Task, num_envs: int, max_episode_steps: int):
        self.task, self.num_envs, self.max_episode_steps = task, num_envs, max_episode_steps
        self.single_observation_space, self.single_action_space = task.observation_space, task.action_space
        self.observation_space = batch_space(task.observation_space, num_envs)
        self.action_space = batch_space(task.action_space, num_envs)
        self.render_mode = None
        self._rngs = [np.random.default_rng() for _ in range(num_envs)]
        self._clock = np.zeros(num_envs, int)
        self._state = None

    def reset(self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None):
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else seed or [None] * self.num_envs
        starts = []
        for i, one in enumerate(seeds):
            if one is not None:
                self._rngs[i] = np.random.Generator(np.random.PCG64(one))
            starts.append(self.task.start(self._rngs[i], self._row(i), one))
        self._state = type(starts[0])(*(np.stack(leaves) for leaves in zip(*starts, strict=True)))
        self._clock[:] = 0
        return self.task.observe(self._state), {}

    def step(self, actions):
        if self._state is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        anew = np.flatnonzero(self._clock == self.max_episode_steps)
        moving = self._clock < self.max_episode_steps
        quiet = np.nan  # a copy that starts anew draws for its start only
        chance = np.array([self.task.chance(r) if on else quiet for r, on in zip(self._rngs, moving, strict=True)])
        after = self.task.advance(self._state, np.asarray(actions), chance)
        for i in anew:
            for leaf, value in zip(after, self.task.start(self._rngs[i], self._row(i), None), strict=True):
                leaf[i] = value
        self._state, self._clock = after, np.where(moving, self._clock + 1, 0)
        obs = self.task.observe(after)
        reward = np.where(moving, self.task.reward(obs), 0.0).astype(np.float64)
        return obs, reward, np.zeros(self.num_envs, bool), self._clock == self.max_episode_steps, {}

    def _row(self, i: Any):
        """The state of copy i, None before the first reset."""
        return None if self._state is None else type(self._state)(*(leaf[i] for leaf in self._state))
