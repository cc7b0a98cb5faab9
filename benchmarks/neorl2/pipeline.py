"""Pipeline: keep the outflow of a long pipe on a target by moving the gate at its inlet; the water needs 20 steps.

    g_{t+1} = clip(g_t + clip(a_t, -1, 1), 0, 200)          gate (inlet) flow
    q_{t+1} = g_{t-18}                                       outflow
    r       = ((200 - |q' - c'|) / 100)^2 - 3                at most 1 a step

At every step the target c is drawn anew with probability 0.003 from {50, 80, 110, 140} (it may draw the same); the
next observation holds the new one and the reward uses it. At reset one flow f ~ U(80, 120) fills gate, pipe, history,
and past actions are 0. Observation (52): q_t; c_t; q_{t-1} ... q_{t-25}; a_{t-1} ... a_{t-25}, newest first and
clipped. 1000 steps, float32 arithmetic.

The first target is a choice (`start`), because the original never resets it: it is drawn when the object is made and
then survives from episode to episode. `start="uniform"` (default) draws it at every reset, as an evaluation that makes
the object anew would; `start=80` (or another flow) fixes it, as in 99 of 100 recorded episodes; `start="carried"` is
the original's quirk. They differ by about 3 points of score, so never compare across them.

Source: NeoRL-2 (arXiv 2503.19267). Seeded resets draw the original's numbers (PCG64; flow, then the test for a target,
then the choice) for "carried" and for the first reset of "uniform".
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from gymnasium.spaces import Box

from benchmarks.neorl2.task import TaskEnv, TaskVectorEnv

FLOWS = np.array([50.0, 80.0, 110.0, 140.0], np.float32)
SWITCH_RATE = 0.003
DELAY, HISTORY, MAX_FLOW = 19, 25, np.float32(200)  # the outflow is the gate's flow of 19 steps ago
TARGET = slice(1, 2)
Start = float | Literal["uniform", "carried"]


class State(NamedTuple):
    gates: np.ndarray  # (*b, 45), float32: g_t, g_{t-1}, ...; entry 19 is the outflow q_t, 20 to 44 its history
    actions: np.ndarray  # (*b, 25): a_{t-1}, ...
    target: np.ndarray  # (*b,)


def reward(next_obs: np.ndarray) -> np.ndarray:
    """Reward (*b,) of arriving at `next_obs` (*b, 52)."""
    error = np.abs(next_obs[..., 0] - next_obs[..., 1])
    return ((MAX_FLOW - error) / 100) ** 2 - 3


def predict(obs: np.ndarray, action: np.ndarray) -> np.ndarray:
    """The next observation (*b, 52), from observations alone, if the target holds and the gate never saturated."""
    outflow = np.clip(obs[..., :1] + np.clip(obs[..., 45:46], -1, 1), 0, MAX_FLOW)  # a_{t-19} arrives now
    flows, actions = obs[..., [0, *range(2, 26)]], obs[..., 27:51]
    return np.concatenate([outflow, obs[..., TARGET], flows, np.clip(action, -1, 1), actions], -1)


def feed_forward(obs: np.ndarray) -> np.ndarray:
    """Actions (*b, 1) of a near-optimal rule (score about 103): close the gap that is not on its way already."""
    gate = obs[..., 0] + obs[..., 27:46].sum(-1)
    return np.clip(obs[..., 1] - gate, -1, 1)[..., None]


class Pipeline:
    """The task for `TaskEnv` and `TaskVectorEnv`."""

    observation_space: Box[Any] = Box(
        np.concatenate([np.zeros(27), -np.ones(25)]).astype(np.float32),
        np.concatenate([np.full(27, 200.0), np.ones(25)]).astype(np.float32),
    )
    action_space: Box[Any] = Box(-1.0, 1.0, (1,), np.float32)
    reward = staticmethod(reward)

    def __init__(self, start: Start = "uniform"):
        if start not in ("uniform", "carried") and start not in FLOWS:
            raise ValueError(f"`start` must be 'uniform', 'carried' or one of {FLOWS.tolist()}, got {start!r}")
        self.first_target = start

    def start(self, rng: np.random.Generator, previous: State | None, seed: int | None) -> State:
        flow = np.float32(rng.uniform(80, 120))
        if isinstance(self.first_target, str):
            kept = previous if self.first_target == "carried" else None
            drawn = self.chance(rng, forced=kept is None)
            target = kept.target if kept is not None and np.isnan(drawn) else np.float32(drawn)
        else:
            target = np.float32(self.first_target)
        return State(np.full(DELAY + HISTORY + 1, flow), np.zeros(HISTORY, np.float32), np.asarray(target))

    def chance(self, rng: np.random.Generator, forced: bool = False) -> float:
        """A new target, or NaN where the old one holds."""
        switches = rng.random() < SWITCH_RATE
        return float(rng.choice(FLOWS)) if switches or forced else np.nan

    def advance(self, state: State, action: np.ndarray, chance: np.ndarray) -> State:
        turn = np.clip(action.astype(np.float32), -1, 1)
        gate = np.clip(state.gates[..., :1] + turn, 0, MAX_FLOW)
        target = np.where(np.isnan(chance), state.target, chance).astype(np.float32)
        gates = np.concatenate([gate, state.gates[..., :-1]], -1)
        return State(gates, np.concatenate([turn, state.actions[..., :-1]], -1), target)

    def observe(self, state: State) -> np.ndarray:
        flows = state.gates[..., DELAY:]
        return np.concatenate([flows[..., :1], state.target[..., None], flows[..., 1:], state.actions], -1)


def make(start: Start = "uniform") -> TaskEnv:
    return TaskEnv(Pipeline(start))


def make_vector(num_envs: int, max_episode_steps: int, start: Start = "uniform") -> TaskVectorEnv:
    return TaskVectorEnv(Pipeline(start), num_envs, max_episode_steps)
