"""Many episodes of one MuJoCo task of Gymnasium: the physics on all cores, everything else in NumPy over all of them.

An episode is a row of numbers, its state as MuJoCo's `mjSTATE_INTEGRATION` has it. A step takes the row of every
episode that goes on into a simulator, does `mj_step(model, data, frame_skip)` and takes it out again; there is one
simulator (`MjData`) and one thread for each core of the process, and MuJoCo releases the interpreter's lock. Then one
computation says observations, rewards and ends (`mujoco_tasks.py`). The threads are kept as long as the batch.

What is equal to Gymnasium: starts, positions, velocities, observations, rewards and ends of every step, to the bit. The
real environment resets, and the state holds the solver's warm start; nothing of the physics is done otherwise, except
that `mj_rnePostConstraint` is left out, whose forces neither these tasks nor the next step read. Before a batch is
handed out it is held against the environment itself, `PROBE` steps long.

Departures: MuJoCo's own batch, `mujoco.rollout`, is not used. It returns no warm starts, so that a policy that acts
at every step gets other trajectories (2e-5 apart in 300 steps of Hopper, from the second step on); one call of it
for ten Hoppers takes as long as the ten calls here, within 3 %.
"""

from __future__ import annotations

import importlib
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from dawm.evaluate.mujoco_tasks import Law, Move, find_outcome

PROBE = 50  # steps: a randomly driven Hopper falls within about twenty
Slots = Int[np.ndarray, " k"]  # which of the episodes
Stepped = tuple[  # obs, reward, terminated, truncated, as Gymnasium says them, and the cost if there is one
    Float[np.ndarray, "k obs"],
    Float[np.ndarray, " k"],
    Bool[np.ndarray, " k"],
    Bool[np.ndarray, " k"],
    Float[np.ndarray, " k"] | None,
]


class Batch:
    """`size` episodes of the task `env`, each in a slot of its own and all begun together; see `make_batch`."""

    def __init__(self, env: Any, size: int, law: Law, limit: int | None):
        self._env, self._inner, self._law = env, env.unwrapped, law
        self._limit, self._steps = limit, 0
        self._mujoco = mujoco = importlib.import_module("mujoco")  # without declarations of its types
        model, bits = self._inner.model, mujoco.mjtState
        self._whole = int(bits.mjSTATE_INTEGRATION)
        width = lambda which: mujoco.mj_stateSize(model, int(which))
        self._states = np.zeros((size, width(self._whole)))  # in the order of the bits: time, positions, velocities ...
        self._rows, ahead = [*self._states], width(self._whole & (int(bits.mjSTATE_CTRL) - 1))
        self._physics = self._states[:, width(bits.mjSTATE_TIME) :][:, : model.nq + model.nv]
        self._control = self._states[:, ahead : ahead + model.nu]
        threads = min(usable_cores(), size)
        self._data = [mujoco.MjData(model) for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def reset(self, slots: Slots, seeds: Sequence[int]) -> Float[np.ndarray, "k obs"]:
        """First observations of new episodes. Equal seeds are equal starts, and are drawn once."""
        first = {}
        for slot, seed in zip(slots.tolist(), seeds, strict=True):
            if seed not in first:
                first[seed] = slot, self._env.reset(seed=seed)[0]
                self._mujoco.mj_getState(self._inner.model, self._inner.data, self._rows[slot], self._whole)
            self._states[slot] = self._states[first[seed][0]]
        self._steps = 0
        return np.stack([first[seed][1] for seed in seeds])

    def step(self, slots: Slots, actions: Float[np.ndarray, "k act"]) -> Stepped:
        """One step of the episodes in `slots`."""
        before = self._physics[slots]
        self._control[slots] = actions
        waiting = deque(slots.tolist())  # threads take the next one each, since episodes cost unlike
        helpers = self._data[1 : len(waiting)]
        others = [self._pool.submit(self._advance, waiting, data) for data in helpers] if self._pool else []
        self._advance(waiting, self._data[0])
        for other in others:
            other.result()
        self._steps += 1
        found = self._law(Move(before, self._physics[slots], actions))
        return found.obs, found.reward, found.terminated, np.full(len(slots), self._steps == self._limit), found.cost

    def _advance(self, waiting: deque[int], data: Any) -> None:
        """Take slots from `waiting` until there are none."""
        model, frames, whole, rows = self._inner.model, self._inner.frame_skip, self._whole, self._rows
        put, step, take = self._mujoco.mj_setState, self._mujoco.mj_step, self._mujoco.mj_getState
        while True:
            try:
                row = rows[waiting.popleft()]
            except IndexError:
                return
            put(model, data, row, whole)
            step(model, data, frames)
            take(model, data, row, whole)

    def close(self) -> None:
        """End the threads; the owner of the environment closes it."""
        if self._pool is not None:
            self._pool.shutdown()

    def agrees(self) -> bool:
        """Whether `PROBE` steps of the environment itself, driven at random, are ours to the bit.

        It protects from a version of Gymnasium that computes otherwise, and from classes that were changed in place.
        """
        rng, space, slot = np.random.default_rng(0), self._env.action_space, np.zeros(1, int)
        self.reset(slot, [0])
        for _ in range(PROBE):
            action = rng.uniform(space.low, space.high).astype(space.dtype)
            obs, reward, ended, _, info = self._inner.step(action)
            ours = self.step(slot, action[None])
            cost = None if ours[4] is None else ours[4][0]
            said = ours[1][0], ours[2][0], cost
            if not (np.array_equal(ours[0][0], obs) and said == (reward, ended, info.get("cost"))):
                return False
        return True


def make_batch(env: Any, size: int) -> Batch | None:
    """A batch of the task of `env` (from `make_environment`), which it resets; None where that is not known.

    Known is exactly a class with a row in `OUTCOMES` or with a `batched_outcome` of its own, not rendered, and in no
    other wrappers than those of `gymnasium.make`.
    """
    from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

    make_law, wrappers = find_outcome(type(env.unwrapped)), _wrappers(env)
    strange = [wrapper for wrapper in wrappers if type(wrapper) not in (OrderEnforcing, PassiveEnvChecker, TimeLimit)]
    if make_law is None or strange or env.unwrapped.render_mode is not None:
        return None
    limits = [wrapper._max_episode_steps for wrapper in wrappers if type(wrapper) is TimeLimit]
    try:
        batch = Batch(env, size, make_law(env.unwrapped), min(limits, default=None))
        return batch if batch.agrees() else None
    except (AttributeError, TypeError, ValueError):  # a version of Gymnasium with other names, ranges of another form
        return None


def usable_cores() -> int:
    """Cores that this process may use; OMP_NUM_THREADS lowers it (processes of a sweep share the machine that way)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, int(asked))) if asked.isdecimal() else cores


def _wrappers(env: Any) -> list[Any]:
    """What is around the environment, from outside."""
    return [] if env is env.unwrapped else [env, *_wrappers(env.env)]
